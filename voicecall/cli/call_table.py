"""Calls, one a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from voicecall.cli.call_text import STYLES, lasted, remote
from voicecall.log import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

# Below so many columns there is no room for what the calls' own pages tell as well.
_WITH_START: Final = 88
_WITH_WORDS: Final = 100
_ARROWS: Final = {"inbound": "←", "outbound": "→"}


class CallTable:
    """A table of calls, for rich to draw. The narrower the terminal the less is in it.

    Args:
        records: the calls, as `status` gives them, in this order.
        now_ms: the time, ms since the epoch.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]], now_ms: float) -> None:
        self._records = records
        self._now_ms = now_ms

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """What rich asks for."""
        # Slow to import, and only needed on a terminal.
        from rich.table import Table  # noqa: PLC0415

        with_start, with_words = (
            options.max_width >= least for least in (_WITH_START, _WITH_WORDS)
        )
        # Expanded, what was said has the room that the other columns leave, and no more.
        table = Table(box=None, header_style="bold", pad_edge=False, expand=with_words)
        # Other commands want ids whole.
        table.add_column("call", no_wrap=True, min_width=_longest_id(self._records))
        if with_start:
            table.add_column("started", no_wrap=True, style="dim")
        table.add_column("with", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("lasted", no_wrap=True, justify="right")
        if with_words:
            table.add_column("last said", no_wrap=True, overflow="ellipsis", ratio=1)
        for record in self._records:
            table.add_row(*self._cells(record, with_start=with_start, with_words=with_words))
        yield table

    def _cells(
        self, record: Mapping[str, Any], *, with_start: bool, with_words: bool
    ) -> Iterator[str | Text]:
        from rich.text import Text  # noqa: PLC0415  (as above)

        yield record["callId"]
        if with_start:
            yield _began(record["startedAt"], self._now_ms)
        yield Text(f"{_ARROWS.get(record['direction'], '')} {remote(record)}")
        yield Text(record["state"], style=STYLES.get(record["state"], ""))
        yield lasted(record, self._now_ms)
        if with_words:
            yield Text(_last_said(record))


def _longest_id(records: Sequence[Mapping[str, Any]]) -> int:
    return max((len(record["callId"]) for record in records), default=0)


def _began(timestamp_ms: int, now_ms: float) -> str:
    """The time of day, with the date unless that is today's."""
    then, now = time.localtime(timestamp_ms / 1000), time.localtime(now_ms / 1000)
    same_day = then[:3] == now[:3]
    return time.strftime("%H:%M:%S" if same_day else "%d %b %H:%M", then)


def _last_said(record: Mapping[str, Any]) -> str:
    transcript = record["transcript"]
    return printable(transcript[-1]["text"]) if transcript else ""
