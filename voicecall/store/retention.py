"""How long calls are kept, and forgetting them a few at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

    from voicecall.config.schema import RetentionSettings

STEP_CALLS: Final = 20
"""How many calls one step forgets at most: whoever stores a change may have to wait for a step."""

_STEP_PAGES: Final = 500
_MS_PER_DAY: Final = 86_400_000

_NEWEST_TO_GO = """
SELECT ended_at, number FROM calls WHERE ended_at IS NOT NULL
ORDER BY ended_at DESC, number DESC LIMIT 1 OFFSET ?
"""
_TO_GO = """
SELECT number FROM calls WHERE ended_at IS NOT NULL AND (ended_at, number) <= (?, ?)
ORDER BY ended_at, number LIMIT ?
"""
_FORGET = (
    "DELETE FROM changes WHERE call = ?",
    "DELETE FROM utterances WHERE call = ?",
    "DELETE FROM calls WHERE number = ?",
)

_Horizon = tuple[int, int]
_NONE: Final[_Horizon] = (-1, 0)
_ALL: Final[_Horizon] = (sys.maxsize, 0)


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of calls that have ended; each limit is off when None. Live calls stay.

    Attributes:
        days: calls that ended longer ago are forgotten.
        calls: of more than so many the oldest are forgotten.
        octets: of more than fit into so much of the disk the oldest are forgotten.
    """

    days: float | None = None
    calls: int | None = None
    octets: int | None = None

    @classmethod
    def configured(cls, settings: RetentionSettings) -> Retention:
        """What `retention` of the configuration says; 0 is no limit there."""
        return cls(
            days=settings.days or None,
            calls=settings.calls or None,
            octets=settings.disk_megabytes * 1_000_000 or None,
        )

    @property
    def limited(self) -> bool:
        """Whether anything is ever forgotten."""
        return self != Retention()


def horizon(connection: sqlite3.Connection, retention: Retention, now_ms: int) -> _Horizon:
    """Up to where calls are too old or too many: the end and the number of the last such call."""
    last = _NONE
    if retention.days is not None:
        last = max(last, (now_ms - round(retention.days * _MS_PER_DAY), 0))
    if retention.calls is not None:
        found = connection.execute(_NEWEST_TO_GO, (retention.calls,)).fetchone()
        last = max(last, _NONE if found is None else (found[0], found[1]))
    return last


def forget_some(connection: sqlite3.Connection, retention: Retention, last: _Horizon) -> int:
    """Forget the oldest calls up to `last`, or while too much of the disk is used.

    One step: at most 20 calls, inside a transaction of the caller's. What they occupied is given
    back to the disk.

    Returns:
        how many calls were forgotten; none when there is nothing left to do.
    """
    if retention.octets is not None and _octets(connection) > retention.octets:
        last = _ALL
    numbers = connection.execute(_TO_GO, (*last, STEP_CALLS)).fetchall()
    for statement in _FORGET:
        connection.executemany(statement, numbers)
    for _ in range(min(_pragma(connection, "freelist_count"), _STEP_PAGES)):
        # Python's sqlite3 takes one step of it, which is one page, whatever is asked for.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return len(numbers)


def _octets(connection: sqlite3.Connection) -> int:
    pages = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return pages * _pragma(connection, "page_size")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
