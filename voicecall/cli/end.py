"""`voicecall end`: hang up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.call_options import call_id_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.cli.progress import working

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation


@click.command("end")
@call_id_option
@json_option
@click.pass_obj
def command(invocation: Invocation, call_id: str) -> None:
    """Hang up. A call that is over already is fine, too.

    Example: voicecall end --call-id ID
    """
    with working("hanging up"), invocation.client() as client:
        client.end(call_id)
    if invocation.wants_json:
        emit_json({"success": True})
    else:
        click.echo("hung up")
