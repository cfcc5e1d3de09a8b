"""`voicecall latency`: how long callers waited for answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voicecall.client.results import Latency, Summary

_COLUMNS = ("count", "min", "avg", "p50", "p95", "max")
_TITLES = {
    "turnLatencyMs": "turn latency",
    "listenWaitMs": "listen wait",
    "finalMs": "  final transcript",
    "firstTokenMs": "  first token",
    "firstAudioMs": "  first audio",
    "firstFrameMs": "  first frame",
}


@click.command("latency")
@click.option(
    "--last",
    type=click.IntRange(1, 1000),
    default=200,
    show_default=True,
    help="Look at so many calls, the newest.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, last: int) -> None:
    """Show how long callers waited for answers, and answers for callers.

    The turn latency is from the caller's last word to the first sound of the answer, and below it
    each step of that, from the one before. The listen wait is from the bot's last word until the
    caller had answered. All in milliseconds.

    Example: voicecall latency --last 50
    """
    from voicecall.client import SyncClient  # noqa: PLC0415  (not worth loading for `--help`)

    with SyncClient.from_loaded(invocation.load_config()) as client:
        measured = client.latency(last)
    if invocation.wants_json:
        emit_json(measured)
    else:
        _print_table(measured)


def _print_table(measured: Latency) -> None:
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("ms", box=None, header_style="bold", pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for title, summary in _rows(measured):
        table.add_row(title, *(_figure(summary, column) for column in _COLUMNS))
    console = Console(highlight=False)
    console.print(f"{measured['turns']} turns of {measured['calls']} calls")
    console.print(table)


def _rows(measured: Latency) -> Iterator[tuple[str, Summary]]:
    yield _TITLES["turnLatencyMs"], measured["turnLatencyMs"]
    for step, summary in measured["steps"].items():
        yield _TITLES.get(step, step), summary
    yield _TITLES["listenWaitMs"], measured["listenWaitMs"]


def _figure(summary: Summary, column: str) -> str:
    value = summary.get(column)
    return f"{value:.0f}" if isinstance(value, int | float) else "-"
