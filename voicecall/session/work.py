"""What is being done for one call's conversation: its tasks, and what they tell the call."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from voicecall.call.events import CallErrored
from voicecall.errors import RemoteError, VoicecallError
from voicecall.session import wreckage
from voicecall.session.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from voicecall.call.events import CallEvent
    from voicecall.clock import Clock
    from voicecall.ports import CallSink

_log = logging.getLogger("voicecall.session")

_FLUSH_TIMEOUT_S = 2.0
_STOP_TIMEOUT_S = 3.0


class Work:
    """The tasks of one conversation, which end with it, and its events, which do not get lost.

    Args:
        call_id: our id of the call.
        sink: where events go.
        clock: the time.
    """

    def __init__(self, call_id: str, sink: CallSink, clock: Clock) -> None:
        self.call_id = call_id
        self._clock = clock
        self._reports = Reports(sink)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self.start(self._reports.run())

    def start(
        self, work: Coroutine[Any, Any, None], on_done: Callable[[], None] = lambda: None
    ) -> None:
        """Do `work` in a task of its own.

        Args:
            work: one that fails is logged, and the others go on.
            on_done: called when it has ended in any way; at once when all work has been stopped.
        """
        if self._stopped:
            work.close()
            on_done()
            return
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before its first step never comes to await it.
        task.add_done_callback(lambda _: work.close())
        task.add_done_callback(lambda _: on_done())

    def report(self, kind: Callable[..., CallEvent], **details: object) -> None:
        """Tell the call that something happened. Never blocks."""
        event_id = uuid4().hex
        self._reports.add(
            kind(
                id=event_id,
                dedupe_key=f"session:{event_id}",
                timestamp=self._clock.wall_ms(),
                call_id=self.call_id,
                **details,
            )
        )

    def failed(self, message: str, error: Exception) -> None:
        """Log a failure that the conversation survives, and tell the call."""
        _log.warning(message, exc_info=error, extra={"call_id": self.call_id})
        # What our own errors say is fit to be read by others.
        told = str(error) if isinstance(error, VoicecallError) else message
        self.report(CallErrored, message=told, retryable=True)

    async def flushed(self) -> None:
        """Wait until what was reported is recorded, at most two seconds."""
        await self._reports.flushed(_FLUSH_TIMEOUT_S)

    async def stop(self) -> None:
        """End all tasks; one that does not end within three seconds is logged and left."""
        self._stopped = True
        if not self._tasks:
            return
        for task in list(self._tasks):
            task.cancel()
        done, pending = await asyncio.wait(list(self._tasks), timeout=_STOP_TIMEOUT_S)
        for task in done:
            wreckage.clear(task)
        if pending:
            _log.error("a conversation does not end", extra={"call_id": self.call_id})

    async def finish(self) -> None:
        """Record what is still waiting once all tasks have ended, within two seconds."""
        await self._reports.finish(_FLUSH_TIMEOUT_S)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """A task's boundary: one part that fails must not end the conversation."""
        try:
            await work
        except RemoteError as error:
            self.failed("speech failed", error)
        except Exception:  # noqa: BLE001  (a task's boundary)
            _log.exception("a conversation task failed", extra={"call_id": self.call_id})
