"""Connections to recognisers whose other end is the test."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from voicecall.ports import SttEvent, SttStream
    from voicecall.speech.stt.sending import Piece

PATIENCE_S = 5.0


def broken(text: str = "it broke", *, retryable: bool = True) -> SpeechError:
    return SpeechError(text, retryable=retryable, status=1011)


class FakeChannel:
    """Remembers what it is sent, and recognises what the test says."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.rests = 0
        self.closed = False
        self.changed = asyncio.Event()
        self.refuses: SpeechError | None = None
        self.on_refusal: Callable[[], object] = int
        self.stuck = False
        self._events: deque[SttEvent | SpeechError] = deque()
        self._came = asyncio.Event()

    @property
    def audio(self) -> bytes:
        return b"".join(piece.audio for piece in self.pieces)

    def give(self, *events: SttEvent) -> None:
        self._events.extend(events)
        self._came.set()

    def cut(self, error: SpeechError | None = None) -> None:
        self._events.append(error or broken())
        self._came.set()

    async def send(self, piece: Piece) -> None:
        if self.refuses is not None:
            self.on_refusal()
            raise self.refuses
        if self.stuck:
            await asyncio.get_running_loop().create_future()
        self.pieces.append(piece)
        self.changed.set()

    async def rest(self) -> None:
        self.rests += 1
        self.changed.set()

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self

    async def __anext__(self) -> SttEvent:
        while not self._events:
            self._came.clear()
            await self._came.wait()
        event = self._events.popleft()
        if isinstance(event, SpeechError):
            # Not the one that is kept here: its traceback would hold this frame.
            raise SpeechError(str(event), retryable=event.retryable, status=event.status)
        return event

    async def close(self) -> None:
        self.closed = True
        self.changed.set()

    async def until(self, true: Callable[[FakeChannel], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true(self):
                self.changed.clear()
                await self.changed.wait()


class FakeService:
    """Opens connections as planned: one, or an error, or none ever for `None`."""

    def __init__(self, *plan: SpeechError | None) -> None:
        self._plan = deque(plan)
        self.channels: list[FakeChannel] = []
        self.attempts = 0
        self.on_attempt: Callable[[], object] = int
        self.on_open: Callable[[FakeChannel], object] = id
        self._changed = asyncio.Event()

    def plan(self, *plan: SpeechError | None) -> None:
        self._plan.extend(plan)

    async def connect(self) -> FakeChannel:
        self.attempts += 1
        self.on_attempt()
        self._changed.set()
        if self._plan:
            planned = self._plan.popleft()
            if planned is None:
                await asyncio.get_running_loop().create_future()
            elif str(planned) != "":
                raise planned
        channel = FakeChannel()
        self.on_open(channel)
        self.channels.append(channel)
        self._changed.set()
        return channel

    async def channel(self, number: int) -> FakeChannel:
        """The connection of that number, counted from 0, once it is open."""
        await self._until(lambda: len(self.channels) > number)
        return self.channels[number]

    async def attempted(self, times: int) -> None:
        """Once a connection was asked for so many times."""
        await self._until(lambda: self.attempts >= times)

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._changed.clear()
                await self._changed.wait()


WELL = SpeechError("")
"""In a plan: a connection that opens."""


async def take(stream: SttStream, count: int) -> list[SttEvent]:
    """The next events of a stream; fewer if it ends."""
    found: list[SttEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in stream:
            found.append(event)
            if len(found) == count:
                break
    return found
