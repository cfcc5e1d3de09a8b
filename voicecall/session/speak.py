"""From text to the caller's ear: sentences, synthesis, playback, each running ahead of the next."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from voicecall.dialog.history import SpokenText, heard_text
from voicecall.dialog.sentences import SentenceSplitter, plain, speakable
from voicecall.errors import CodecError, DependencyMissing, SpeechError
from voicecall.ports import Playback
from voicecall.session import wreckage
from voicecall.session.source import Source
from voicecall.session.tape import Tape

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, AudioPath, TextToSpeech, Utterance
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

_SYNTHESIS_TIMEOUT_S = 10.0
# While these are said there is time to make the others.
_REHEARSED_SENTENCES = 3
# About how long a voice takes for what it has not said to the end.
_MS_PER_CHARACTER = 60
# Of longer audio this much is converted at a time: a few hundredths of a millisecond.
_STEP_MS = 200
# What a carrier may still hold when we have handed over everything.
_PLAYOUT_GRACE_S = 60.0
# What is as good as over is not held, but left to end.
_TOO_SHORT_TO_HOLD_MS = 200
# What comes back was said lately: recognisers end an utterance after half a minute at the latest.
_LATELY_MS = 30_000
_SOON_MS = 500


class Conversion(Protocol):
    """Converts a stream of audio from one format to another; see `voicecall.audio`."""

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

    An engine that fails is not tried again in this call, unless all of them have failed.

    Args:
        engines: at least one, the preferred first.
        convert: makes conversions between audio formats.
    """

    def __init__(self, engines: Sequence[TextToSpeech], convert: MakeConversion) -> None:
        self._preferred = tuple(engines)
        self._engines = list(engines)
        self._convert = convert

    async def synthesize(self, text: str, audio: AudioFormat) -> AsyncGenerator[bytes]:
        """Speak one sentence, coded as `audio`.

        When an engine fails the next one speaks, from the beginning of the sentence: better heard
        twice than half.

        Raises:
            SpeechError: all engines have failed.
        """
        while self._engines:
            engine = self._engines[0]
            try:
                async with aclosing(self._speak(engine, text, audio)) as pieces:
                    async for piece in pieces:
                        yield piece
            except (SpeechError, DependencyMissing, CodecError, TimeoutError) as error:
                _log.warning("speech synthesis failed", exc_info=error)
                self._engines.pop(0)
            else:
                return
        # What is said next may find them in a better state; a call without a voice is over.
        self._engines = list(self._preferred)
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


@runtime_checkable
class Rehearsing(Protocol):
    """A voice that can have a text ready before it is to be said."""

    async def warm(self, text: str) -> None:
        """Have `text` ready. Raises `SpeechError`, `DependencyMissing`."""
        ...


async def rehearse(engines: Sequence[TextToSpeech], text: str) -> None:
    """Have the first sentences of `text` ready, where the preferred engine keeps what it said.

    That it cannot is only logged: it is tried again when the text is to be said.

    Args:
        engines: voices in the order they are tried.
        text: as it will be said.
    """
    engine: object = next(iter(engines), None)
    if not isinstance(engine, Rehearsing):
        return
    splitter = SentenceSplitter()
    sentences = [*splitter.feed(text), *splitter.flush()]
    try:
        for said in islice(filter(None, map(speakable, sentences)), _REHEARSED_SENTENCES):
            async with asyncio.timeout(_SYNTHESIS_TIMEOUT_S):
                await engine.warm(said)
    except (SpeechError, DependencyMissing, TimeoutError) as error:
        _log.info("what is to be said first could not be made before", exc_info=error)


class PathSpeech:
    """One thing being said over an audio path; implements `floor.Pausable`.

    However often it is held and resumed, it is one thing: it is timed, counted and reported once.

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
        self._tape = Tape(path.audio)
        self._began = False
        # What is playing now, and where on the tape it began.
        self._utterance: Utterance | None = None
        self._from = 0
        self._heard = 0
        self._sentences: list[str] = []
        self._made: list[SpokenText] = []
        self._work: asyncio.Task[None] | None = None
        self._stopped = False
        self._cut = False
        self.timing = timing
        self.failure: SpeechError | None = None

    @property
    def began(self) -> bool:
        """Whether any of it has been handed to the path."""
        return self._began

    @property
    def text(self) -> str:
        """What was to be said, as far as it is known."""
        return " ".join(self._sentences)

    @property
    def played_text(self) -> str:
        """What of it there was to hear."""
        return " ".join(stretch.text for stretch in self._made)

    def heard(self) -> str:
        """What of it has been heard up to now, in whole words."""
        return heard_text(self._made, self._heard_ms()) if self._began else ""

    def lately(self) -> str:
        """The sentences of it that have been playing within the last seconds, or will at once."""
        heard_ms = self._heard_ms()
        texts, start_ms = [], 0.0
        for stretch in self._made:
            end_ms = start_ms + stretch.duration_ms
            if end_ms > heard_ms - _LATELY_MS and start_ms < heard_ms + _SOON_MS:
                texts.append(stretch.text)
            start_ms = end_ms
        return " ".join(texts)

    def levels(self, count: int) -> list[float]:
        """How loud the last `count` blocks were that the caller has heard, in dBFS.

        Fewer where there have not been as many; none while it is held.
        """
        return [] if self._tape.stopped else self._tape.levels(self._position(), count)

    @property
    def remaining_ms(self) -> float | None:
        """How much of it has not been heard yet; None while it is not all there."""
        if not self._tape.complete:
            return None
        return self._path.audio.duration_ms(self._tape.end - self._position())

    def hold(self) -> None:
        """Fall silent, and keep what has not been heard."""
        remaining_ms = self.remaining_ms
        if not self._began or self._stopped or self._tape.stopped:
            return
        if remaining_ms is not None and remaining_ms <= _TOO_SHORT_TO_HOLD_MS:
            return
        self._tape.stop()
        self._path.clear()

    def resume(self) -> None:
        """Go on from where it was held, or shortly before."""
        if self._stopped or not self._tape.stopped:
            return
        heard = self._heard = self._position()
        self._utterance, self._cut = None, False
        self._from = self._tape.resume(heard)

    def stop(self) -> None:
        """Stop taking text and making audio, and silence what is queued."""
        self._stopped = True
        if self._work is not None:
            self._work.cancel()
        if self._began and not self._tape.stopped:
            self._path.clear()

    async def run(self, pieces: AsyncGenerator[str]) -> Playback:
        """Say the text that `pieces` bring; returns when it was played or stopped.

        A failed synthesis ends it early and is left in `failure`.

        Args:
            pieces: text as it comes; closed at the end.
        """
        work = self._work = asyncio.create_task(self._say(pieces))
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
        return Playback(
            heard_ms=round(self._heard_ms()),
            total_ms=round(self._path.audio.duration_ms(self._tape.end)),
            interrupted=self._stopped or self._cut,
        )

    async def _say(self, pieces: AsyncGenerator[str]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._synthesize(pieces))
            await self._play()

    # --- making it -------------------------------------------------------------------------------

    async def _synthesize(self, pieces: AsyncGenerator[str]) -> None:
        try:
            async with aclosing(pieces), aclosing(_split(pieces)) as sentences:
                async for sentence in sentences:
                    await self._make_audible(sentence)
        except SpeechError as error:
            self.failure = error
        self._tape.finish()

    async def _make_audible(self, sentence: str) -> None:
        said = speakable(sentence)
        if not said:
            return
        # The transcript shows a number as a number, however it is read out.
        text = plain(sentence)
        self._sentences.append(text)
        octets = 0
        try:
            async with aclosing(self._voice.synthesize(said, self._path.audio)) as audio:
                async for piece in audio:
                    if self.timing.first_audio_ns is None:
                        self.timing.first_audio_ns = self._clock.now_ns()
                    if octets:
                        self._made.pop()
                    octets += len(piece)
                    self._made.append(SpokenText(text, self._path.audio.duration_ms(octets)))
                    await self._tape.put(piece)
        except SpeechError:
            if octets:
                self._made.append(_begun(self._made.pop()))
            raise

    # --- playing it ------------------------------------------------------------------------------

    async def _play(self) -> None:
        """Returns when all of it was played, or the path was cleared by somebody else."""
        playing = True
        while playing:
            while (audio := await self._tape.get()) is not None:
                await self._current().write(audio)
                self._tape.forget(self._position())
            utterance = self._utterance
            if utterance is not None:
                await self._played(utterance)
            # What was held meanwhile goes on.
            playing = self._tape.stopped or utterance is not self._utterance

    def _current(self) -> Utterance:
        if self._utterance is None:
            self._utterance = self._path.utterance()
            if not self._began:
                self._began = True
                self.timing.first_frame_ns = self._clock.now_ns()
                self._on_begin(self._made[0].text)
        return self._utterance

    async def _played(self, utterance: Utterance) -> None:
        utterance.finish()
        left_ms = self._path.audio.duration_ms(self._tape.end - self._position())
        try:
            async with asyncio.timeout(left_ms / 1000 + _PLAYOUT_GRACE_S):
                self._cut = (await utterance.played()).interrupted
        except TimeoutError:
            _log.warning("the carrier never confirmed that speech was played")
            self._cut = True
        if not self._cut:
            self._heard = self._tape.end

    def _position(self) -> int:
        """Up to where on the tape it has been heard; never goes back but at `resume`."""
        if self._utterance is None:
            return self._from
        audio = self._path.audio
        samples = self._utterance.heard_ms() * audio.rate_hz // 1000
        return min(self._from + samples * audio.sample_octets, self._tape.end)

    def _heard_ms(self) -> float:
        # After it was taken up again a little is heard twice.
        return self._path.audio.duration_ms(max(self._heard, self._position()))


def _begun(sentence: SpokenText) -> SpokenText:
    """What there is of a sentence that broke off, by how long it would have been."""
    whole_ms = max(sentence.duration_ms, len(sentence.text) * _MS_PER_CHARACTER)
    begun = heard_text([SpokenText(sentence.text, whole_ms)], sentence.duration_ms)
    return SpokenText(begun, sentence.duration_ms)


async def _split(pieces: AsyncGenerator[str]) -> AsyncGenerator[str]:
    splitter = SentenceSplitter()
    async for piece in pieces:
        for sentence in splitter.feed(piece):
            yield sentence
    for sentence in splitter.flush():
        yield sentence
