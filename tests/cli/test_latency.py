"""`voicecall latency`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tests.control.fakes import TOKEN, FakeCalls, record, services, serving
from tests.hosting import free_port, run
from voicecall.cli import main
from voicecall.cli.invocation import Invocation
from voicecall.config.environment import VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

TURNS = [
    {"latencyMs": 600.4, "listenWaitMs": 900, "finalMs": 500.0, "firstTokenMs": 60.0},
    {"latencyMs": 800.0, "listenWaitMs": 1100, "finalMs": 400.0},
]


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("VOICECALL_CONFIG", "XDG_STATE_HOME", *VARIABLES.values()):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def invoke(folder: Path, port: int, *arguments: str) -> Result:
    path = folder / "voicecall.json5"
    path.write_text(json.dumps({"serve": {"port": port}, "rpc": {"token": TOKEN}}))
    return CliRunner().invoke(main, ["--config", str(path), "latency", *arguments])


def shown(folder: Path, *arguments: str) -> tuple[Result, list[tuple[str, ...]]]:
    calls = FakeCalls()
    calls.add(record("c-1", metadata={"turns": TURNS}), record("c-2"))

    async def case() -> Result:
        async with serving(services(calls)) as served:
            return await asyncio.to_thread(invoke, folder, served.port, *arguments)

    return run(case()), calls.asked


def test_what_is_not_looked_at_by_people_is_json(tmp_path: Path) -> None:
    result, asked = shown(tmp_path, "--last", "50")
    assert result.exit_code == 0
    told: dict[str, Any] = json.loads(result.stdout)
    assert (told["calls"], told["turns"]) == (2, 2)
    assert told["turnLatencyMs"] == {
        "count": 2, "min": 600.4, "max": 800.0, "avg": 700.2, "p50": 600.4, "p95": 800.0,
    }  # fmt: skip
    assert asked == [("recent", "50")]


def test_people_see_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invocation, "wants_json", property(lambda _: False))
    result, asked = shown(tmp_path)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "2 turns of 2 calls"
    assert lines[1] == "ms count min avg p50 p95 max"
    assert lines[2] == "turn latency 2 600 700 600 800 800"
    assert lines[3] == "final transcript 2 400 450 400 500 500"
    assert lines[5] == "first audio 0 - - - - -"
    assert lines[7] == "listen wait 2 900 1000 900 1100 1100"
    assert asked == [("recent", "200")]


def test_without_a_server_it_fails_and_says_how_to_start_one(tmp_path: Path) -> None:
    result = invoke(tmp_path, free_port())
    assert result.exit_code == 1
    assert "voicecall serve" in result.stderr


@pytest.mark.parametrize("last", ["0", "-1", "1001", "some"])
def test_how_many_calls_has_limits(tmp_path: Path, last: str) -> None:
    assert invoke(tmp_path, 1, "--last", last).exit_code == 2
