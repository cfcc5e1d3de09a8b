"""One task that writes: whatever commands are waiting go to the database server together."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import StoreError

if TYPE_CHECKING:
    from voicecall.store.redis_link import RedisLink
    from voicecall.store.redis_scripts import Command

_log = logging.getLogger("voicecall.store")

MAX_WAITING: Final = 10_000
"""How many changes wait at most; more are refused at once, and whoever wanted it tries again."""

# Commands are packed and answers read on the event loop that sends audio: a few ms for so many.
_MAX_TOGETHER: Final = 64


@dataclass(frozen=True, slots=True)
class _Job:
    command: Command
    done: asyncio.Future[bytes]


class RedisWriter:
    """Sends changes in order, in groups: while one group is on its way the next one gathers.

    Each change succeeds or fails by itself.

    Args:
        link: the way to the server; not closed here.
        max_waiting: how many changes wait at most.
    """

    def __init__(self, link: RedisLink, max_waiting: int = MAX_WAITING) -> None:
        self._link = link
        self._max_waiting = max_waiting
        self._waiting = 0
        self._closed = False
        # Bounded by what `submit` lets in.
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(), name="store changes")

    def submit(self, command: Command) -> asyncio.Future[bytes]:
        """Have `command` run; the future is set to its answer.

        Raises:
            StoreError: too much is waiting, or the writer is closed. Nothing is done.
        """
        if self._closed:
            raise StoreError("the store is closed")
        if self._waiting >= self._max_waiting:
            raise StoreError(f"the store does not keep up: {self._waiting} changes wait for it")
        self._waiting += 1
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(command, done))
        return done

    async def close(self, within_s: float) -> None:
        """Send all that is waiting.

        Raises:
            StoreError: that takes longer than `within_s` seconds.
        """
        if not self._closed:
            self._closed = True
            self._jobs.put_nowait(None)
        try:
            async with asyncio.timeout(within_s):
                await asyncio.shield(self._task)
        except TimeoutError:
            left = self._waiting
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            raise StoreError(f"{left} changes could not be stored in time") from None

    async def _run(self) -> None:
        while group := await self._gather():
            self._settle(group, await self._outcomes(group))

    async def _gather(self) -> list[_Job]:
        """What is waiting, at least one job; nothing once the writer is closed."""
        group: list[_Job] = []
        job = await self._jobs.get()
        while job is not None:
            group.append(job)
            if len(group) >= _MAX_TOGETHER or self._jobs.empty():
                return group
            job = self._jobs.get_nowait()
        if group:
            # The end comes after this group.
            self._jobs.put_nowait(None)
        return group

    async def _outcomes(self, group: list[_Job]) -> list[Any]:
        try:
            return await self._link.run([job.command for job in group])
        except StoreError as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001  (a job's own fault; told to whoever waits)
            if len(group) == 1:
                _log.exception("a change broke the way to the store")
                return [error]
        return [outcome for job in group for outcome in await self._outcomes([job])]

    def _settle(self, group: list[_Job], outcomes: list[Any]) -> None:
        self._waiting -= len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            if job.done.done():
                # Whoever wanted it did not wait.
                continue
            if isinstance(outcome, Exception):
                failure = StoreError(f"the change could not be stored: {outcome}")
                failure.__cause__ = outcome
                job.done.set_exception(failure)
            else:
                job.done.set_result(outcome)
