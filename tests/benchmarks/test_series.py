"""The series of load results."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.load import series
from benchmarks.load.compare import Contestant, result
from benchmarks.load.series import SERIES, Member, minutes
from tests.benchmarks.points import MACHINE, point

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Contestant]]:
    """What is measured, without measuring it."""
    seen: list[Mapping[str, Contestant]] = []

    def measure_in_turn(
        servers: Mapping[str, Contestant], rounds: int, ready_s: float
    ) -> dict[str, Any]:
        assert ready_s > 0
        seen.append(servers)
        return {"servers": result({name: [point()] * rounds for name in servers})}

    monkeypatch.setattr(series, "measure_in_turn", measure_in_turn)
    monkeypatch.setattr("benchmarks.load.machine.describe", lambda: MACHINE)
    return seen


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    page = folder / "RESULTS.md"
    options = [*arguments, "--folder", str(folder), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", ["series", *options])
    return series.main()


def test_a_member_is_measured_once_and_stands_in_the_page(
    measured: list[Mapping[str, Contestant]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    for _ in range(2):
        assert run(monkeypatch, tmp_path, "--only", "speech", "--runs", "2", "--seconds", "5") == 0
    (servers,) = measured
    assert {each.load.seconds for each in servers.values()} == {5.0}
    document = json.loads((tmp_path / "speech.json").read_text())
    assert document["command"].endswith("--only speech --runs 2 --seconds 5")
    text = (tmp_path / "RESULTS.md").read_text()
    assert SERIES["speech"].question in text
    assert "2 interleaved runs" in text


def test_a_list_measures_nothing(
    measured: list[Mapping[str, Contestant]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, tmp_path, "--list") == 0
    told = capsys.readouterr().err
    assert not measured
    assert all(f"{name}: " in told for name in SERIES)


def test_members_ask_something_and_name_ports() -> None:
    for member in SERIES.values():
        assert member.question.endswith(("?", "."))
        assert all("{port}" in each.command for each in member.contestants.values())


def test_targets_and_callers_talk_the_same_dialect() -> None:
    for name, each in SERIES["dialects"].contestants.items():
        assert each.load.dialect == name
        assert (f"--dialect {name}" in each.command) == (name != "twilio")


def test_a_member_takes_the_time_of_its_windows_and_some_more() -> None:
    member = Member("?", dict.fromkeys("ab", next(iter(SERIES["echo"].contestants.values()))))
    assert 6 < minutes(member, 3, 60) < 9
