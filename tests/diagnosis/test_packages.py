"""Which of our extras a configuration needs, and whether they are there."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.scene import loaded, run
from voicecall.diagnosis import packages
from voicecall.diagnosis.packages import MODULES, extras, look_at_packages

pytestmark = pytest.mark.unit

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
TWILIO = {"accountSid": f"AC{'1' * 32}", "authToken": "1" * 32}


def test_every_extra_is_known() -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    assert set(MODULES) <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({"stt": {"provider": "scripted"}, "tts": {"provider": "scripted"}}, []),
        ({}, ["local"]),
        (
            {
                "provider": "twilio",
                "fromNumber": "+15550001111",
                "twilio": TWILIO,
                "publicUrl": "https://calls.example.com",
                "openai": {"apiKey": "sk-1"},
                "store": "redis://127.0.0.1/0",
                "tools": {"mcp": {"crm": {"url": "https://crm.example.com/mcp"}}},
            },
            ["mcp", "openai", "redis", "twilio"],
        ),
    ],
)
def test_a_configuration_needs_what_it_uses(
    tmp_path: Path, settings: dict[str, Any], needed: list[str]
) -> None:
    assert extras(loaded(tmp_path, **settings).config) == needed


def test_a_configuration_that_needs_none_keeps_nothing_else_from_being_looked_at(
    tmp_path: Path,
) -> None:
    scripted = {"provider": "scripted"}

    async def case() -> None:
        finding = await look_at_packages(loaded(tmp_path, stt=scripted, tts=scripted).config)
        assert (finding.status, finding.found) == ("ok", "this configuration needs none")

    run(case())


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loaded(tmp_path).config

    async def case() -> None:
        assert (await look_at_packages(config)).status == "ok"
        monkeypatch.setattr(
            packages, "find_spec", lambda name: None if name == "hibari" else find_spec(name)
        )
        finding = await look_at_packages(config)
        assert finding.status == "fail"
        assert finding.remedy == "pip install 'voicecall[local]'"

    run(case())
