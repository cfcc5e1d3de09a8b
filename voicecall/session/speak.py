"""From text to the caller's ear: sentences, synthesis, playback, each running ahead of the next."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from voicecall.dialog.history import SpokenText, heard_text
from voicecall.dialog.sentences import SentenceSplitter, plain, speakable
from voicecall.errors import CodecError, DependencyMissing, SpeechError
from voicecall.ports import Playback
from voicecall.session import wreckage
from voicecall.session.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, AudioPath, TextToSpeech, Utterance
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

_SYNTHESIS_TIMEOUT_S = 10.0
# How many pieces of audio may be ready before they are played. Local engines make pieces of 200 ms.
_PIECES_AHEAD = 25
# Of longer audio this much is converted at a time: a few hundredths of a millisecond.
_STEP_MS = 200
# What a carrier may still hold when we have handed over everything.
_PLAYOUT_GRACE_S = 60.0


class Conversion(Protocol):
    """Converts a stream of audio from one format to another; see `voicecall.media.audio`."""

    def convert(self, audio: bytes, last: bool = False) -> bytes:
        """The next piece, converted; `last` says that no more follows."""
        ...


class MakeConversion(Protocol):
    """Makes a `Conversion`."""

    def __call__(self, source: AudioFormat, target: AudioFormat, /) -> Conversion:
        """A conversion with a state of its own."""
        ...


class Voice:
    """One call's voice: engines in the order they are tried, and their audio in the path's format.

    An engine that fails is not tried again in this call.

    Args:
        engines: at least one, the preferred first.
        convert: makes conversions between audio formats.
    """

    def __init__(self, engines: Sequence[TextToSpeech], convert: MakeConversion) -> None:
        self._engines = list(engines)
        self._convert = convert

    async def synthesize(self, text: str, audio: AudioFormat) -> AsyncGenerator[bytes]:
        """Speak one sentence, coded as `audio`.

        When an engine fails before it has made a sound, the next one speaks; when it fails later,
        the rest of the sentence is lost and the next one speaks from the next sentence on.

        Raises:
            SpeechError: all engines have failed.
        """
        spoken = False
        while self._engines and not spoken:
            engine = self._engines[0]
            try:
                async with aclosing(self._speak(engine, text, audio)) as pieces:
                    async for piece in pieces:
                        spoken = True
                        yield piece
            except (SpeechError, DependencyMissing, CodecError, TimeoutError) as error:
                _log.warning("speech synthesis failed", exc_info=error)
                self._engines.pop(0)
            else:
                return
        if not spoken:
            raise SpeechError("no speech synthesis works", retryable=True)

    async def _speak(
        self, engine: TextToSpeech, text: str, audio: AudioFormat
    ) -> AsyncGenerator[bytes]:
        conversion = self._convert(engine.output, audio)
        step = engine.output.octets_per_second * _STEP_MS // 1000
        async with Source(engine.synthesize(text), _SYNTHESIS_TIMEOUT_S) as pieces:
            async for piece in pieces:
                # A piece of any length is converted in small steps, and only as fast as it is
                # wanted, so that neither its conversion nor its memory is felt by other calls.
                for start in range(0, len(piece), step):
                    converted = conversion.convert(piece[start : start + step])
                    if converted:
                        yield converted
        if tail := conversion.convert(b"", True):
            yield tail


class PathSpeech:
    """One thing being said over an audio path; implements `floor.Speech`.

    Args:
        path: where it is played.
        voice: who says it.
        clock: for `timing`.
        timing: where the first audio and the first frame are noted.
        on_begin: called with the first sentence when its audio starts to play.
    """

    def __init__(
        self,
        path: AudioPath,
        voice: Voice,
        *,
        clock: Clock,
        timing: TurnTiming,
        on_begin: Callable[[str], None],
    ) -> None:
        self._path = path
        self._voice = voice
        self._clock = clock
        self._on_begin = on_begin
        self._utterance: Utterance | None = None
        self._sentences: list[str] = []
        self._played: list[str] = []
        self._played_octets: list[int] = []
        self._work: asyncio.Task[None] | None = None
        self._stopped = False
        self.timing = timing
        self.failure: SpeechError | None = None

    @property
    def began(self) -> bool:
        """Whether any of it has been handed to the path."""
        return self._utterance is not None

    @property
    def text(self) -> str:
        """What was to be said, as far as it is known."""
        return " ".join(self._sentences)

    @property
    def played_text(self) -> str:
        """What of it has been handed to the path."""
        return " ".join(self._played)

    def heard(self) -> str:
        """What of it has been heard up to now, in whole words."""
        if self._utterance is None:
            return ""
        return heard_text(self._spoken_texts(), self._utterance.heard_ms())

    def stop(self) -> None:
        """Stop taking text and making audio, and silence what is queued."""
        self._stopped = True
        if self._work is not None:
            self._work.cancel()
        if self.began:
            self._path.clear()

    async def run(self, pieces: AsyncGenerator[str]) -> Playback:
        """Say the text that `pieces` bring; returns when it was played or stopped.

        A failed synthesis ends it early and is left in `failure`.

        Args:
            pieces: text as it comes; closed at the end.
        """
        work = self._work = asyncio.create_task(self._produce(pieces))
        try:
            if self._stopped:
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            await asyncio.wait({work})
            self._work = None
            wreckage.clear(work)
        if not work.cancelled():
            work.result()
        if self._utterance is None:
            return Playback(heard_ms=0, total_ms=0, interrupted=self._stopped)
        return await self._settled(self._utterance)

    async def _settled(self, utterance: Utterance) -> Playback:
        utterance.finish()
        total_ms = sum(stretch.duration_ms for stretch in self._spoken_texts())
        try:
            async with asyncio.timeout(total_ms / 1000 + _PLAYOUT_GRACE_S):
                return await utterance.played()
        except TimeoutError:
            _log.warning("the carrier never confirmed that speech was played")
            return Playback(utterance.heard_ms(), round(total_ms), interrupted=True)

    async def _produce(self, pieces: AsyncGenerator[str]) -> None:
        ready: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(_PIECES_AHEAD)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._synthesize(pieces, ready))
            while (audible := await ready.get()) is not None:
                await self._write(*audible)

    async def _synthesize(
        self, pieces: AsyncGenerator[str], ready: asyncio.Queue[tuple[str, bytes] | None]
    ) -> None:
        try:
            async with aclosing(pieces), aclosing(_split(pieces)) as sentences:
                async for sentence in sentences:
                    await self._make_audible(sentence, ready)
        except SpeechError as error:
            self.failure = error
        await ready.put(None)

    async def _make_audible(
        self, sentence: str, ready: asyncio.Queue[tuple[str, bytes] | None]
    ) -> None:
        said = speakable(sentence)
        if not said:
            return
        # The transcript shows a number as a number, however it is read out.
        text = plain(sentence)
        self._sentences.append(text)
        async with aclosing(self._voice.synthesize(said, self._path.audio)) as audio:
            async for piece in audio:
                if self.timing.first_audio_ns is None:
                    self.timing.first_audio_ns = self._clock.now_ns()
                await ready.put((text, piece))
                text = ""

    async def _write(self, text: str, audio: bytes) -> None:
        if text:
            self._played.append(text)
            self._played_octets.append(0)
        if self._utterance is None:
            self._utterance = self._path.utterance()
            self.timing.first_frame_ns = self._clock.now_ns()
            self._on_begin(text)
        self._played_octets[-1] += len(audio)
        await self._utterance.write(audio)

    def _spoken_texts(self) -> list[SpokenText]:
        return [
            SpokenText(text, self._path.audio.duration_ms(octets))
            for text, octets in zip(self._played, self._played_octets, strict=True)
        ]


async def _split(pieces: AsyncGenerator[str]) -> AsyncGenerator[str]:
    splitter = SentenceSplitter()
    async for piece in pieces:
        for sentence in splitter.feed(piece):
            yield sentence
    for sentence in splitter.flush():
        yield sentence
