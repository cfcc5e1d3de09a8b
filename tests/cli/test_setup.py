"""`voicecall setup`, run as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_serve import environment, write
from tests.hosting import free_port

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
