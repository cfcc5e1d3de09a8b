"""The simulated caller's own voice and ears."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.audio import Transcoder
from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K, FinalTranscript, SpeechStarted
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.tts.local import LocalTextToSpeech

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.clock import Clock
    from voicecall.ports import SpeechToText, SttStream, TextToSpeech

_log = logging.getLogger("voicecall.simulator")


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing the phone understood.

    Attributes:
        text: the words.
        began_ns: when the other side began to say it, where the recogniser told; else `at_ns`.
        at_ns: when it was understood.
    """

    text: str
    began_ns: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Engines:
    """What a phone speaks and listens with. Many phones may share one.

    Attributes:
        voice: synthesis; None for a phone that only plays audio.
        ears: recognition; None for a phone that does not listen to words.
    """

    voice: TextToSpeech | None
    ears: SpeechToText | None

    async def close(self) -> None:
        """Free both."""
        async with AsyncExitStack() as ending:
            for engine in (self.voice, self.ears):
                if engine is not None:
                    ending.push_async_callback(engine.close)


def local_engines(clock: Clock) -> Engines:
    """The engines on this machine; their models are loaded at first use."""
    return Engines(LocalTextToSpeech(), LocalSpeechToText(clock=clock))


async def speak_ulaw(voice: TextToSpeech, text: str) -> bytes:
    """`text` as mu-law at 8 kHz, whole: a caller does not hesitate because a computer is busy.

    Raises:
        SpeechError: it could not be synthesized.
    """
    transcoder = Transcoder(voice.output, ULAW_8K)
    speech = bytearray()
    async for piece in voice.synthesize(text):
        speech += transcoder.convert(piece)
    return bytes(speech + transcoder.convert(b"", last=True))


class Ears:
    """One phone's recognition: takes the line's audio, reports what was understood.

    Args:
        engine: recognition.
        clock: when things were understood.
        report: told of each final transcript, on the event loop.
    """

    def __init__(self, engine: SpeechToText, clock: Clock, report: Callable[[Heard], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._report = report
        self._transcoder = Transcoder(ULAW_8K, engine.input)
        self._stream: SttStream | None = None
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen.

        Raises:
            SpeechError: recognition cannot start.
        """
        self._stream = await self._engine.open()
        self._listening = asyncio.create_task(self._listen(self._stream))

    def push(self, ulaw: bytes) -> None:
        """Take more of the line."""
        if self._stream is not None:
            self._stream.push(self._transcoder.convert(ulaw))

    async def close(self) -> None:
        """Stop listening; what was not understood by now is lost."""
        if self._stream is not None and self._listening is not None:
            await self._stream.close()
            await self._listening
        self._stream = None

    async def _listen(self, stream: SttStream) -> None:
        began_ns: int | None = None
        try:
            async for event in stream:
                if isinstance(event, SpeechStarted):
                    began_ns = event.at_ns
                elif isinstance(event, FinalTranscript):
                    now_ns = self._clock.now_ns()
                    self._report(Heard(event.text, began_ns or now_ns, now_ns))
                    began_ns = None
        except SpeechError as error:
            _log.warning("simulated phone cannot hear any more", exc_info=error)
