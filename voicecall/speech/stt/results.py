"""The bounded queue between a recogniser and the conversation that listens to it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicecall.errors import SpeechError
    from voicecall.ports import SttEvent


class ResultQueue:
    """Recognition results on their way to one listener. Used on the event loop's thread only.

    Overflow rule: beyond `size` unread results the oldest is dropped and counted; a listener that
    far behind cannot use it any more.

    Args:
        size: how many unread results are kept.
    """

    def __init__(self, size: int = 256) -> None:
        self._results: deque[SttEvent] = deque(maxlen=size)
        self._changed = asyncio.Event()
        self._closed = False
        self._failure: SpeechError | None = None
        self.dropped = 0

    def put(self, result: SttEvent) -> None:
        """Add a result; after `close` or `fail` it is ignored."""
        if self._closed:
            return
        if len(self._results) == self._results.maxlen:
            self.dropped += 1
        self._results.append(result)
        self._changed.set()

    def close(self) -> None:
        """No more results follow; iteration ends after those already there."""
        self._closed = True
        self._changed.set()

    def fail(self, error: SpeechError) -> None:
        """Recognition cannot go on; iteration raises `error` after the results already there."""
        if not self._closed:
            self._failure = error
            self.close()

    def __aiter__(self) -> ResultQueue:
        return self

    async def __anext__(self) -> SttEvent:
        while not self._results:
            if self._closed:
                raise self._take_end()
            self._changed.clear()
            await self._changed.wait()
        return self._results.popleft()

    def _take_end(self) -> SpeechError | StopAsyncIteration:
        """Why there are no more results; a failure is not kept: its traceback will hold this."""
        failure = self._failure
        self._failure = None
        return StopAsyncIteration() if failure is None else failure
