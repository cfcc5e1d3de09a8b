"""The caller's keys, in the order in which they were pressed."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Final

from voicecall.clock import NS_PER_MS

HELD_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class _Key:
    digit: str
    pressed_at_ms: int
    due_ns: int


class KeyOrder:
    """Holds keys that may have come out of order until none pressed earlier is to be expected.

    One that comes later than that follows those it should have preceded.

    Overflow rule: at most 32 are held; one more lets the one pressed first go at once.

    Args:
        hold_ms: how long each waits for those pressed before it.
    """

    def __init__(self, hold_ms: int) -> None:
        self._hold_ns = hold_ms * NS_PER_MS
        self._held: list[_Key] = []

    @property
    def due_ns(self) -> int | None:
        """When `take` will have a key; None while none is held."""
        return min((key.due_ns for key in self._held), default=None)

    def put(self, digit: str, pressed_at_ms: int, now_ns: int) -> None:
        """A key has come.

        Args:
            digit: which.
            pressed_at_ms: when it was pressed, by the carrier's clock.
            now_ns: monotonic time of arrival.
        """
        key = _Key(digit, pressed_at_ms, now_ns + self._hold_ns)
        # Of two pressed at the same time the one that came first stays the first.
        insort(self._held, key, key=lambda each: each.pressed_at_ms)

    def take(self, now_ns: int) -> str:
        """The keys that have waited long enough, with those pressed before them, in order."""
        due = [at for at, key in enumerate(self._held, 1) if key.due_ns <= now_ns]
        leaving = max(due[-1] if due else 0, len(self._held) - HELD_MAX)
        taken, self._held = self._held[:leaving], self._held[leaving:]
        return "".join(key.digit for key in taken)
