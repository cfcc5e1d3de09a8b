"""`voicecall call`: place a call and stay with it until it is over."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from voicecall.cli.call_options import message_option, mode_option
from voicecall.cli.call_text import UNHELD
from voicecall.cli.invocation import json_option
from voicecall.errors import UnknownCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall import Client
    from voicecall.call.record import Mode
    from voicecall.cli.call_view import CallView
    from voicecall.cli.invocation import Invocation

POLL_S: Final = 0.15


@dataclass(frozen=True, slots=True)
class _Request:
    """The call that is wanted."""

    message: str
    to: str | None
    mode: Mode


@click.command("call")
@message_option("What to say first.")
@click.option(
    "-t",
    "--to",
    metavar="NUMBER",
    help="Whom to call, as +15550001234; otherwise toNumber of the configuration.",
)
@mode_option
@click.option(
    "-f", "--follow", is_flag=True, help="As JSON: every change as a line, not the record."
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation, message: str, to: str | None, mode: Mode, *, follow: bool
) -> None:
    """Place a call and show it until it is over.

    Ctrl-C hangs up; a second time it leaves at once. Piped, the call's record is printed as JSON
    when it is over. Without a server that runs, one is started that ends with the call. Exits with
    1 if nobody answered, or the call broke.

    Example: voicecall call --to +15550001234 --message "Hello! How can I help you?"
    """
    # A server and its parts are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    from voicecall.cli.call_view import JsonCallView, TerminalCallView  # noqa: PLC0415

    if not invocation.verbose:
        # The view tells what happens, and a moment's delay while everything is loaded is no news.
        logging.getLogger("voicecall").setLevel(logging.WARNING)
        logging.getLogger("voicecall.isolation").setLevel(logging.ERROR)
    view = JsonCallView(follow=follow) if invocation.wants_json else TerminalCallView(to)
    record = uvloop.run(_call(invocation, _Request(message, to, mode), view))
    sys.exit(1 if record["endReason"] in UNHELD else 0)


async def _call(invocation: Invocation, request: _Request, view: CallView) -> Mapping[str, Any]:
    """Place it, stay with it, and return its record."""
    from voicecall.cli.reach import reach  # noqa: PLC0415  (as above)

    async with AsyncExitStack() as stack:
        client = await reach(stack, invocation.load_config())
        view.begin()
        try:
            return await _hold(client, request, view)
        finally:
            view.end()


async def _hold(client: Client, request: _Request, view: CallView) -> Mapping[str, Any]:
    from voicecall.cli.changes import newest  # noqa: PLC0415  (as above)
    from voicecall.cli.interruption import Interruption  # noqa: PLC0415  (as above)

    since = await newest(client)
    with Interruption(view) as interruption:
        call_id = await client.initiate(request.message, request.to, request.mode)
        view.placed(call_id)
        hanging_up = asyncio.create_task(interruption.hang_up(client, call_id), name="hang up")
        try:
            await _watch(client, call_id, since, view)
        except BaseException:
            # A call that nobody can see any more is not left open.
            interruption.ask()
            raise
        else:
            hanging_up.cancel()
        finally:
            await asyncio.gather(hanging_up, return_exceptions=True)
    record = await client.status(call_id)
    if record is None:
        raise UnknownCall(f"the server does not know call {call_id} any more", call_id=call_id)
    view.ended(record)
    return record


async def _watch(client: Client, call_id: str, since: int, view: CallView) -> None:
    from voicecall.cli.changes import follow_call  # noqa: PLC0415  (as above)

    async for change in follow_call(client, call_id, since, POLL_S, on_loss=view.note):
        view.change(change)
