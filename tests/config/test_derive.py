"""Defaults that depend on other keys."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.derive import INHERITED, derive, source_of
from voicecall.config.paths import fill, value_at
from voicecall.config.schema import Config

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("settings", [{}, {"provider": "mock"}])
def test_with_the_mock_carrier_everything_is_local(settings: dict[str, Any]) -> None:
    config = Config.model_validate(settings)
    assert config.streaming.enabled
    assert config.stt.provider == "local"
    assert config.tts.provider == "local"
    assert config.response_model == "scripted/builtin"


@pytest.mark.parametrize("provider", ["twilio", "telnyx", "plivo"])
def test_with_a_real_carrier_speech_and_replies_are_remote_and_streaming_is_off(
    provider: str,
) -> None:
    config = Config.model_validate({"provider": provider})
    assert not config.streaming.enabled
    assert config.stt.provider == "openai"
    assert config.tts.provider == "openai"
    assert config.response_model == "openai/gpt-6-luna"


def test_realtime_needs_media_and_turns_streaming_on() -> None:
    config = Config.model_validate({"provider": "twilio", "realtime": {"enabled": True}})
    assert config.streaming.enabled


@pytest.mark.parametrize("given", [True, False])
def test_what_is_given_is_kept(given: bool) -> None:
    settings = {"streaming": {"enabled": given}, "stt": {"provider": "deepgram"}}
    config = Config.model_validate(settings)
    assert config.streaming.enabled is given
    assert config.stt.provider == "deepgram"
    assert config.tts.provider == "local"


@pytest.mark.parametrize(("path", "source"), list(INHERITED.items()))
def test_a_key_takes_the_value_of_the_general_one_unless_it_has_its_own(
    path: str, source: str
) -> None:
    settings: dict[str, Any] = {}
    fill(settings, source, "general")
    assert value_at(derive(settings), path) == "general"
    fill(settings, path, "special")
    assert value_at(derive(settings), path) == "special"
    assert value_at(derive(settings), source) == "general"


def test_the_tts_of_a_number_is_merged_over_the_general_one() -> None:
    config = Config.model_validate(
        {
            "tts": {"provider": "openai", "openai": {"voice": "nova", "speed": 1.5}},
            "numbers": {"+15550001234": {"tts": {"openai": {"voice": "echo"}}}},
        }
    )
    tts = config.numbers["+15550001234"].tts
    assert tts is not None
    assert (tts.provider, tts.openai.voice, tts.openai.speed) == ("openai", "echo", 1.5)
    assert config.tts.openai.voice == "nova"


def test_the_settings_given_are_not_changed() -> None:
    settings = {"stt": {"openai": {}}, "openai": {"apiKey": "k"}}
    derive(settings)
    assert settings == {"stt": {"openai": {}}, "openai": {"apiKey": "k"}}


@pytest.mark.parametrize("broken", [3, "text", [1], True])
@pytest.mark.parametrize("section", ["stt", "tts", "openai", "streaming", "numbers", "serve"])
def test_sections_of_the_wrong_type_are_left_for_validation(section: str, broken: object) -> None:
    assert derive({section: broken})[section] == broken


def test_deriving_twice_changes_nothing() -> None:
    once = derive({"openai": {"apiKey": "k"}, "numbers": {"+15550001234": {"tts": {}}}})
    assert derive(once) == once


def test_the_source_of_an_inherited_value_is_the_key_that_was_given() -> None:
    assert source_of("stt.openai.apiKey", set()) == "openai.apiKey"
    assert source_of("stt.openai.apiKey", {"stt.openai.apiKey"}) == "stt.openai.apiKey"
    assert source_of("numbers.+15550001234.tts.openai.apiKey", set()) == "openai.apiKey"
    assert source_of("numbers.+15550001234.tts.openai.voice", set()) == "tts.openai.voice"
    assert source_of("serve.port", set()) == "serve.port"
