"""`voicecall dtmf`: press keys on a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.call_options import call_id_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.cli.progress import working

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation


@click.command("dtmf")
@call_id_option
@click.option(
    "--digits",
    required=True,
    metavar="KEYS",
    help="0-9 * #; w waits half a second, W a whole one.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, call_id: str, digits: str) -> None:
    """Send key tones.

    Example: voicecall dtmf --call-id ID --digits 1w234#
    """
    with working("sending keys"), invocation.client() as client:
        client.send_dtmf(call_id, digits)
    if invocation.wants_json:
        emit_json({"success": True})
    else:
        click.echo("sent")
