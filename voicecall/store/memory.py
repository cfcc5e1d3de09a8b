"""Call records in memory: for tests, demos and calls that need not survive the process."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from voicecall.call.record import CallState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class MemoryCallStore:
    """Keeps all live calls, and the newest of the ended ones and of the changes.

    Args:
        ended_limit: how many ended calls are kept; the one that ended first is forgotten.
        changes_limit: how many changes are kept; the oldest is forgotten.
    """

    def __init__(self, ended_limit: int = 1000, changes_limit: int = 10_000) -> None:
        self._ended_limit = ended_limit
        self._live: dict[str, Mapping[str, Any]] = {}
        self._ended: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._by_provider_id: dict[str, str] = {}
        self._changes: deque[Mapping[str, Any]] = deque(maxlen=changes_limit)
        self._newest_change = 0

    async def open(self) -> None:
        """Nothing to prepare."""

    async def save(self, record: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        """Keep one change and the record as it is after it."""
        self._changes.append(change)
        self._newest_change += 1
        call_id: str = record["callId"]
        if provider_call_id := record["providerCallId"]:
            self._by_provider_id[provider_call_id] = call_id
        if CallState(record["state"]).terminal:
            self._live.pop(call_id, None)
            self._ended[call_id] = record
            self._forget_oldest()
        else:
            self._live[call_id] = record

    async def get(self, call_id: str) -> Mapping[str, Any] | None:
        """One record by our id or the carrier's."""
        own = self._by_provider_id.get(call_id, call_id)
        return self._live.get(own) or self._ended.get(own)

    async def live(self) -> Sequence[Mapping[str, Any]]:
        """Records of calls that have not ended, oldest first."""
        return list(self._live.values())

    async def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest records, newest first."""
        newest = sorted(self._all(), key=lambda record: record["startedAt"], reverse=True)
        return newest[: max(0, limit)]

    async def changes(
        self, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Changes of all calls in the order in which they came, with their numbers.

        Args:
            after: the number of the last change that is known already.
            limit: how many to return at most.
        """
        forgotten = self._newest_change - len(self._changes)
        begin = max(0, after - forgotten)
        found = islice(self._changes, begin, begin + max(0, limit))
        return list(enumerate(found, forgotten + begin + 1))

    async def newest_change(self) -> int:
        """The number of the newest change; 0 if there was none."""
        return self._newest_change

    async def close(self) -> None:
        """Nothing to free; what is kept stays readable."""

    def _all(self) -> Iterator[Mapping[str, Any]]:
        # Reversed, so that a stable sort puts the later of two calls of one millisecond first.
        yield from reversed(self._live.values())
        yield from reversed(self._ended.values())

    def _forget_oldest(self) -> None:
        while len(self._ended) > self._ended_limit:
            _, record = self._ended.popitem(last=False)
            self._by_provider_id.pop(record["providerCallId"] or "", None)
