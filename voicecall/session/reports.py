"""What a conversation tells the call it belongs to: events, one after another, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicecall.call.events import CallEvent
    from voicecall.ports import CallSink

_log = logging.getLogger("voicecall.session")

_SIZE = 256
_APPLY_TIMEOUT_S = 10.0


class Reports:
    """Events of one call on their way to the call's record.

    An event is kept until it was delivered. One whose delivery was cancelled is delivered again,
    which changes nothing if it had arrived: each carries a key of its own.

    Overflow rule: beyond 256 waiting events a new one is dropped and logged; the record is then
    known to be behind, while the conversation goes on.

    Args:
        sink: where they go.
    """

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._events: deque[CallEvent] = deque()
        self._came = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, event: CallEvent) -> None:
        """Report `event` after those reported before. Never blocks."""
        if len(self._events) >= _SIZE:
            _log.warning("too many events wait to be recorded", extra={"event_type": event.type})
            return
        self._events.append(event)
        self._empty.clear()
        self._came.set()

    async def run(self) -> None:
        """Deliver events until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            await self._deliver()

    async def finish(self, timeout_s: float) -> None:
        """Deliver what is still waiting once `run` has ended, within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._deliver()
        except TimeoutError:
            _log.warning("events were not recorded", extra={"event_count": len(self._events)})

    async def flushed(self, timeout_s: float) -> None:
        """Wait until everything reported was delivered, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            _log.warning("events are still waiting to be recorded")

    async def _deliver(self) -> None:
        while self._events:
            await self._apply(self._events[0])
            self._events.popleft()
        self._empty.set()

    async def _apply(self, event: CallEvent) -> None:
        try:
            async with asyncio.timeout(_APPLY_TIMEOUT_S):
                await self._sink.apply(event)
        except Exception:  # noqa: BLE001  (a request's boundary)
            # One event that cannot be recorded must not keep the following ones from it.
            _log.exception("an event could not be recorded", extra={"event_type": event.type})
