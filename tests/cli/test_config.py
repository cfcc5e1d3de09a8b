"""`voicecall config`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from voicecall.cli import main
from voicecall.cli.invocation import Invocation
from voicecall.config.environment import VARIABLES
from voicecall.config.json_schema import json_schema

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

FILE = """{
  plugins: { entries: { "voice-call": { config: {
    provider: "log", agentId: "main", maxConcurrentCalls: 7, rpc: { token: "hush-hush" },
    inboundGreeting: "[bold]Hi\\u001b[31m", store: "redis://:hush-hush@127.0.0.1/0",
  } } } },
}"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file, and nothing from the machine's own environment."""
    for variable in ("VOICECALL_CONFIG", "XDG_STATE_HOME", *VARIABLES.values()):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "hush-environment")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.json5"
    path.write_text(FILE)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.mark.parametrize("json_first", [True, False])
def test_effective_values_are_json_with_their_origins(file: Path, json_first: bool) -> None:
    options = ["--config", str(file)]
    result = run("--json", *options, "config") if json_first else run(*options, "config", "--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    values = shown["values"]
    assert shown["path"] == str(file)
    assert shown["ignored"] == ["agentId"]
    assert values["maxConcurrentCalls"] == {"value": 7, "origin": "file"}
    assert values["openai.apiKey"] == {"value": "***", "origin": "environment"}
    assert values["serve.port"] == {"value": 3334, "origin": "default"}
    assert shown["warnings"] == ['provider: "log" is deprecated, it is read as "mock"']
    assert "warning: provider: " in result.stderr


def test_no_secret_is_printed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for on_terminal in (False, True):
        monkeypatch.setattr(Invocation, "wants_json", not on_terminal)
        result = run("--config", str(file), "config")
        assert result.exit_code == 0
        assert "hush" not in result.output


def test_a_terminal_gets_a_table(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invocation, "wants_json", False)
    monkeypatch.setenv("COLUMNS", "120")
    result = run("--config", str(file), "config")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["maxConcurrentCalls", "7", "file"] in lines
    assert ["openai.apiKey", "***", "environment"] in lines
    assert ["inboundGreeting", r"[bold]Hi\x1b[31m", "file"] in lines
    assert ["ignored:", "agentId"] in lines
    assert "\x1b" not in result.stdout


def test_without_a_file_it_shows_the_defaults(file: Path) -> None:
    file.unlink()
    shown = json.loads(run("config").stdout)
    assert shown["path"] is None
    assert shown["values"]["provider"] == {"value": "mock", "origin": "default"}


def test_a_broken_file_is_exit_status_1_with_every_problem(file: Path) -> None:
    file.write_text("{provider: 'plivo', serve: {prot: 1}}")
    result = run("--config", str(file), "config")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: serve.prot: unknown key; did you mean serve.port?",
        '  plivo.authId: is required for provider "plivo"; set it in the file or in PLIVO_AUTH_ID',
        '  plivo.authToken: is required for provider "plivo";'
        " set it in the file or in PLIVO_AUTH_TOKEN",
        '  fromNumber: is required for provider "plivo"; set it in the file',
    ]


def test_the_schema_is_printed_without_reading_a_file() -> None:
    result = run("--config", "/absent/file.json5", "config", "--schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()
