from __future__ import annotations

import pytest

from voicecall.config.schema import Config
from voicecall.diagnosis.services import services

pytestmark = pytest.mark.unit

TALKING = {
    "openai": {"apiKey": "sk-general"},
    "responseModel": "openai/gpt-6-luna",
    "stt": {"provider": "deepgram", "deepgram": {"apiKey": "dg"}},
    "tts": {
        "provider": "elevenlabs",
        "fallback": ["openai", "local"],
        "elevenlabs": {"apiKey": "el", "voiceId": "voice-1"},
        "openai": {"apiKey": "sk-speech", "model": "gpt-4o-mini-tts"},
    },
}


def used(**settings: object) -> dict[str, list[tuple[str, str]]]:
    """What is used of each account, by the setting with its key."""
    found = services(Config.model_validate(settings))
    return {each.account.key if each.account else each.name: list(each.uses) for each in found}


def test_local_engines_have_no_account() -> None:
    assert used() == {"local": []}


def test_each_account_comes_once_with_all_that_is_used_of_it() -> None:
    assert used(**TALKING) == {
        "openai.apiKey": [("responseModel", "gpt-6-luna")],
        "deepgram.apiKey": [],
        "elevenlabs.apiKey": [("tts.elevenlabs.voiceId", "voice-1")],
        "tts.openai.apiKey": [("tts.openai.model", "gpt-4o-mini-tts")],
        "local": [],
    }


def test_the_same_key_at_the_same_place_is_one_account() -> None:
    shared = {"apiKey": "sk-general"}
    found = used(**{**TALKING, "tts": {"provider": "openai", "openai": shared}})
    assert [name for name, _ in found["openai.apiKey"]] == ["responseModel", "tts.openai.model"]
    elsewhere = {**shared, "baseUrl": "http://127.0.0.1:8000/v1"}
    found = used(**{**TALKING, "tts": {"provider": "openai", "openai": elsewhere}})
    assert "tts.openai.apiKey" in found


def test_a_carrier_that_speaks_and_listens_leaves_the_replies_only() -> None:
    assert used(**TALKING, streaming={"enabled": False}) == {
        "openai.apiKey": [("responseModel", "gpt-6-luna")]
    }


def test_speech_to_speech_needs_no_ears_and_a_voice_for_what_is_said_by_command() -> None:
    found = used(**TALKING, realtime={"enabled": True, "provider": "openai", "model": "gpt-live"})
    assert ("realtime.model", "gpt-live") in found["openai.apiKey"]
    assert "deepgram.apiKey" not in found
    assert "elevenlabs.apiKey" in found


def test_what_single_numbers_use_is_there_too() -> None:
    found = used(
        responseModel="scripted/builtin",
        openai={"apiKey": "sk-general"},
        numbers={
            "+15550001111": {
                "responseModel": "openai/gpt-6-luna",
                "stt": {"provider": "deepgram", "deepgram": {"apiKey": "dg"}},
            },
            "+15550002222": {"inboundGreeting": "Hello"},
        },
    )
    assert found == {
        "openai.apiKey": [("numbers.….responseModel", "gpt-6-luna")],
        "deepgram.apiKey": [],
        "local": [],
    }


def test_scripted_engines_are_no_service() -> None:
    scripted = {"provider": "scripted"}
    assert used(stt=scripted, tts=scripted, responseModel="scripted/builtin") == {}
