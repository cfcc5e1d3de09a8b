"""`voicecall smoke`, run as people run it: dry unless it is told twice."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cli.terminal import CTRL_C, Terminal
from tests.cli.test_serve import BEARER, environment, rpc, serving
from tests.cli.test_setup import configured
from tests.hosting import CALLEE, run
from voicecall.cli.smoke import masked

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

DEADLINE_S = 60


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "voicecall", "--config", str(config), "smoke", *arguments]


def piped(folder: Path, config: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        command(config, *arguments),
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.parametrize(("arguments", "missing"), [((), "--to"), (("--to", CALLEE), "--yes")])
def test_nobody_is_called_by_half_a_command(
    tmp_path: Path, arguments: tuple[str, ...], missing: str
) -> None:
    status, told, _ = piped(tmp_path, configured(tmp_path), *arguments)
    assert (status, told["dry"]) == (0, True)
    assert missing in told["missing"]
    assert CALLEE not in json.dumps(told)


def test_without_a_server_one_serves_until_the_call_ends(tmp_path: Path) -> None:
    script = tmp_path / "listens.json5"
    script.write_text("{steps: [{do: 'awaitHangUp'}]}")
    config = configured(
        tmp_path, mock={"persona": str(script)}, outbound={"notifyHangupDelaySec": 0.1}
    )
    status, told, said = piped(tmp_path, config, "--to", CALLEE, "--yes", "--message", "It works.")
    assert (status, told["ok"], told["heard"]) == (0, True, "It works."), said


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    config = configured(tmp_path, mock={"phone": "busy"})
    status, told, _ = piped(tmp_path, config, "--to", CALLEE, "--yes")
    assert (status, told["ok"], told["endReason"]) == (1, False, "busy")
    status, _, said = piped(tmp_path, config, "--to", "12", "--yes")
    assert status == 2
    assert "E.164" in said


def test_on_a_terminal_the_call_is_told_while_it_happens(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(tmp_path):
            config = tmp_path / "voicecall.json5"
            arguments = ("--to", CALLEE, "--yes", "--message", "It works.")
            with Terminal(command(config, *arguments), environment(tmp_path)) as terminal:
                picture = terminal.sees("The call was answered, and the message played.")
                assert terminal.exit() == 0
            for told in ("answered", "the message plays", "hung up", "until it was answered"):
                assert told in picture

    run(case(), 60)


def test_on_a_terminal_a_dry_run_shows_whom_it_would_call(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with Terminal(command(config, "--to", CALLEE), environment(tmp_path)) as terminal:
        assert terminal.exit() == 0
        picture = terminal.picture
    assert "Nobody was called." in picture
    assert CALLEE in picture
    assert "add --yes" in picture


def test_ctrl_c_hangs_up(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(tmp_path) as server:
            config = tmp_path / "voicecall.json5"
            arguments = ("--to", CALLEE, "--yes", "--message", "One two three. " * 40)
            with Terminal(command(config, *arguments), environment(tmp_path)) as terminal:
                terminal.sees("the message plays")
                terminal.press(CTRL_C)
                assert terminal.exit() != 0
                assert "Traceback" not in terminal.picture
            async with httpx.AsyncClient(base_url=server.url, headers=BEARER) as http:
                (call,) = (await rpc(http, "history"))["result"]["calls"]
            assert call["endReason"] == "hangup-bot"

    run(case(), DEADLINE_S)


def test_numbers_are_masked() -> None:
    assert masked("+15550001234") == "…1234"
    assert masked(None) is None
