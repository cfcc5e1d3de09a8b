"""The one clock that drives every leg of a process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voicecall._codec import Ticker
from voicecall.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from voicecall._codec import MediaStream
    from voicecall.clock import Clock

TICK_MS = 5


class MediaTicker:
    """Looks every 5 ms which streams are due, by absolute deadlines; rests while there is none.

    Args:
        clock: the time; has to run like the event loop's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticker = Ticker()
        self._handle: asyncio.TimerHandle | None = None
        self._due_ns = 0

    def __len__(self) -> int:
        return len(self._ticker)

    def add(self, stream: MediaStream) -> None:
        """Serve `stream` from now on."""
        self._ticker.add(stream)
        if self._handle is None:
            self._due_ns = self._clock.now_ns()
            self._schedule()

    def discard(self, stream: MediaStream) -> None:
        """Serve `stream` no longer."""
        self._ticker.discard(stream)

    def stop(self) -> None:
        """Serve nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        self._due_ns += TICK_MS * NS_PER_MS
        loop = asyncio.get_running_loop()
        delay_s = max(0, self._due_ns - self._clock.now_ns()) / NS_PER_S
        self._handle = loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        now_ns = self._clock.now_ns()
        self._ticker.tick(now_ns)
        # Ticks that were missed in a stall are not made up for: one serves all that is due.
        if now_ns - self._due_ns > TICK_MS * NS_PER_MS:
            self._due_ns = now_ns
        if len(self._ticker):
            self._schedule()
        else:
            self._handle = None
