"""kill -9 at random instants; `python -m tests.store.crash` does it more often."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.store.crash import CHANGES, Findings, _problem, change, crash_once, record_after

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

ROUNDS = 20


def test_what_was_acknowledged_survives_every_kill_and_nothing_is_there_by_half(
    tmp_path: Path,
) -> None:
    findings = Findings()
    chance = random.Random(20)
    for _ in range(ROUNDS):
        crash_once(str(tmp_path / "calls"), findings, chance)
    assert findings.problems == []
    assert findings.rounds == ROUNDS
    assert findings.changes > 1000


def test_the_examination_finds_what_it_looks_for() -> None:
    history = [change("c", number) for number in range(4)]
    whole = record_after("c", 3)
    assert _problem("c", whole, history, acknowledged=3) is None
    assert _problem("c", whole, history, acknowledged=2) is None
    assert "acknowledged" in str(_problem("c", whole, history, acknowledged=4))
    assert "is there" in str(_problem("c", whole, history, acknowledged=1))
    assert "repeated" in str(_problem("c", whole, [*history[:3], history[2]], acknowledged=3))
    assert "not that" in str(_problem("c", record_after("c", 2), history, acknowledged=3))
    assert record_after("c", CHANGES - 1)["state"] == "completed"
