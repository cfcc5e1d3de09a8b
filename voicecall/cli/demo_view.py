"""The demonstration while it happens: a live picture on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import click

from voicecall.cli.demo_timing import LOUD_DBFS
from voicecall.simulator.script import HangUp, Interrupt, Press, Say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.live import Live

    from voicecall.cli.demo_timing import LineTiming
    from voicecall.simulator.script import Step

LINES_SHOWN = 14
REFRESH_HZ = 10
METER_WIDTH = 30
METER_FLOOR_DBFS = -60.0


def _described(step: Step) -> str | None:
    """What the caller is about to do, if it is to be heard."""
    match step:
        case Say(text=text):
            return text
        case Interrupt(text=text):
            return f"(interrupts) {text}"
        case Press(digits=digits):
            return f"(presses {digits})"
        case HangUp():
            return "(hangs up)"
        case _:
            return None


class LineView:
    """One line on standard error for everything that happens."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def begin(self) -> None:
        """Say that it takes a while."""
        self._tell("", "starting the server and a simulated caller; the call takes a minute")

    def change(self, change: Mapping[str, Any]) -> None:
        """Tell of what the bot said, what it understood, and how the call stands."""
        match change["type"]:
            case "call.spoken" if change["heard"]:
                cut = " (interrupted)" if change["interrupted"] else ""
                self._tell("bot", f"{change['heard']}{cut}")
            case "call.speech":
                self._tell("understood", change["transcript"])
            case "call.dtmf":
                self._tell("understood", f"key {change['digits']}")
            case "call.answered" | "call.ended":
                self._tell("call", change["state"])

    def step(self, step: Step) -> None:
        """Tell what the caller does."""
        if (text := _described(step)) is not None:
            self._tell("caller", text)

    def line(self, timing: LineTiming) -> None:
        """Nothing to tell every 20 ms."""

    def end(self) -> None:
        """Nothing to put away."""

    def _tell(self, who: str, text: str) -> None:
        click.echo(f"{time.monotonic() - self._start_s:6.1f} s  {who:10}  {text}", err=True)


class TerminalView:
    """State, levels of both sides, and the transcript as it forms."""

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=LINES_SHOWN)
        self._forming = ""
        self._state = "starting the server"
        self._timing: LineTiming | None = None
        self._start_s = time.monotonic()
        self._live: Live | None = None

    def begin(self) -> None:
        """Take over the lower part of the terminal."""
        from rich.live import Live  # noqa: PLC0415  (slow to import, and only needed here)

        self._live = Live(
            get_renderable=self._picture, refresh_per_second=REFRESH_HZ, transient=False
        )
        self._live.start()

    def change(self, change: Mapping[str, Any]) -> None:
        """Show what happened to the call."""
        self._state = change.get("state", self._state)
        match change["type"]:
            case "call.speaking":
                self._forming = change["text"]
            case "call.spoken":
                self._forming = ""
                cut = " …" if change["interrupted"] else ""
                if change["heard"]:
                    self._add("bot", f"{change['heard']}{cut}")
            case "call.speech":
                self._add("understood", change["transcript"])
            case "call.dtmf":
                self._add("understood", f"key {change['digits']}")

    def step(self, step: Step) -> None:
        """Show what the caller does."""
        if (text := _described(step)) is not None:
            self._add("caller", text)

    def line(self, timing: LineTiming) -> None:
        """Show the levels."""
        self._timing = timing

    def end(self) -> None:
        """Leave the last picture where it is."""
        if self._live is not None:
            self._live.stop()

    def _add(self, who: str, text: str) -> None:
        self._lines.append((time.monotonic() - self._start_s, who, text))

    def _picture(self) -> RenderableType:
        from rich.console import Group  # noqa: PLC0415
        from rich.panel import Panel  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        styles = {"caller": "cyan", "understood": "dim cyan", "bot": "green"}
        lines = Table(box=None, show_header=False, pad_edge=False)
        for at_s, who, text in self._lines:
            lines.add_row(
                Text(f"{at_s:5.1f}", style="dim"),
                Text(who, style=styles[who]),
                Text(text, style=styles[who]),
            )
        if self._forming:
            lines.add_row("", Text("bot", style="green"), Text(f"{self._forming} ▍", style="green"))
        levels = Table.grid(padding=(0, 2))
        caller = self._timing.caller_dbfs if self._timing else METER_FLOOR_DBFS
        bot = self._timing.bot_dbfs if self._timing else METER_FLOOR_DBFS
        levels.add_row(
            Text("caller", style="cyan"), _meter(caller), Text("bot", style="green"), _meter(bot)
        )
        elapsed_s = time.monotonic() - self._start_s
        title = f"voicecall demo · {self._state} · {elapsed_s:.0f} s"
        return Panel(Group(levels, Text(""), lines), title=title, title_align="left")


def _meter(dbfs: float) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415

    share = min(1.0, max(0.0, (dbfs - METER_FLOOR_DBFS) / -METER_FLOOR_DBFS))
    filled = round(share * METER_WIDTH)
    style = "green" if dbfs >= LOUD_DBFS else "dim"
    return Text("█" * filled + "·" * (METER_WIDTH - filled), style=style)
