"""Call records in a SQLite file: what is acknowledged survives the process, and the machine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import StoreError
from voicecall.store import rows
from voicecall.store.database import FileLock, make_private, open_to_read, open_to_write
from voicecall.store.reader import Reader
from voicecall.store.retention import Retention, forget_some, horizon
from voicecall.store.writer import GroupWriter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from voicecall.clock import Clock

_log = logging.getLogger("voicecall.store")

_CLOSE_TIMEOUT_S: Final = 3.0
_PRUNE_PERIOD_S: Final = 600.0
_ABANDONED_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class _Abandoned:
    """A change whose giver did not wait until it was stored, and will come again with it."""

    change: Mapping[str, Any]
    writing: asyncio.Future[None]


class SqliteCallStore:
    """Implements `ports.CallStore` on one file.

    A change is acknowledged once it is on the disk; changes that come together share a commit. Of
    10 000 changes that wait, and of 1000 questions, further ones are refused. To be used within
    one event loop, between `open` and `close`.

    Args:
        path: the file; it and its directory are made if they are missing.
        clock: tells how old calls are.
        retention: what is forgotten, looked after every ten minutes.
        on_stored: told how long each change took to be stored, in milliseconds.
        shared: whether a server may be at work on the same file, for those who are none.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        retention: Retention | None = None,
        on_stored: Callable[[float], None] = lambda _: None,
        shared: bool = False,
    ) -> None:
        self._path = path
        self._clock = clock
        self._retention = retention or Retention()
        self._on_stored = on_stored
        self._shared = shared
        self._parts: _Parts | None = None
        self._abandoned: OrderedDict[str, _Abandoned] = OrderedDict()

    async def open(self) -> None:
        """Lock, check and, where needed, make or migrate the file.

        Raises:
            StoreError: it cannot be used; says why, and what to do.
        """
        lock, writing, reading = await asyncio.to_thread(_open, self._path, shared=self._shared)
        pruning = asyncio.create_task(self._keep_pruning(), name="prune calls")
        self._parts = _Parts(lock, GroupWriter(writing), Reader(reading), pruning)

    async def save(self, record: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        """Store one change and the record as it is after it; returns once both are on the disk.

        Whoever stops waiting may save the same change again: it is kept once.
        """
        began_ns = time.perf_counter_ns()
        row = rows.CallRow.of(record)
        told = rows.encoded(change)
        stored = await self._was_stored(row.call_id, change)
        work = partial(row.write, change=None if stored else told)
        writing = self._opened.writer.submit(work)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            self._abandon(row.call_id, _Abandoned(change, writing))
            raise
        self._abandoned.pop(row.call_id, None)
        self._on_stored((time.perf_counter_ns() - began_ns) / 1e6)

    async def get(self, call_id: str) -> Mapping[str, Any] | None:
        """One record by our id or the carrier's."""
        return await self._opened.reader.ask(partial(rows.read_call, any_id=call_id))

    async def live(self) -> Sequence[Mapping[str, Any]]:
        """Records of calls that have not ended, oldest first."""
        return await self._opened.reader.ask(rows.read_live)

    async def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest records, newest first."""
        return await self._opened.reader.ask(partial(rows.read_recent, limit=limit))

    async def history(self, call_id: str) -> Sequence[Mapping[str, Any]]:
        """Every change of one call in order, by our id of it."""
        return await self._opened.reader.ask(partial(rows.read_history, call_id=call_id))

    async def changes(
        self, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Changes of all calls in the order in which they were stored, with their numbers.

        Args:
            after: the number of the last change that is known already.
            limit: how many to return at most.
        """
        ask = partial(rows.read_changes, after=after, limit=limit)
        return await self._opened.reader.ask(ask)

    async def newest_change(self) -> int:
        """The number of the newest change that is kept; 0 if there is none."""
        return await self._opened.reader.ask(rows.read_newest_change)

    async def prune(self, retention: Retention) -> int:
        """Forget what `retention` does not keep, in small steps; how many calls that were.

        Live calls are kept. Changes that come meanwhile wait for one step at most.
        """
        parts = self._opened
        last = await parts.reader.ask(
            partial(horizon, retention=retention, now_ms=self._clock.wall_ms())
        )
        forgotten = 0
        step = partial(forget_some, retention=retention, last=last)
        while count := await parts.writer.submit(step):
            forgotten += count
        return forgotten

    async def close(self) -> None:
        """Finish writing and free the file; within 3 s.

        Raises:
            StoreError: something could not be written in time.
        """
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.close()

    @property
    def _opened(self) -> _Parts:
        if self._parts is None:
            raise StoreError("the store is not open")
        return self._parts

    def _abandon(self, call_id: str, abandoned: _Abandoned) -> None:
        self._abandoned[call_id] = abandoned
        if len(self._abandoned) > _ABANDONED_LIMIT:
            self._abandoned.popitem(last=False)

    async def _was_stored(self, call_id: str, change: Mapping[str, Any]) -> bool:
        """Whether this very change is on the disk although nobody waited for it to be."""
        abandoned = self._abandoned.get(call_id)
        if abandoned is None or abandoned.change is not change:
            return False
        await asyncio.wait({abandoned.writing})
        return abandoned.writing.exception() is None

    async def _keep_pruning(self) -> None:
        while self._retention.limited:
            try:
                forgotten = await self.prune(self._retention)
            except StoreError as error:
                _log.warning("old calls were not forgotten", exc_info=error)
            else:
                if forgotten:
                    _log.info("old calls were forgotten", extra={"calls": forgotten})
            await asyncio.sleep(_PRUNE_PERIOD_S)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open store consists of."""

    lock: FileLock | None
    writer: GroupWriter
    reader: Reader
    pruning: asyncio.Task[None]

    async def close(self) -> None:
        self.pruning.cancel()
        await asyncio.gather(self.pruning, return_exceptions=True)
        async with AsyncExitStack() as stack:
            if self.lock is not None:
                stack.callback(self.lock.release)
            # The last connection to close tidies up, which only a writer can.
            stack.push_async_callback(self.writer.close, _CLOSE_TIMEOUT_S)
            stack.push_async_callback(self.reader.close, _CLOSE_TIMEOUT_S)


def _open(
    path: Path, *, shared: bool
) -> tuple[FileLock | None, sqlite3.Connection, sqlite3.Connection]:
    with ExitStack() as undo:
        make_private(path)
        lock = None if shared else FileLock(path)
        if lock is not None:
            undo.callback(lock.release)
        writing = open_to_write(path)
        undo.callback(writing.close)
        reading = open_to_read(path)
        undo.pop_all()
    return lock, writing, reading
