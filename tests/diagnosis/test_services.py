"""Which services a configuration uses, and what of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import loaded
from voicecall.diagnosis.services import services

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def used(folder: Path, **settings: Any) -> list[tuple[str, str | None, list[str]]]:
    found = services(loaded(folder, **settings).config)
    return [
        (each.name, each.account.key if each.account else None, [name for _, name in each.uses])
        for each in found
    ]


def test_local_engines_have_no_account(tmp_path: Path) -> None:
    assert used(tmp_path) == [("local", None, [])]


def test_one_account_is_asked_once_for_all_that_it_is_used_for(tmp_path: Path) -> None:
    (only,) = used(
        tmp_path,
        openai={"apiKey": "sk-1"},
        stt={"provider": "openai", "openai": {"model": "ears"}},
        tts={"provider": "openai", "openai": {"model": "voice"}},
        responseModel="openai/brain",
        numbers={"+15550001111": {"responseModel": "openai/other"}},
    )
    assert only == ("openai", "openai.apiKey", ["brain", "other", "ears", "voice"])


def test_other_keys_and_other_vendors_are_accounts_of_their_own(tmp_path: Path) -> None:
    found = used(
        tmp_path,
        openai={"apiKey": "sk-1"},
        deepgram={"apiKey": "d-1"},
        elevenlabs={"apiKey": "e-1"},
        stt={"provider": "deepgram"},
        tts={"provider": "elevenlabs", "elevenlabs": {"voiceId": "v-1"}, "fallback": ["openai"]},
        responseModel="openai/brain",
    )
    assert [name for name, _, _ in found] == ["openai", "deepgram", "elevenlabs"]
    assert found[2] == ("elevenlabs", "elevenlabs.apiKey", ["v-1"])


def test_a_realtime_model_takes_the_place_of_the_ears(tmp_path: Path) -> None:
    realtime = {"enabled": True, "provider": "openai", "model": "talker"}
    found = used(tmp_path, openai={"apiKey": "sk-1"}, realtime=realtime)
    assert ("openai", "openai.apiKey", ["talker"]) in found
