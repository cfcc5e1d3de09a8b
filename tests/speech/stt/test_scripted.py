from __future__ import annotations

import asyncio

import pytest

from tests.speech.signals import frames, silence, tone
from voicecall.clock import ManualClock
from voicecall.ports import PCM16_8K, FinalTranscript, SpeechStarted, SpeechStopped, SttEvent
from voicecall.speech.stt.scripted import ScriptedSpeechToText
from voicecall.speech.vad import Endpointing

pytestmark = pytest.mark.unit


def heard(pcm: bytes, *transcripts: str) -> list[SttEvent]:
    async def case() -> list[SttEvent]:
        clock = ManualClock(now_ns=0)
        engine = ScriptedSpeechToText(
            transcripts, clock=clock, rules=Endpointing(silence_ms=500, min_speech_ms=60)
        )
        assert engine.input == PCM16_8K
        stream = await engine.open()
        for frame in frames(pcm):
            clock.advance_ms(20)
            stream.push(frame)
        await stream.close()
        await engine.close()
        return [event async for event in stream]

    return asyncio.run(case())


def test_the_next_transcript_comes_when_speech_ends() -> None:
    events = heard(silence(200) + tone(400) + silence(600), "Hello.", "Again.")
    assert events == [
        SpeechStarted(200_000_000),
        SpeechStopped(600_000_000),
        FinalTranscript("Hello.", 1.0),
    ]


def test_transcripts_come_in_order_and_begin_anew() -> None:
    events = heard((tone(400) + silence(600)) * 3, "one", "two")
    said = [event.text for event in events if isinstance(event, FinalTranscript)]
    assert said == ["one", "two", "one"]


def test_without_transcripts_only_activity_is_told() -> None:
    kinds = [type(event) for event in heard(tone(400) + silence(600))]
    assert kinds == [SpeechStarted, SpeechStopped]


def test_silence_says_nothing() -> None:
    assert heard(silence(3000), "Hello.") == []
