"""A call while it happens: a live picture on a terminal, lines of JSON or nothing elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Protocol

from voicecall.cli.call_text import SPEAKER_STYLES, STYLES, UNHELD, duration, figures, reason
from voicecall.cli.change_text import detail, teller
from voicecall.cli.invocation import emit_json, emit_json_line
from voicecall.cli.progress import log_lines_above, working
from voicecall.log import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

REFRESH_HZ = 8
_TIME_COLUMNS = 6
_WHO_COLUMNS = 6

# How a call stands, in the words of whoever waits for it.
_STATES: Final[Mapping[str, str]] = {
    "initiated": "dialling",
    "active": "connected",
    "speaking": "the bot speaks",
}
# What happens to the call itself, where it is worth a line.
_CALL_LINES: Final[Mapping[str, str]] = {
    "call.ringing": "ringing",
    "call.answered": "answered",
    "call.restored": "the server took it up again",
}


class CallView(Protocol):
    """Whatever shows a call."""

    def begin(self) -> None:
        """Begin to show it; to be followed by `end` whatever happens."""
        ...

    def placed(self, call_id: str) -> None:
        """The carrier has accepted the call."""
        ...

    def change(self, change: Mapping[str, Any]) -> None:
        """Something happened to it."""
        ...

    def hanging_up(self) -> None:
        """It was asked to be over."""
        ...

    def note(self, text: str) -> None:
        """Something else that people should know."""
        ...

    def ended(self, record: Mapping[str, Any]) -> None:
        """It is over; this is its record."""
        ...

    def end(self) -> None:
        """Give the terminal back; may be called again."""
        ...


class JsonCallView:
    """JSON on standard output, messages on standard error.

    Args:
        follow: print every change as a line; otherwise only the record at the end.
    """

    def __init__(self, *, follow: bool) -> None:
        self._follow = follow
        self._spinner = ExitStack()

    def begin(self) -> None:
        """Show that a call goes on to people who look at standard error alone."""
        if not sys.stdout.isatty():
            self._spinner.enter_context(working("in a call"))

    def placed(self, call_id: str) -> None:
        """Say which call it is."""
        self.note(f"placed call {call_id}")

    def change(self, change: Mapping[str, Any]) -> None:
        """Print it, if it is wanted."""
        if self._follow:
            emit_json_line(change)

    def hanging_up(self) -> None:
        """Say so."""
        self.note("hanging up")

    def note(self, text: str) -> None:
        """One line on standard error."""
        # Not by click, which finds the terminal behind the place above the spinner.
        sys.stderr.write(f"{printable(text)}\n")

    def ended(self, record: Mapping[str, Any]) -> None:
        """Print the record, unless the changes were printed."""
        if not self._follow:
            emit_json(record)

    def end(self) -> None:
        """No longer turn the spinner."""
        self._spinner.close()


class TerminalCallView:
    """What is said as lines, and below them how the call stands.

    Args:
        to: whom it is for, as far as that is known.
    """

    def __init__(self, to: str | None) -> None:
        self._to = printable(to or "")
        self._state = "initiated"
        self._forming = ""
        self._hanging_up = self._over = False
        self._began_ms: int | None = None
        self._start_s = time.monotonic()
        self._stack = ExitStack()
        self._live: Live | None = None
        self._spinner: RenderableType | None = None

    def begin(self) -> None:
        """Take over the lines below the cursor."""
        # Slow to import, and only needed on a terminal.
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415
        from rich.spinner import Spinner  # noqa: PLC0415

        self._spinner = Spinner("dots", style="green")
        shares = sys.stderr.isatty()
        live = Live(
            get_renderable=self._picture,
            console=Console(highlight=False),
            refresh_per_second=REFRESH_HZ,
            transient=True,
            redirect_stderr=shares,
        )
        self._live = self._stack.enter_context(live)
        if shares:
            self._stack.enter_context(log_lines_above())

    def placed(self, call_id: str) -> None:
        """Say which call it is."""
        self._print("", "call", call_id, "dim")

    def change(self, change: Mapping[str, Any]) -> None:
        """Show it as a line of its own if it is a whole thing, as one that forms if not."""
        self._state = change.get("state", self._state)
        if self._began_ms is None:
            self._began_ms = change["timestamp"]
        match change["type"]:
            case "call.speaking":
                self._forming = detail(change)
            case "call.spoken":
                self._forming = ""
                if change["heard"]:
                    self._tell(change, detail(change))
            case "call.speech" if change["isFinal"]:
                self._tell(change, detail(change))
            case "call.dtmf":
                self._tell(change, f"(presses {detail(change)})")
            case "call.error":
                self._tell(change, detail(change), "red")
            case "call.ended":
                # Words that were said just before may follow.
                self._over, self._forming = True, ""
            case kind if kind in _CALL_LINES:
                self._tell(change, _CALL_LINES[kind])

    def hanging_up(self) -> None:
        """Show that it will be over soon."""
        self._hanging_up = True

    def note(self, text: str) -> None:
        """A line that is not from the call."""
        self._print("", "", printable(text), "yellow")

    def ended(self, record: Mapping[str, Any]) -> None:
        """Say why it is over, and what it was."""
        self._forming = ""
        style = "red" if record["endReason"] in UNHELD else "bold"
        told = [reason(record), *figures(record, time.time() * 1000)]
        began_ms = self._began_ms or record["startedAt"]
        self._print(_seconds((record["endedAt"] or began_ms) - began_ms), "ended", told[0], style)
        if told[1:]:
            self._print("", "", ", ".join(told[1:]), "dim")

    def end(self) -> None:
        """Leave the lines, and nothing below them."""
        self._stack.close()

    def _tell(self, change: Mapping[str, Any], text: str, style: str | None = None) -> None:
        who = teller(change)
        at_ms = change["timestamp"] - (self._began_ms or change["timestamp"])
        chosen = SPEAKER_STYLES.get(who, "bold") if style is None else style
        self._print(_seconds(at_ms), who, text, chosen)

    def _print(self, at: str, who: str, text: str, style: str) -> None:
        if self._live is not None:
            self._live.console.print(_line(at, who, text, style))
            # Otherwise the picture below would be that from before the change.
            self._live.refresh()

    def _picture(self) -> RenderableType:
        from rich.console import Group  # noqa: PLC0415  (as above)
        from rich.table import Table  # noqa: PLC0415  (as above)
        from rich.text import Text  # noqa: PLC0415  (as above)

        state = _STATES.get(self._state, self._state)
        if self._state in {"initiated", "ringing"} and self._to:
            state = f"{state} {self._to}"
        keys = "Ctrl-C hangs up"
        if self._hanging_up:
            state, keys = "hanging up", "Ctrl-C leaves at once"
        if self._over:
            state, keys = "over", ""
        elapsed = duration((time.monotonic() - self._start_s) * 1000)
        status = Table.grid(padding=(0, 1))
        status.add_row(
            self._spinner or "",
            Text(state, style=STYLES.get(self._state, "")),
            Text(f"{elapsed}  {keys}", style="dim"),
        )
        if not self._forming:
            return status
        return Group(_line("", "bot", f"{self._forming} ▍", "dim green"), status)


def _line(at: str, who: str, text: str, style: str) -> Table:
    from rich.table import Table  # noqa: PLC0415  (as above)
    from rich.text import Text  # noqa: PLC0415  (as above)

    line = Table.grid(padding=(0, 2))
    line.add_column(width=_TIME_COLUMNS, justify="right", style="dim")
    line.add_column(width=_WHO_COLUMNS)
    line.add_column(overflow="fold")
    line.add_row(at, Text(who, style=SPEAKER_STYLES.get(who, "dim")), Text(text, style=style))
    return line


def _seconds(duration_ms: float) -> str:
    return f"{max(0.0, duration_ms) / 1000:.1f}"
