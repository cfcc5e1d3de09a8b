"""`voicecall start`: place a call and leave it to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.call_options import mode_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.cli.progress import working

if TYPE_CHECKING:
    from voicecall.call.record import Mode
    from voicecall.cli.invocation import Invocation


@click.command("start")
@click.option("-t", "--to", required=True, metavar="NUMBER", help="Whom to call, as +15550001234.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What to say first.")
@mode_option
@click.option(
    "--dtmf-sequence",
    metavar="KEYS",
    help="Keys to send once answered, before anything is said: 0-9 * #, w waits half a second.",
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation, to: str, message: str, mode: Mode, dtmf_sequence: str | None
) -> None:
    """Place a call and leave it to the server.

    Returns once the carrier has accepted it. To see it, use `voicecall tail` or `voicecall status`;
    to place one and stay with it, `voicecall call`.

    Example: voicecall start --to +15550001234 --message "Your table is ready." --mode notify
    """
    with working("dialling"), invocation.client() as client:
        call_id = client.initiate(message, to, mode, dtmf_sequence)
    if invocation.wants_json:
        emit_json({"callId": call_id, "initiated": True})
    else:
        click.echo(call_id)
        click.echo(f"follow it with: voicecall tail --call-id {call_id}", err=True)
