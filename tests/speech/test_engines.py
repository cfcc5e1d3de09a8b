from __future__ import annotations

import asyncio

import pytest

from voicecall.clock import ManualClock
from voicecall.config.schema import LocalTts, ScriptedStt, Stt, Tts
from voicecall.errors import ConfigError
from voicecall.ports import PCM16_8K, FinalTranscript, SpeechStarted, SpeechStopped
from voicecall.speech.engines import recogniser, voice
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.tts.local import LocalTextToSpeech

pytestmark = pytest.mark.unit

BURST = b"\x00\x20\x00\xe0" * 40  # 10 ms of a loud square wave


def test_the_scripted_recogniser_ends_utterances_where_the_configuration_says() -> None:
    async def heard(silence_ms: int) -> list[type]:
        settings = Stt(
            provider="scripted",
            silence_duration_ms=silence_ms,
            scripted=ScriptedStt(transcripts=("Yes.",)),
        )
        clock = ManualClock()
        engine = recogniser(settings, clock)
        stream = await engine.open()
        # Half a second of quiet, as much of sound, and again as much of quiet.
        for frame in [bytes(160)] * 50 + [BURST] * 50 + [bytes(160)] * 50:
            clock.advance_ms(10)
            stream.push(frame)
        await stream.close()
        events = [type(event) async for event in stream]
        await engine.close()
        return events

    whole = [SpeechStarted, SpeechStopped, FinalTranscript]
    assert [each for each in asyncio.run(heard(300)) if each in whole] == whole
    assert FinalTranscript not in asyncio.run(heard(900))


def test_the_scripted_voice_needs_nothing() -> None:
    async def case() -> int:
        engine = voice(Tts(provider="scripted"))
        return sum([len(piece) async for piece in engine.synthesize("Hello")])

    assert asyncio.run(case()) == (5 * 60 + 60) * 24 * 2


def test_the_local_engines_are_made_without_loading_them() -> None:
    async def case() -> None:
        ears = recogniser(Stt(provider="local"), ManualClock())
        mouth = voice(Tts(provider="local", local=LocalTts(seed=3)))
        assert isinstance(ears, LocalSpeechToText)
        assert isinstance(mouth, LocalTextToSpeech)
        assert ears.input == PCM16_8K
        await ears.close()
        await mouth.close()

    asyncio.run(case())


@pytest.mark.parametrize("provider", ["openai", "deepgram"])
def test_a_recogniser_that_is_not_there_is_named(provider: str) -> None:
    with pytest.raises(ConfigError, match=rf"stt\.provider: {provider} is not in this version"):
        recogniser(Stt.model_validate({"provider": provider}), ManualClock())


@pytest.mark.parametrize("provider", ["openai", "elevenlabs"])
def test_a_voice_that_is_not_there_is_named(provider: str) -> None:
    with pytest.raises(ConfigError, match=rf"tts\.provider: {provider} is not in this version"):
        voice(Tts.model_validate({"provider": provider}))
