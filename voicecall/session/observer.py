"""A user's function that is told of every change, where it can hold nobody up."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

from voicecall.isolation.guest import Guest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from voicecall.isolation.watch import LoopWatch

_log = logging.getLogger("voicecall.session")

HANDLER_TIMEOUT_S = 60.0

if TYPE_CHECKING:
    Handler: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None] | None]


class Observer:
    """Calls a handler with each change, one after another, in a thread of its own.

    Overflow rule: that of `changes`; a handler that does not keep up is told of a `gap`.

    Args:
        changes: a bounded subscription; ending it ends the observer.
        handler: theirs, an ordinary or an asynchronous function; what it raises is logged.
        watch: tells when it blocks an asynchronous one's loop.
    """

    def __init__(
        self,
        changes: AsyncGenerator[Mapping[str, Any], None],
        handler: Handler,
        watch: LoopWatch,
    ) -> None:
        self._changes = changes
        self._handler = handler
        self._guest = Guest("observer", watch)
        self._task = asyncio.get_running_loop().create_task(self._tell())

    async def close(self) -> None:
        """Tell of nothing more; a handler that hangs is left behind after two seconds."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._guest.close()

    async def _tell(self) -> None:
        async for change in self._changes:
            try:
                await self._guest.run(self._handle(change), HANDLER_TIMEOUT_S)
            except Exception:  # noqa: BLE001  (somebody else's code)
                _log.exception("an observer failed")

    async def _handle(self, change: Mapping[str, Any]) -> None:
        told = self._handler(change)
        if inspect.isawaitable(told):
            await told
