"""Time as an argument: the only module that reads the machine's clocks."""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Where the parts that may not read a clock themselves get the time from."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds; every deadline and duration is measured on this."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the epoch; only for what people and records read."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // NS_PER_MS


class ManualClock:
    """A clock that stands still until it is told to move, for tests and simulations.

    Args:
        now_ns: where the monotonic clock starts.
        wall_ms: where the wall clock starts.
    """

    def __init__(self, now_ns: int = NS_PER_S, wall_ms: int = 1_700_000_000_000) -> None:
        self._now_ns = now_ns
        self._wall_offset_ns = wall_ms * NS_PER_MS - now_ns

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        return self._now_ns

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return (self._now_ns + self._wall_offset_ns) // NS_PER_MS

    def advance_ms(self, ms: float) -> int:
        """Move both clocks forward by `ms` milliseconds and return the new `now_ns`."""
        if ms < 0:
            raise ValueError("a clock cannot be moved backwards")
        self._now_ns += round(ms * NS_PER_MS)
        return self._now_ns
