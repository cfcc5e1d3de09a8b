"""Background work that has an owner."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from voicecall.errors import VoicecallError

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = logging.getLogger("voicecall.manager")

T = TypeVar("T")


class Tasks:
    """Keeps tasks alive, logs those that fail, and ends with all of them done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work`; a failure nobody waits for is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Run `work` that nobody waits for."""
        task = self.start(work, name)
        del task

    async def close(self, within_s: float) -> None:
        """Wait until everything is done; what is not after `within_s` seconds is cancelled."""
        deadline = asyncio.get_running_loop().time() + within_s
        # Work that ends may start more work.
        while self._tasks:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(set(self._tasks), timeout=left_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, VoicecallError):
            _log.info("work failed", extra={"task": task.get_name(), "error": repr(error)})
        elif error is not None:
            _log.error("work broke", extra={"task": task.get_name()}, exc_info=error)
