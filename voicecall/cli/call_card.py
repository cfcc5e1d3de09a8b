"""One call, shown whole: who, when, how, and every word."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from voicecall.cli.call_text import (
    SPEAKER_STYLES,
    SPEAKERS,
    STYLES,
    duration,
    figures,
    reason,
)
from voicecall.log import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType


def call_card(record: Mapping[str, Any], now_ms: float) -> RenderableType:
    """A panel with the record of a call.

    Args:
        record: the call, as `status` gives it.
        now_ms: the time, ms since the epoch.
    """
    # Slow to import, and only needed on a terminal.
    from rich.console import Group  # noqa: PLC0415
    from rich.panel import Panel  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, value, style in _facts(record, now_ms):
        facts.add_row(name, Text(value, style=style))
    parts: list[RenderableType] = [facts]
    if record["transcript"]:
        parts += [Text(""), _transcript(record)]
    title = Text(f"{printable(record['from'])} → {printable(record['to'])}", style="bold")
    return Panel(Group(*parts), title=title, title_align="left", padding=(0, 1))


def _facts(record: Mapping[str, Any], now_ms: float) -> Iterator[tuple[str, str, str]]:
    state = record["state"]
    why = f", {reason(record)}" if record["endReason"] else ""
    yield "state", f"{state}{why}", STYLES.get(state, "")
    yield "call", record["callId"], ""
    yield "carrier", " ".join(filter(None, [record["provider"], _carrier_id(record)])), ""
    mode = record["metadata"].get("mode")
    yield "kind", f"{record['direction']}{f' {mode}' if mode else ''}", ""
    yield "started", _moment(record["startedAt"]), ""
    if told := figures(record, now_ms):
        yield "lasted", ", ".join(told), ""


def _carrier_id(record: Mapping[str, Any]) -> str:
    return printable(record["providerCallId"] or "")


def _moment(timestamp_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp_ms / 1000))


def _transcript(record: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415  (as above)
    from rich.text import Text  # noqa: PLC0415  (as above)

    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", justify="right")
    lines.add_column()
    lines.add_column(overflow="fold")
    began_ms = record["answeredAt"] or record["startedAt"]
    for entry in record["transcript"]:
        who = SPEAKERS.get(entry["speaker"], entry["speaker"])
        style = SPEAKER_STYLES.get(who, "")
        lines.add_row(
            duration(entry["timestamp"] - began_ms),
            Text(who, style=style),
            Text(printable(entry["text"]), style=style),
        )
    return lines
