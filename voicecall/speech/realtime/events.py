"""The bounded queue between a speech-to-speech engine and the conversation that listens to it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicecall.errors import SpeechError
    from voicecall.ports import SpeechToSpeechEvent


class EventQueue:
    """Events on their way to one listener. Used on the event loop's thread only.

    Overflow rule: with `size` unread events `put` waits, and with it the connection that they come
    from, so that nothing of a reply is lost.

    Args:
        size: how many unread events are kept.
    """

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._events: deque[SpeechToSpeechEvent] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False
        self._failure: SpeechError | None = None

    async def put(self, event: SpeechToSpeechEvent) -> None:
        """Add an event, once there is room; after `close` or `fail` it is ignored."""
        while len(self._events) >= self._size and not self._closed:
            self._room.clear()
            await self._room.wait()
        if not self._closed:
            self._events.append(event)
            self._came.set()

    def close(self) -> None:
        """No more events follow; iteration ends after those already there."""
        self._closed = True
        self._came.set()
        self._room.set()

    def fail(self, error: SpeechError) -> None:
        """The conversation cannot go on; iteration raises `error` after the events already there.

        Args:
            error: raised once; must not hold what the listener belongs to.
        """
        if not self._closed:
            self._failure = error
            self.close()

    def __aiter__(self) -> EventQueue:
        return self

    async def __anext__(self) -> SpeechToSpeechEvent:
        while not self._events:
            if self._failure is not None:
                raise self._take_failure()
            if self._closed:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        event = self._events.popleft()
        self._room.set()
        return event

    def _take_failure(self) -> SpeechError:
        """The failure, which is not kept: its traceback will hold this queue."""
        failure = self._failure
        self._failure = None
        if failure is None:
            raise StopAsyncIteration
        return failure
