"""`voicecall tail`: what happens to calls, as it happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from voicecall.cli.call_options import any_call_id_option
from voicecall.cli.invocation import emit_json_line, json_option
from voicecall.errors import UnknownCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voicecall import Client
    from voicecall.cli.invocation import Invocation

MOST_SINCE = 1000


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be shown: so many past changes, then new ones, of one call or of all."""

    since: int
    poll_s: float
    call_id: str | None


@click.command("tail")
@click.option(
    "--since",
    type=click.IntRange(0, MOST_SINCE),
    default=25,
    show_default=True,
    metavar="N",
    help="Begin with the last N changes.",
)
@click.option(
    "--poll",
    "poll_ms",
    type=click.IntRange(50, 60_000),
    default=250,
    show_default=True,
    metavar="MS",
    help="How often to look for new ones, in milliseconds.",
)
@any_call_id_option
@json_option
@click.pass_obj
def command(invocation: Invocation, since: int, poll_ms: int, call_id: str | None) -> None:
    """Show what happens to calls, as it happens.

    It begins with past changes and follows until Ctrl-C. Piped, each is a line of JSON. With
    --call-id it ends when the call has.

    Example: voicecall tail --since 100 | jq -r 'select(.type == "call.speech").transcript'
    """
    if invocation.wants_json:
        show: Callable[[Mapping[str, Any]], None] = emit_json_line
    else:
        # Draws, which is slow to import and only needed on a terminal.
        from voicecall.cli.change_lines import ChangeLines  # noqa: PLC0415

        show = ChangeLines(with_call=call_id is None).show
    # The usual way to leave.
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(invocation, _Wanted(since, poll_ms / 1000, call_id), show))


async def _tail(
    invocation: Invocation, wanted: _Wanted, show: Callable[[Mapping[str, Any]], None]
) -> None:
    async with invocation.async_client() as client:
        if wanted.call_id is None:
            await _tail_all(client, wanted, show)
        else:
            await _tail_one(client, wanted, wanted.call_id, show)


async def _tail_all(
    client: Client, wanted: _Wanted, show: Callable[[Mapping[str, Any]], None]
) -> None:
    from voicecall.cli.changes import follow, newest  # noqa: PLC0415

    since = -wanted.since if wanted.since else await newest(client)
    async for changes in follow(client, since, wanted.poll_s, _say):
        for change in changes:
            show(change)


async def _tail_one(
    client: Client, wanted: _Wanted, call_id: str, show: Callable[[Mapping[str, Any]], None]
) -> None:
    from voicecall.cli.changes import follow_call, past  # noqa: PLC0415

    before = await past(client)
    record = await client.status(call_id)
    if record is None:
        raise UnknownCall(f"there is no call {call_id}", call_id=call_id)
    call_id = record["callId"]
    earlier = [change for change in before["changes"] if change.get("callId") == call_id]
    for change in earlier[len(earlier) - min(wanted.since, len(earlier)) :]:
        show(change)
    if any(change["type"] == "call.ended" for change in earlier):
        return
    async for later in follow_call(client, call_id, before["last"], wanted.poll_s, _say):
        show(later)


def _say(text: str) -> None:
    click.echo(text, err=True)
