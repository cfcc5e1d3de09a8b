"""`voicecall status`: the calls that go on, or one call whole."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from voicecall.cli.call_options import any_call_id_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.errors import UnknownCall

if TYPE_CHECKING:
    from rich.console import RenderableType

    from voicecall import SyncClient
    from voicecall.cli.invocation import Invocation

REFRESH_S = 1.0


@click.command("status")
@any_call_id_option
@click.option(
    "-w", "--watch", is_flag=True, help="Show it anew every second until Ctrl-C; on a terminal."
)
@json_option
@click.pass_obj
def command(invocation: Invocation, call_id: str | None, *, watch: bool) -> None:
    """Show the live calls, or one call whole.

    A call is shown with its transcript; one that ended is found as long as it is kept. Exits with 1
    if there is no such call.

    Example: voicecall status --watch
    """
    if watch and invocation.wants_json:
        raise click.UsageError("--watch is for people at a terminal; programs use: voicecall tail")
    with invocation.client() as client:
        if invocation.wants_json:
            sys.exit(_emit(client, call_id))
        if watch:
            _watch(client, call_id)
        else:
            _print(client, call_id)


def _emit(client: SyncClient, call_id: str | None) -> int:
    """Print it as JSON; the exit status."""
    if call_id is None:
        emit_json({"calls": client.calls()})
        return 0
    call = client.status(call_id)
    emit_json({"found": False} if call is None else {"found": True, "call": call})
    return 1 if call is None else 0


def _print(client: SyncClient, call_id: str | None) -> None:
    from rich.console import Console  # noqa: PLC0415  (slow to import, and only needed here)

    picture, _ = _picture(client, call_id)
    Console(highlight=False).print(picture)


def _watch(client: SyncClient, call_id: str | None) -> None:
    from rich.console import Console  # noqa: PLC0415  (as above)
    from rich.live import Live  # noqa: PLC0415  (as above)

    picture, over = _picture(client, call_id)
    live = Live(picture, console=Console(highlight=False), auto_refresh=False)
    # The other way to leave is the usual one.
    with live:
        try:
            while not over:
                time.sleep(REFRESH_S)
                picture, over = _picture(client, call_id)
                live.update(picture, refresh=True)
        except KeyboardInterrupt:
            return


def _picture(client: SyncClient, call_id: str | None) -> tuple[RenderableType, bool]:
    """What there is to see, and whether it stays so. Raises UnknownCall."""
    from voicecall.cli.call_card import call_card  # noqa: PLC0415  (draws, as above)

    now_ms = time.time() * 1000
    if call_id is None:
        return _live_calls(client.calls(), now_ms), False
    call: Any = client.status(call_id)
    if call is None:
        raise UnknownCall(f"there is no call {call_id}", call_id=call_id)
    return call_card(call, now_ms), call["endedAt"] is not None


def _live_calls(calls: list[Any], now_ms: float) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415  (as above)

    from voicecall.cli.call_table import CallTable  # noqa: PLC0415  (draws, as above)

    if not calls:
        return Text("no live calls; earlier ones: voicecall history", style="dim")
    return CallTable(calls, now_ms)
