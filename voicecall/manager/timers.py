"""Deadlines on the monotonic clock: one heap, one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, TypeAlias

from voicecall.clock import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from voicecall.clock import Clock

    Key: TypeAlias = tuple[Hashable, ...]

# Cancelled deadlines stay in the heap until they are due; beyond this many more of them than of
# others it is rebuilt, so that short calls with long limits do not pile up.
_SLACK = 64


class Timers:
    """Named deadlines that call back once.

    Callbacks are quick and do not raise. With a clock that is moved by hand, `fire_due` runs them.

    Args:
        clock: what the deadlines are measured on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Key]] = []
        self._set: dict[Key, tuple[int, Callable[[], None]]] = {}
        self._serial = 0
        self._wake_up: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._set)

    def start(self, key: Key, due_ns: int, call_back: Callable[[], None]) -> None:
        """Call `call_back` once `due_ns` has come; a deadline of the same name is replaced."""
        if self._closed:
            return
        self._serial += 1
        self._set[key] = (self._serial, call_back)
        if len(self._heap) > 2 * len(self._set) + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_set(entry)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due_ns, self._serial, key))
        self._arm()

    def cancel(self, key: Key) -> None:
        """Forget the deadline, if there is one."""
        self._set.pop(key, None)

    def fire_due(self, now_ns: int) -> int:
        """Run everything due at `now_ns`, earliest first, and return how much that was.

        What callbacks start that is due already waits for the next time.
        """
        due: list[Callable[[], None]] = []
        while self._heap and self._heap[0][0] <= now_ns:
            entry = heapq.heappop(self._heap)
            if self._is_set(entry):
                due.append(self._set.pop(entry[2])[1])
        for call_back in due:
            call_back()
        self._arm()
        return len(due)

    def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._set.clear()
        self._heap.clear()
        self._arm()

    def _is_set(self, entry: tuple[int, int, Key]) -> bool:
        _, serial, key = entry
        return key in self._set and self._set[key][0] == serial

    def _arm(self) -> None:
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        while self._heap and not self._is_set(self._heap[0]):
            heapq.heappop(self._heap)
        if self._heap:
            delay_s = max(0, self._heap[0][0] - self._clock.now_ns()) / NS_PER_S
            self._wake_up = asyncio.get_running_loop().call_later(delay_s, self._on_wake_up)

    def _on_wake_up(self) -> None:
        self._wake_up = None
        self.fire_due(self._clock.now_ns())
