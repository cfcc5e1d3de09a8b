"""`voicecall setup`, run as people run it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_serve import environment, write
from tests.hosting import free_port, run
from voicecall.simulator.exchange import SimpleParty
from voicecall.simulator.exchange.twilio import TwilioExchange

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

DEADLINE_S = 60


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "voicecall", "--config", str(config), "setup", *arguments]


def configured(folder: Path, **more: Any) -> Path:
    settings = {
        "serve": {"port": free_port()},
        "streaming": {"port": free_port()},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "rpc": {"token": "a token that nobody is shown"},
        "store": ":memory:",
    }
    return write(folder, {**settings, **more})


def piped(folder: Path, config: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        command(config),
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "a token that nobody is shown" not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def test_piped_it_is_one_json_object(tmp_path: Path) -> None:
    status, told = piped(tmp_path, configured(tmp_path))
    assert status == 0
    assert told["ok"] is True
    assert {check["name"] for check in told["checks"]} >= {"configuration", "server", "store"}
    assert told["summary"]["fail"] == 0


def test_something_red_is_told_with_what_mends_it(tmp_path: Path) -> None:
    config = configured(tmp_path, publicUrl=f"https://127.0.0.1:{free_port()}")
    status, told = piped(tmp_path, config)
    assert status == 1
    (public,) = (check for check in told["checks"] if check["name"] == "public url")
    assert public["status"] == "fail"
    assert public["remedy"]
    # What does not depend on it is looked at all the same.
    (server,) = (check for check in told["checks"] if check["name"] == "server")
    assert server["status"] == "ok"


def test_all_problems_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    config = write(tmp_path, {"serve": {"port": -1}, "tss": {}, "provider": "twilio"})
    status, told = piped(tmp_path, config)
    assert status == 1
    (only,) = told["checks"]
    assert only["name"] == "configuration"
    for key in ("serve.port", "tss", "twilio.accountSid"):
        assert key in only["found"]
    assert only["remedy"] == f"mend what is named here in {config}"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    status, told = piped(tmp_path, tmp_path / "nowhere.json5")
    assert status == 1
    (only,) = told["checks"]
    assert "nowhere.json5: cannot be read" in only["found"]
    assert only["remedy"] == "name a file: voicecall --config FILE setup"


def test_nothing_is_kept_of_it(tmp_path: Path) -> None:
    settings = {
        "serve": {"port": free_port()},
        "streaming": {"port": free_port()},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
    }
    status, told = piped(tmp_path, write(tmp_path, settings))
    assert (status, told["ok"]) == (0, True)
    kept = [path for path in (tmp_path / ".local").rglob("*") if path.is_file()]
    assert kept == []


def test_on_a_terminal_it_is_a_list_with_a_summary(tmp_path: Path) -> None:
    config = configured(tmp_path, inboundPolicy="open")
    with Terminal(command(config), environment(tmp_path)) as terminal:
        assert terminal.exit() == 0
        picture = terminal.picture
    assert "✓  configuration" in picture
    assert "!  inbound calls" in picture
    assert '→ set inboundPolicy to "allowlist"' in picture
    assert "to look at" in picture
    assert "voicecall smoke" in picture


def test_on_a_terminal_what_is_red_is_followed_by_what_mends_it(tmp_path: Path) -> None:
    def picture(config: Path) -> str:
        with Terminal(command(config), environment(tmp_path), lines=60) as terminal:
            assert terminal.exit() == 1
            assert not terminal.cursor_hidden()
            return terminal.picture

    async def case() -> None:
        async with TwilioExchange(lambda _: SimpleParty()) as exchange:
            port, wrong = free_port(), "0" * 32
            config = configured(
                tmp_path,
                provider="twilio",
                twilio={**exchange.account, "authToken": wrong},
                fromNumber="+15550001111",
                serve={"port": port},
                publicUrl=f"http://127.0.0.1:{port}",
                streaming={"enabled": True, "port": 0},
                responseModel="scripted/builtin",
            )
            shown = await asyncio.to_thread(picture, config)
            assert exchange.dials == 0
        assert wrong not in shown
        lines = shown.splitlines()
        red = next(at for at, line in enumerate(lines) if line.startswith("✗  carrier"))
        remedy = next(at for at, line in enumerate(lines) if "→ set twilio.accountSid" in line)
        # Nothing but the rest of what was found stands between them.
        assert all(line.startswith(" " * 25) for line in lines[red + 1 : remedy + 1])
        assert "-  from number" in shown
        assert "✓  reaches this server" in shown
        assert "1 to mend" in shown
        assert "Ready." not in shown

    run(case(), DEADLINE_S)
