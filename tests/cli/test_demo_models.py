from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from voicecall.cli.demo_models import ENDPOINTING_MS, demo_models
from voicecall.clock import SystemClock
from voicecall.config.schema import Config

if TYPE_CHECKING:
    from voicecall.cli.demo_models import ModeName, SpeechName

pytestmark = pytest.mark.socket


def models(speech: SpeechName, mode: ModeName) -> Config:
    async def case() -> dict[str, Any]:
        async with demo_models(speech, mode, SystemClock()) as settings:
            return dict(settings)

    return Config.model_validate(asyncio.run(case()))


@pytest.mark.parametrize("speech", ["local", "openai"])
@pytest.mark.parametrize("mode", ["pipeline", "realtime"])
def test_everything_is_done_by_what_was_asked_for(speech: SpeechName, mode: ModeName) -> None:
    config = models(speech, mode)
    assert config.stt.provider == speech
    assert config.tts.provider == speech
    assert config.response_model.startswith("scripted/" if speech == "local" else "openai/")
    assert config.realtime.enabled is (mode == "realtime")
    assert config.realtime.provider == speech
    assert config.stt.silence_duration_ms == ENDPOINTING_MS


def test_openai_is_a_service_on_this_machine() -> None:
    config = models("openai", "pipeline")
    assert config.openai.base_url is not None
    assert config.openai.base_url.startswith("http://127.0.0.1:")
    assert config.stt.openai.base_url == config.tts.openai.base_url == config.openai.base_url
    assert config.openai.api == "responses"
    assert config.tts.openai.api == "realtime"
