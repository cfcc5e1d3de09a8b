"""One thread that writes: whatever work is waiting shares one transaction and one commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from voicecall.errors import StoreError

_log = logging.getLogger("voicecall.store")

T = TypeVar("T")

MAX_WAITING: Final = 10_000
"""How much work waits at most; more is refused at once, and whoever wanted it tries again."""

# Bounds how long a transaction takes, and so how long the first of a batch waits for the last.
_MAX_TOGETHER: Final = 1000

_Work: TypeAlias = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    work: _Work
    done: asyncio.Future[Any]


class GroupWriter:
    """Runs work on a database in a thread of its own, in order, and commits it in groups.

    While one group is on its way to the disk the next one gathers: alone a change costs a commit,
    a thousand at once cost little more than one. Work that fails is undone without the rest.

    Args:
        connection: to write with; from now on the writer's.
        max_waiting: how much work waits at most.
    """

    def __init__(self, connection: sqlite3.Connection, max_waiting: int = MAX_WAITING) -> None:
        self._connection = connection
        self._max_waiting = max_waiting
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._ended = asyncio.Event()
        # A daemon, so that a disk that hangs cannot keep the process alive; close() waits for it.
        self._thread = threading.Thread(target=self._run, name="voicecall store", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have `work` done; the future is set once what it did is safe on the disk.

        Args:
            work: gets the connection, inside a transaction that it must not end. It may be run
                again if the transaction is undone for another's fault.

        Raises:
            StoreError: too much is waiting, or the writer is closed. Nothing is done.
        """
        if self._closed:
            raise StoreError("the store is closed")
        if self._waiting >= self._max_waiting:
            raise StoreError(f"the store does not keep up: {self._waiting} changes wait for it")
        self._waiting += 1
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, done))
        return done

    async def close(self, within_s: float) -> None:
        """Finish all that is waiting and close the connection.

        Raises:
            StoreError: that takes longer than `within_s` seconds.
        """
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError:
            raise StoreError(f"{self._waiting} changes could not be stored in time") from None
        # Only its last lines are left to run.
        self._thread.join()

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while group := self._gather():
                outcomes = self._commit(group)
                self._loop.call_soon_threadsafe(self._settle, group, outcomes)
        except RuntimeError:
            # The loop is gone without having closed the store; nobody is left to be told.
            _log.exception("the store was not closed")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)

    def _gather(self) -> list[_Job]:
        """What is waiting, at least one job; nothing once the writer is closed."""
        group: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            group.append(job)
            if len(group) >= _MAX_TOGETHER or self._jobs.empty():
                return group
            job = self._jobs.get()
        if group:
            # The end comes after this group.
            self._jobs.put(None)
        return group

    def _commit(self, group: list[_Job]) -> list[Any]:
        """What each job of the group returned, or the error that undid it."""
        try:
            return self._together(group)
        except sqlite3.OperationalError as error:
            # The disk is full or the file locked: trying them one by one would help nobody.
            return [_failure(error) for _ in group]
        except Exception as error:  # noqa: BLE001  (a job's own fault; told to whoever waits)
            if len(group) == 1:
                return [_failure(error)]
        return [outcome for job in group for outcome in self._commit([job])]

    def _together(self, group: list[_Job]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            results = [job.work(self._connection) for job in group]
            self._connection.execute("COMMIT")
        except BaseException:
            # Some errors have ended the transaction already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results

    # --- in the loop --------------------------------------------------------------------------

    def _settle(self, group: list[_Job], outcomes: list[Any]) -> None:
        self._waiting -= len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            if job.done.done():
                continue
            if isinstance(outcome, StoreError):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)


def _failure(error: Exception) -> StoreError:
    failure = StoreError(f"the change could not be stored: {error}")
    failure.__cause__ = error
    return failure
