"""`voicecall history`: the newest calls, ended ones among them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from voicecall.cli.invocation import emit_json, json_option

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation


@click.command("history")
@click.option(
    "--last",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="Show so many calls.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, last: int) -> None:
    """Show the newest calls, newest first.

    Ended ones are there as long as they are kept.

    Example: voicecall history --last 100 --json | jq '.calls[] | select(.state == "no-answer")'
    """
    with invocation.client() as client:
        calls = client.history(last)
    if invocation.wants_json:
        emit_json({"calls": calls})
        return
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415

    from voicecall.cli.call_table import CallTable  # noqa: PLC0415

    if calls:
        Console(highlight=False).print(CallTable(calls, time.time() * 1000))
    else:
        click.echo("no calls so far", err=True)
