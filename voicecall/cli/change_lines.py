"""Changes of calls on a terminal: one a line, in columns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from voicecall.cli.call_text import SPEAKER_STYLES, STYLES
from voicecall.cli.change_text import detail, teller

if TYPE_CHECKING:
    from collections.abc import Mapping

# The first part of a UUID, which tells the calls of a screen apart.
_SHORT_ID = 8
# The longest type, `call.restored`, without what they all begin with; the longest live state.
_TYPE_COLUMNS = 9
_STATE_COLUMNS = 11


class ChangeLines:
    """Prints changes under each other, so that their columns are in line.

    Args:
        with_call: whether to say which call it is.
        console: where they are printed; standard output when None.
    """

    def __init__(self, *, with_call: bool, console: Console | None = None) -> None:
        self._with_call = with_call
        self._console = console or Console(highlight=False)

    def show(self, change: Mapping[str, Any]) -> None:
        """Print one change."""
        kind, state = change["type"].removeprefix("call."), change.get("state", "")
        said = Text(detail(change), style=SPEAKER_STYLES.get(teller(change), ""))
        cells: list[Text] = [Text(_time(change["timestamp"]), style="dim")]
        if self._with_call:
            cells.append(Text(change.get("callId", "")[:_SHORT_ID], style="dim"))
        cells += [Text(kind, style="bold"), Text(state, style=STYLES.get(state, "")), said]
        self._console.print(self._line(cells))

    def _line(self, cells: list[Text]) -> Table:
        line = Table.grid(padding=(0, 2))
        line.add_column(no_wrap=True)
        if self._with_call:
            line.add_column(min_width=_SHORT_ID, no_wrap=True)
        line.add_column(min_width=_TYPE_COLUMNS, no_wrap=True)
        line.add_column(min_width=_STATE_COLUMNS, no_wrap=True)
        line.add_column(overflow="fold", ratio=1)
        line.add_row(*cells)
        return line


def _time(timestamp_ms: int) -> str:
    seconds, milliseconds = divmod(timestamp_ms, 1000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{milliseconds:03}"
