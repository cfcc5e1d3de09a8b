"""A call's audio for a program with models of its own: what the caller says, and what it plays."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from voicecall.errors import NotConnected
from voicecall.ports import AudioFormat, Playback
from voicecall.session.floor import SKIPPED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

    from voicecall.ports import AudioPath, Utterance
    from voicecall.session.floor import Floor
    from voicecall.session.speak import Conversion, MakeConversion

CHUNK_MS = 20
# Five seconds; who is further behind will not catch up in a conversation.
_MAX_CHUNKS = 250
# Longer pieces are converted in parts, so that other calls do not notice.
_STEP_MS = 200
# What a carrier may still hold when we have handed over everything.
_PLAYOUT_GRACE_S = 60.0


class CallerAudio:
    """What the caller says, from when it was made until the call is over; iterate over it.

    Gives linear PCM16, mono, little endian, in pieces of exactly 20 ms.

    Overflow rule: up to five seconds wait for a slow reader; then the oldest are dropped.

    Args:
        rate_hz: samples a second.
    """

    def __init__(self, rate_hz: int) -> None:
        self.format = AudioFormat("pcm16", rate_hz)
        self.dropped = 0
        """How many pieces were lost because they were not read in time."""
        self._size = self.format.octets_per_second * CHUNK_MS // 1000
        self._chunks: deque[bytes] = deque(maxlen=_MAX_CHUNKS)
        self._rest = b""
        self._conversion: Conversion | None = None
        self._arrived = asyncio.Event()
        self._over = False

    def convert_by(self, conversion: Conversion | None) -> None:
        """How what is offered from now on becomes the format; None when it is that already."""
        self._conversion = conversion

    def offer(self, audio: bytes) -> None:
        """The caller's next audio; never blocks."""
        if self._conversion is not None:
            audio = self._conversion.convert(audio)
        audio = self._rest + audio
        whole = len(audio) - len(audio) % self._size
        for start in range(0, whole, self._size):
            if len(self._chunks) == _MAX_CHUNKS:
                self.dropped += 1
            self._chunks.append(audio[start : start + self._size])
        self._rest = audio[whole:]
        if whole:
            self._arrived.set()

    def end(self) -> None:
        """No more follows; what waits can still be read."""
        self._over = True
        self._arrived.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next 20 ms. It lasts as long as the call at most, which has limits of its own."""
        while not self._chunks:
            if self._over:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._chunks.popleft()


class RawAudio:
    """One call's audio path as a program uses it, beside the conversation or instead of it.

    Args:
        call_id: our id of the call.
        convert: makes conversions between audio formats.
    """

    def __init__(self, call_id: str, convert: MakeConversion) -> None:
        self._call_id = call_id
        self._convert = convert
        self._path: AudioPath | None = None
        self._heard: AudioFormat | None = None
        self._alone = True
        self._listeners: WeakSet[CallerAudio] = WeakSet()
        self._clears = 0
        self._closed = False

    def attach(self, path: AudioPath, heard: AudioFormat | None) -> None:
        """The call's audio path is open, or somebody else listens to it from now on.

        Args:
            path: the path.
            heard: how what is given to `hear` is coded; None: nobody else listens to the path.
        """
        self._path = path
        self._alone = heard is None
        self._heard = heard or AudioFormat("pcm16", path.audio.rate_hz)
        for listener in list(self._listeners):
            self._tune(listener)
        if self._alone and self._listeners:
            path.listen(self.hear)

    def hear(self, audio: bytes) -> None:
        """The caller's next audio."""
        for listener in list(self._listeners):
            listener.offer(audio)

    def listen(self, rate_hz: int) -> CallerAudio:
        """What the caller says from now on, or from when the call is answered."""
        listener = CallerAudio(rate_hz)
        if self._closed:
            listener.end()
            return listener
        self._listeners.add(listener)
        if self._path is not None:
            self._tune(listener)
            if self._alone:
                self._path.listen(self.hear)
        return listener

    async def play(self, audio: AsyncIterable[bytes], rate_hz: int, floor: Floor) -> Playback:
        """Play linear PCM16 after what is being said; returns when it was heard or cut short.

        Args:
            audio: pieces of any length, taken at most ten seconds before they are played.
            rate_hz: samples a second.
            floor: the right to speak.

        Raises:
            NotConnected: there is no audio path yet, or any more.
        """
        path = self._path
        if path is None or self._closed:
            raise NotConnected("nothing can be played on the call now", call_id=self._call_id)
        clears = self._clears
        async with floor:
            if clears != self._clears:
                return SKIPPED
            utterance = path.utterance()
            conversion = self._convert(AudioFormat("pcm16", rate_hz), path.audio)
            feeding = asyncio.create_task(_feed(utterance, audio, conversion, rate_hz))
            try:
                return await _played(utterance, feeding)
            except BaseException:
                # Nobody waits for it any more, or the program's own audio failed.
                path.clear()
                raise
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})

    def clear(self) -> None:
        """Stop what is being played at once, and skip what waits to be played."""
        self._clears += 1
        if self._path is not None and not self._closed:
            self._path.clear()

    def close(self) -> None:
        """The call is over."""
        self._closed = True
        self._clears += 1
        self._path = None
        for listener in list(self._listeners):
            listener.end()

    def _tune(self, listener: CallerAudio) -> None:
        if self._heard is None or self._heard == listener.format:
            listener.convert_by(None)
        else:
            listener.convert_by(self._convert(self._heard, listener.format))


async def _feed(
    utterance: Utterance, audio: AsyncIterable[bytes], conversion: Conversion, rate_hz: int
) -> None:
    step = AudioFormat("pcm16", rate_hz).octets_per_second * _STEP_MS // 1000
    async with aclosing(_iterated(audio)) as pieces:
        async for piece in pieces:
            # What is written after a cut is dropped at once; the source may never wait, either.
            await asyncio.sleep(0)
            for start in range(0, len(piece), step):
                if converted := conversion.convert(piece[start : start + step]):
                    await utterance.write(converted)
    if tail := conversion.convert(b"", True):
        await utterance.write(tail)
    utterance.finish()


async def _played(utterance: Utterance, feeding: asyncio.Task[None]) -> Playback:
    """Wait for the end of an utterance, whoever ends it. Raises what the feeding raises."""
    played = asyncio.create_task(utterance.played())
    try:
        # As long as the program gives audio; the call's own limits end it.
        await asyncio.wait({played, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if not played.done():
            feeding.result()
        async with asyncio.timeout(_PLAYOUT_GRACE_S):
            return await asyncio.shield(played)
    except TimeoutError:
        return Playback(utterance.heard_ms(), utterance.heard_ms(), interrupted=True)
    finally:
        played.cancel()
        await asyncio.wait({played})


async def _iterated(audio: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """An iterator that can be closed, whatever it was; its own `aclose` is called if it has one."""
    pieces: AsyncIterator[bytes] = aiter(audio)
    try:
        async for piece in pieces:
            yield piece
    finally:
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()
