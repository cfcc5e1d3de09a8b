"""What was said before, kept: greetings, apologies, whatever is said the same way again.

Whole utterances only, by their text. The one that was not used for longest goes first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from voicecall.errors import DependencyMissing, SpeechError, VoicecallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.ports import AudioFormat, TextToSpeech

_log = logging.getLogger("voicecall.speech")

_LONGEST_MS = 30_000
_PIECE_MS = 200
_CLOSE_TIMEOUT_S = 3.0


class CachedTextToSpeech:
    """An engine that says nothing twice; implements `ports.TextToSpeech`.

    Everybody who wants a text while it is made gets the same synthesis, which goes on as long as
    anybody listens. Failures are not kept, nor is what is longer than 30 s; of that the synthesis
    gets no more than 30 s ahead of the slowest listener.

    Args:
        engine: what speaks; closed with this.
        octets: so much audio is kept at most; 0 keeps none, and shares only.

    Attributes:
        hits: how many texts were there already.
        misses: how many were not.
    """

    def __init__(self, engine: TextToSpeech, octets: int) -> None:
        self._engine = engine
        self._octets = octets
        self._longest_octets = _octets_of(engine.output, _LONGEST_MS)
        self._piece_octets = _octets_of(engine.output, _PIECE_MS)
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_octets = 0
        self._renderings: dict[str, _Rendering] = {}
        self._tasks: set[asyncio.Task[bytes | None]] = set()
        self._closed = False
        self.hits = 0
        self.misses = 0

    @property
    def output(self) -> AudioFormat:
        """The audio the engine makes."""
        return self._engine.output

    @property
    def kept_octets(self) -> int:
        """How much audio is kept."""
        return self._kept_octets

    async def prepare(self) -> None:
        """Prepare the engine; raises as it does."""
        await self._engine.prepare()

    async def warm(self, text: str) -> None:
        """Have `text` ready; returns once it is, or cannot be kept.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it could not be synthesized.
        """
        if text in self._kept:
            self._kept.move_to_end(text)
            return
        async with aclosing(self.synthesize(text)) as pieces:
            async for _ in pieces:
                pass

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`, from memory if it is there: then in pieces of at most 200 ms.

        Closing the iterator stops the synthesis, unless somebody else listens to it.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it could not be synthesized.
        """
        audio = self._kept.get(text)
        if audio is not None:
            self.hits += 1
            self._kept.move_to_end(text)
            for start in range(0, len(audio), self._piece_octets):
                yield audio[start : start + self._piece_octets]
            return
        self.misses += 1
        async with aclosing(self._rendering(text).listen()) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Stop what is being made, forget everything, and close the engine."""
        self._closed = True
        self._kept.clear()
        self._kept_octets = 0
        if tasks := set(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT_S)
        await self._engine.close()

    def _rendering(self, text: str) -> _Rendering:
        if self._closed:
            raise SpeechError("the voice was closed")
        if (running := self._renderings.get(text)) is not None:
            return running
        rendering = _Rendering(self._engine, text, self._longest_octets, self._forget)
        self._renderings[text] = rendering
        task = asyncio.get_running_loop().create_task(rendering.make())
        rendering.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._made(rendering, task))
        return rendering

    def _made(self, rendering: _Rendering, task: asyncio.Task[bytes | None]) -> None:
        self._tasks.discard(task)
        rendering.task = None
        self._forget(rendering)
        if task.cancelled():
            rendering.end(SpeechError("the voice was closed"))
            return
        error = task.exception()
        rendering.end(None if error is None else _told(error))
        if error is None and (audio := task.result()) is not None:
            self._keep(rendering.text, audio)

    def _forget(self, rendering: _Rendering) -> None:
        """Nobody else may listen to it."""
        if self._renderings.get(rendering.text) is rendering:
            del self._renderings[rendering.text]

    def _keep(self, text: str, audio: bytes) -> None:
        if self._closed or not 0 < len(audio) <= self._octets:
            return
        self._kept_octets += len(audio) - len(self._kept.pop(text, b""))
        self._kept[text] = audio
        while self._kept_octets > self._octets:
            _, oldest = self._kept.popitem(last=False)
            self._kept_octets -= len(oldest)


class _Rendering:
    """One utterance while it is made, for everybody who wants it.

    Args:
        engine: what makes it.
        text: what is said.
        longest_octets: beyond that it is not kept, and heard only by who listens already.
        on_private: told when that happens, or when it is not to be listened to any more.
    """

    def __init__(
        self,
        engine: TextToSpeech,
        text: str,
        longest_octets: int,
        on_private: Callable[[_Rendering], None],
    ) -> None:
        self.text = text
        self.task: asyncio.Task[bytes | None] | None = None
        self._engine = engine
        self._longest_octets = longest_octets
        self._on_private = on_private
        self._shared = True
        # Pieces that somebody has still to hear, the first of them by its number.
        self._pieces: deque[bytes] = deque()
        self._first = 0
        self._octets = 0
        self._positions: dict[object, int] = {}
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._over = False
        self._error: VoicecallError | None = None

    async def make(self) -> bytes | None:
        """Have it made; returns all of it, None where it is too long to be kept."""
        audio = self._engine.synthesize(self.text)
        try:
            async for piece in audio:
                await self._add(piece)
        finally:
            if isinstance(audio, AsyncGenerator):
                await audio.aclose()
        return b"".join(self._pieces) if self._shared else None

    def end(self, error: VoicecallError | None) -> None:
        """Nothing more follows; `error` says why, unless it is complete."""
        self._over = True
        self._error = error
        self._tell()

    async def listen(self) -> AsyncGenerator[bytes]:
        """All of it from its beginning. Raises `SpeechError`, `DependencyMissing`."""
        listener = object()
        self._positions[listener] = 0
        try:
            while True:
                if (position := self._positions[listener]) < self._first + len(self._pieces):
                    piece = self._pieces[position - self._first]
                    self._positions[listener] += 1
                    self._drop()
                    yield piece
                elif self._over:
                    break
                else:
                    await self._news.wait()
            if self._error is not None:
                raise _told(self._error)
        finally:
            del self._positions[listener]
            await self._left()

    async def _left(self) -> None:
        """Somebody listens no more; the last one stops it."""
        if self._positions:
            self._drop()
        elif (task := self.task) is not None:
            self._on_private(self)
            task.cancel()
            await asyncio.wait({task})

    async def _add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._octets += len(piece)
        self._tell()
        if self._shared and self._octets > self._longest_octets:
            self._shared = False
            self._on_private(self)
        self._drop()
        while not self._shared and self._octets > self._longest_octets:
            self._room.clear()
            await self._room.wait()

    def _drop(self) -> None:
        """Forget what everybody has heard, where nobody else will want it."""
        if self._shared:
            return
        heard = min(self._positions.values(), default=0)
        while self._first < heard:
            self._octets -= len(self._pieces.popleft())
            self._first += 1
        self._room.set()

    def _tell(self) -> None:
        """Wake everybody who waits, once."""
        self._news.set()
        self._news = asyncio.Event()


def _octets_of(audio: AudioFormat, duration_ms: int) -> int:
    """How much audio lasts so long, in whole samples."""
    return audio.rate_hz * duration_ms // 1000 * audio.sample_octets


def _told(error: BaseException) -> VoicecallError:
    """A failure for one more listener: without its history, which is of another call."""
    match error:
        case SpeechError():
            return SpeechError(str(error), retryable=error.retryable, status=error.status)
        case DependencyMissing():
            return DependencyMissing(str(error))
        case _:
            _log.error("speech synthesis failed", exc_info=error)
            return SpeechError(f"speech synthesis failed: {type(error).__name__}")
