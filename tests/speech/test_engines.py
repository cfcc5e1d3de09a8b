from __future__ import annotations

import asyncio

import pytest

from voicecall.clock import ManualClock
from voicecall.config.schema import LocalTts, OpenAI, Realtime, ScriptedStt, Stt, Tts
from voicecall.errors import ConfigError
from voicecall.ports import (
    PCM16_8K,
    ULAW_8K,
    FinalTranscript,
    SpeechStarted,
    SpeechStopped,
    SpeechToSpeech,
    SpeechToText,
    TextToSpeech,
)
from voicecall.speech.engines import recogniser, speech_to_speech, voices
from voicecall.speech.realtime.live import OpenAILive
from voicecall.speech.realtime.openai import OpenAIRealtime
from voicecall.speech.stt.deepgram import DeepgramSpeechToText
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.stt.openai import OpenAISpeechToText
from voicecall.speech.tts.cache import CachedTextToSpeech
from voicecall.speech.tts.elevenlabs import ElevenLabsTextToSpeech
from voicecall.speech.tts.elevenlabs_socket import ElevenLabsSocketTextToSpeech
from voicecall.speech.tts.local import LocalTextToSpeech
from voicecall.speech.tts.openai import OpenAITextToSpeech
from voicecall.speech.tts.openai_realtime import OpenAIRealtimeTextToSpeech
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

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
        (engine,) = voices(Tts(provider="scripted"))
        return sum([len(piece) async for piece in engine.synthesize("Hello")])

    assert asyncio.run(case()) == (5 * 60 + 60) * 24 * 2


def test_the_local_engines_are_made_without_loading_them() -> None:
    async def case() -> None:
        ears = recogniser(Stt(provider="local"), ManualClock())
        (mouth,) = voices(Tts(provider="local", cache_megabytes=0, local=LocalTts(seed=3)))
        assert isinstance(ears, LocalSpeechToText)
        assert isinstance(mouth, LocalTextToSpeech)
        assert ears.input == PCM16_8K
        await ears.close()
        await mouth.close()

    asyncio.run(case())


def tts(**settings: object) -> list[type]:
    async def case() -> list[type]:
        made = voices(Tts.model_validate({"cacheMegabytes": 0, **settings}))
        for engine in made:
            await engine.close()
        return [type(engine) for engine in made]

    return asyncio.run(case())


def test_what_was_said_is_kept_unless_there_is_no_room_for_it() -> None:
    assert tts(provider="scripted", cacheMegabytes=1) == [CachedTextToSpeech]
    assert tts(provider="scripted") == [ScriptedTextToSpeech]


def test_voices_are_tried_in_order_and_none_of_them_twice() -> None:
    order = tts(provider="scripted", fallback=["local", "scripted"])
    assert order == [ScriptedTextToSpeech, LocalTextToSpeech]


@pytest.mark.parametrize(
    ("openai", "kind"),
    [
        ({}, OpenAIRealtimeTextToSpeech),
        ({"baseUrl": "http://127.0.0.1:8080/v1"}, OpenAITextToSpeech),
        ({"baseUrl": "http://127.0.0.1:8080/v1", "api": "realtime"}, OpenAIRealtimeTextToSpeech),
        ({"api": "speech"}, OpenAITextToSpeech),
    ],
)
def test_compatible_servers_are_asked_for_speech_as_they_know_it(
    openai: dict[str, str], kind: type[TextToSpeech]
) -> None:
    assert tts(provider="openai", openai=openai) == [kind]


@pytest.mark.parametrize(
    ("transport", "kind"),
    [("socket", ElevenLabsSocketTextToSpeech), ("http", ElevenLabsTextToSpeech)],
)
def test_elevenlabs_speaks_over_sockets_or_http(transport: str, kind: type[TextToSpeech]) -> None:
    voice = {"voiceId": "someone", "transport": transport}
    assert tts(provider="elevenlabs", elevenlabs=voice) == [kind]


def test_elevenlabs_has_to_be_told_which_voice() -> None:
    with pytest.raises(ConfigError, match=r"tts\.elevenlabs\.voiceId: is not set"):
        tts(provider="elevenlabs")


@pytest.mark.parametrize(
    ("provider", "kind"), [("openai", OpenAISpeechToText), ("deepgram", DeepgramSpeechToText)]
)
def test_remote_recognisers_are_made_without_a_network(
    provider: str, kind: type[SpeechToText]
) -> None:
    async def case() -> None:
        ears = recogniser(Stt.model_validate({"provider": provider}), ManualClock())
        assert isinstance(ears, kind)
        assert ears.input == ULAW_8K
        await ears.close()

    asyncio.run(case())


def test_a_model_is_not_asked_for_what_it_cannot_do() -> None:
    settings = {
        "provider": "openai",
        "openai": {"model": "gpt-live-transcribe", "turnDetection": "server"},
    }
    with pytest.raises(ConfigError, match=r"stt\.openai\.turnDetection: gpt-live-transcribe"):
        recogniser(Stt.model_validate(settings), ManualClock())


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, OpenAIRealtime),
        ({"model": "gpt-live-1"}, OpenAILive),
        ({"model": "mine", "api": "live"}, OpenAILive),
        ({"model": "gpt-live-1", "api": "realtime"}, OpenAIRealtime),
    ],
)
def test_the_name_of_the_model_says_how_it_is_spoken_to_unless_that_is_said(
    settings: dict[str, str], kind: type[SpeechToSpeech]
) -> None:
    async def case() -> None:
        engine = speech_to_speech(
            Realtime.model_validate(settings),
            OpenAI(),
            silence_ms=500,
            language=None,
            backend_model=None,
            clock=ManualClock(),
        )
        assert isinstance(engine, kind)
        await engine.close()

    asyncio.run(case())
