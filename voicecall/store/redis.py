"""Call records in Redis or Valkey: a store that outlives the machine, and that servers share."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import DependencyMissing, StoreError
from voicecall.store.redis_lease import RedisLease, claimed
from voicecall.store.redis_scripts import (
    CLAIM,
    FIND,
    FORGET,
    MEMBER_PREFIX_OCTETS,
    READ,
    SAVE,
    SCHEMA_VERSION,
)
from voicecall.store.redis_writer import RedisWriter
from voicecall.store.retention import STEP_CALLS, Retention
from voicecall.store.rows import CallRow, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from voicecall.clock import Clock
    from voicecall.store.redis_address import RedisAddress
    from voicecall.store.redis_link import RedisLink
    from voicecall.store.redis_scripts import Argument

_log = logging.getLogger("voicecall.store")

_CLOSE_TIMEOUT_S: Final = 3.0
_PRUNE_PERIOD_S: Final = 600.0
_MS_PER_DAY: Final = 86_400_000
# The database server does nothing else while it reads so many calls.
_PAGE_CALLS: Final = 100
_UNDECIDED_LIMIT: Final = 10_000

_REFUSALS: Final = {
    b"lost": "another voicecall server of this name uses the store now; stop one of them",
    b"taken": "another server that shares the store has taken the call over",
}


@dataclass(frozen=True, slots=True)
class _Undecided:
    """A change that nobody knows to be stored; whoever gave it will come again with it."""

    change: Mapping[str, Any]
    mark: str


class RedisCallStore:
    """Implements `ports.CallStore` in a database of a Redis or Valkey server.

    A change is acknowledged once the server says that it has it; how safe that is, is the server's
    `appendfsync`. Changes that come together travel together. Of 10 000 changes that wait, and of
    1000 questions, further ones are refused; all are while the server is away. To be used within
    one event loop, between `open` and `close`.

    Servers that share a store see each other's calls in `get`, `recent` and `changes`. `live` has
    those of this server only: its own, and when it started those of servers that were gone.

    Args:
        address: which server, which keys, and the name of this voicecall server.
        clock: tells how old calls are.
        retention: what is forgotten, looked after every ten minutes. `octets` counts the JSON; the
            server needs about twice that.
        on_stored: told how long each change took to be stored, in milliseconds.
        shared: for tools: takes no calls over, and prunes only when asked to.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        clock: Clock,
        retention: Retention | None = None,
        on_stored: Callable[[float], None] = lambda _: None,
        shared: bool = False,
    ) -> None:
        self._address = address
        self._clock = clock
        self._retention = retention or Retention()
        self._on_stored = on_stored
        self._shared = shared
        self._parts: _Parts | None = None
        self._marks = itertools.count()
        self._undecided: OrderedDict[str, _Undecided] = OrderedDict()
        # How many words of each live call are known to be stored.
        self._spoken: dict[str, int] = {}

    async def open(self) -> None:
        """Connect, check the keys, and take the live calls that are this server's to go on with.

        That may wait some seconds for the lease of a process that was killed.

        Raises:
            DependencyMissing: the `redis` package is not installed.
            StoreError: the store cannot be used; says why, and what to do.
        """
        link = _link(self._address)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(link.close)
            lease = RedisLease(link, self._address)
            if self._shared:
                question = CLAIM.call(self._address.prefix, SCHEMA_VERSION)
                claimed(await link.ask(question), self._address.place)
            else:
                await lease.claim()
                undo.push_async_callback(lease.release)
                await _warn(link)
            undo.pop_all()
        pruning = asyncio.create_task(self._keep_pruning(), name="prune calls")
        self._parts = _Parts(link, lease, RedisWriter(link), pruning)

    async def save(self, record: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        """Store one change and the record as it is after it; returns once the server has both.

        Whoever stops waiting, or is told that it failed, may save the same change again: it is kept
        once.
        """
        parts = self._opened
        began_ns = time.perf_counter_ns()
        row = CallRow.of(record)
        told = encoded(change)
        mark = self._mark(row.call_id, change)
        position = self._spoken.get(row.call_id, 0)
        answer = await parts.writer.submit(self._command(row, mark, told, position))
        if answer == b"words":
            # The server has lost some: it was started again without all it had acknowledged.
            answer = await parts.writer.submit(self._command(row, mark, told, 0))
        if answer != b"stored":
            raise StoreError(f"the change could not be stored: {_REFUSALS[answer]}")
        self._undecided.pop(row.call_id, None)
        if row.ended_at is None:
            self._spoken[row.call_id] = len(row.transcript)
        else:
            self._spoken.pop(row.call_id, None)
        self._on_stored((time.perf_counter_ns() - began_ns) / 1e6)

    async def get(self, call_id: str) -> Mapping[str, Any] | None:
        """One record by our id or the carrier's."""
        key = call_id.encode(errors="replace")
        found = await self._opened.link.ask(FIND.call(self._address.prefix, key))
        return None if found is None else _assembled(found)

    async def live(self) -> Sequence[Mapping[str, Any]]:
        """Records of this server's calls that have not ended, oldest first."""
        members = await self._opened.link.ask(("ZRANGE", self._key("live"), 0, -1))
        return await self._read(members, "" if self._shared else self._opened.lease.owner)

    async def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest records of all servers, newest first."""
        if limit <= 0:
            return []
        members = await self._opened.link.ask(("ZRANGE", self._key("started"), 0, limit - 1, "REV"))
        return await self._read(members, "")

    async def history(self, call_id: str) -> Sequence[Mapping[str, Any]]:
        """Every change of one call in order, by our id of it."""
        link = self._opened.link
        numbers = await link.ask(("LRANGE", self._key("told", call_id), 0, -1))
        found = []
        for page in _pages(numbers):
            entries = await link.run([self._range(int(each), int(each), 1) for each in page])
            found += [change for entry in entries for _, change in _changes(entry)]
        return found

    async def changes(
        self, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Changes of all calls in the order in which they were stored, with their numbers.

        Args:
            after: the number of the last change that is known already.
            limit: how many to return at most.
        """
        if limit <= 0:
            return []
        return _changes(await self._opened.link.ask(self._range(after + 1, "+", limit)))

    async def newest_change(self) -> int:
        """The number of the newest change that is kept, of all servers; 0 if there is none."""
        newest = ("XREVRANGE", self._key("changes"), "+", "-", "COUNT", 1)
        found = _changes(await self._opened.link.ask(newest))
        return found[0][0] if found else 0

    async def prune(self, retention: Retention) -> int:
        """Forget what `retention` does not keep, in small steps; how many calls that were.

        Live calls are kept. Changes that come meanwhile wait for one step at most.
        """
        link = self._opened.link
        before: Argument = ""
        if retention.days is not None:
            before = self._clock.wall_ms() - round(retention.days * _MS_PER_DAY)
        limits = ("" if each is None else each for each in (retention.calls, retention.octets))
        step = FORGET.call(self._address.prefix, STEP_CALLS, before, *limits)
        forgotten = 0
        while count := int(await link.ask(step)):
            forgotten += count
        return forgotten

    async def close(self) -> None:
        """Finish writing, give the live calls back and disconnect; within 6 s.

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

    def _key(self, *name: str) -> str:
        return self._address.prefix + ":".join(name)

    def _mark(self, call_id: str, change: Mapping[str, Any]) -> str:
        """What the change is known by; the same when it comes again."""
        undecided = self._undecided.get(call_id)
        if undecided is None or undecided.change is not change:
            mark = f"{self._opened.lease.process}-{next(self._marks)}"
            self._undecided[call_id] = _Undecided(change, mark)
            if len(self._undecided) > _UNDECIDED_LIMIT:
                self._undecided.popitem(last=False)
            return mark
        return undecided.mark

    def _command(self, row: CallRow, mark: str, change: str, position: int) -> tuple[Argument, ...]:
        lease = self._opened.lease
        try:
            ids = row.call_id.encode(), (row.provider_call_id or "").encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"this is no call record: {error}") from error
        return SAVE.call(
            self._address.prefix,
            self._address.server,
            lease.process,
            lease.lease_ms,
            *ids,
            row.started_at,
            "" if row.ended_at is None else row.ended_at,
            row.record,
            mark,
            change,
            position,
            *(encoded(entry) for entry in row.transcript[position:]),
        )

    def _range(self, first: int, last: int | str, limit: int) -> tuple[Argument, ...]:
        return ("XRANGE", self._key("changes"), first, last, "COUNT", limit)

    async def _read(self, members: Iterable[bytes], owner: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in _pages(members):
            ids = (member[MEMBER_PREFIX_OCTETS:] for member in page)
            calls = await self._opened.link.ask(READ.call(self._address.prefix, owner, *ids))
            found += map(_assembled, calls)
        return found

    async def _keep_pruning(self) -> None:
        while self._retention.limited and not self._shared:
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

    link: RedisLink
    lease: RedisLease
    writer: RedisWriter
    pruning: asyncio.Task[None]

    async def close(self) -> None:
        self.pruning.cancel()
        await asyncio.gather(self.pruning, return_exceptions=True)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.link.close)
            stack.push_async_callback(self.lease.release)
            stack.push_async_callback(self.writer.close, _CLOSE_TIMEOUT_S)


def _link(address: RedisAddress) -> RedisLink:
    try:
        # The client package is optional, and loaded only by who uses it.
        from voicecall.store.redis_link import RedisLink as Link  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DependencyMissing(
            'store: Redis and Valkey need a client: pip install "voicecall[redis]"'
        ) from error
    return Link(address)


async def _warn(link: RedisLink) -> None:
    """Say what would make the server forget what it acknowledged."""
    persistence, memory = await link.run([("INFO", "persistence"), ("INFO", "memory")])
    if isinstance(persistence, dict) and persistence.get("aof_enabled") == 0:
        _log.warning("the store forgets calls when its server stops: appendonly is off")
    if isinstance(memory, dict) and memory.get("maxmemory"):
        policy = memory.get("maxmemory_policy")
        if policy != "noeviction":
            fields = {"maxmemory_policy": policy}
            _log.warning("the store forgets calls when it is full: set noeviction", extra=fields)


def _pages(members: Iterable[bytes]) -> Iterable[list[bytes]]:
    rest = iter(members)
    while page := list(itertools.islice(rest, _PAGE_CALLS)):
        yield page


def _assembled(found: Sequence[bytes]) -> dict[str, Any]:
    record: dict[str, Any] = decoded(found[0].decode())
    record["transcript"] = [decoded(entry.decode()) for entry in found[1:]]
    return record


def _changes(entries: Any) -> list[tuple[int, dict[str, Any]]]:  # noqa: ANN401  (as it comes)
    if isinstance(entries, Exception):
        raise StoreError(f"the store could not be read: {entries}") from entries
    return [
        (int(number.partition(b"-")[0]), decoded(fields[b"change"].decode()))
        for number, fields in entries
    ]
