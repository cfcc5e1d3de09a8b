"""`voicecall transfer`: hand a call on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.call_options import call_id_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.cli.progress import working

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation


@click.command("transfer")
@call_id_option
@click.option("-t", "--to", required=True, metavar="NUMBER", help="Who takes the call.")
@json_option
@click.pass_obj
def command(invocation: Invocation, call_id: str, to: str) -> None:
    """Hand a call on to somebody else.

    The carrier connects the other side with them; then the call is over here.

    Example: voicecall transfer --call-id ID --to +15550009999
    """
    with working("handing on"), invocation.client() as client:
        client.transfer(call_id, to)
    if invocation.wants_json:
        emit_json({"success": True})
    else:
        click.echo("handed on")
