from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.audio import to_pcm16
from voicecall.clock import SystemClock
from voicecall.errors import SpeechError
from voicecall.ports import PCM16_8K, AudioFormat, FinalTranscript, SpeechStarted
from voicecall.simulator import Engines, Heard
from voicecall.simulator.engines import Ears, speak_ulaw
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.ports import SttEvent

pytestmark = pytest.mark.unit


class TypedStream:
    """Recognition results as a test writes them."""

    def __init__(self) -> None:
        self.pushed = b""
        self.events: asyncio.Queue[SttEvent | SpeechError | None] = asyncio.Queue(8)

    def push(self, audio: bytes) -> None:
        self.pushed += audio

    async def __aiter__(self) -> AsyncIterator[SttEvent]:
        while (event := await self.events.get()) is not None:
            if isinstance(event, SpeechError):
                raise event
            yield event

    async def prepare(self) -> None:
        return None

    async def close(self) -> None:
        self.events.put_nowait(None)


class TypedEars:
    def __init__(self, stream: TypedStream) -> None:
        self.stream = stream
        self.closed = False

    @property
    def input(self) -> AudioFormat:
        return PCM16_8K

    async def open(self) -> TypedStream:
        return self.stream

    async def prepare(self) -> None:
        return None

    async def close(self) -> None:
        self.closed = True


def test_a_transcript_tells_when_it_began_and_when_it_was_understood() -> None:
    async def case() -> None:
        stream, reported = TypedStream(), asyncio.Queue[Heard](4)
        ears = Ears(TypedEars(stream), SystemClock(), reported.put_nowait)
        await ears.open()
        ears.push(b"\xff\x00")
        stream.events.put_nowait(SpeechStarted(77))
        stream.events.put_nowait(FinalTranscript("hello"))
        stream.events.put_nowait(FinalTranscript("again"))
        first, second = await reported.get(), await reported.get()
        await ears.close()
        assert (first.text, first.began_ns) == ("hello", 77)
        assert first.at_ns > 77
        assert second.began_ns == second.at_ns
        assert stream.pushed == to_pcm16(b"\xff\x00", "ulaw")
        ears.push(b"\xff")
        assert len(stream.pushed) == 4

    asyncio.run(case())


def test_ears_that_fail_fall_silent_without_ending_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        stream = TypedStream()
        ears = Ears(TypedEars(stream), SystemClock(), lambda _: None)
        await ears.open()
        stream.events.put_nowait(SpeechError("gone"))
        await ears.close()

    asyncio.run(case())
    assert [record.message for record in caplog.records] == ["simulated phone cannot hear any more"]


def test_speech_is_synthesized_whole_for_the_line() -> None:
    async def case() -> None:
        voice = ScriptedTextToSpeech()
        ulaw = await speak_ulaw(voice, "hello")
        assert len(ulaw) == pytest.approx((5 * 60 + 60) * 8, abs=2)

    asyncio.run(case())


def test_closing_the_engines_closes_both() -> None:
    async def case() -> None:
        ears = TypedEars(TypedStream())
        await Engines(ScriptedTextToSpeech(), ears).close()
        assert ears.closed

    asyncio.run(case())
