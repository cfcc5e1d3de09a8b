"""`voicecall speak`: say something on a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.call_options import call_id_option, message_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.cli.progress import working

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation


@click.command("speak")
@call_id_option
@message_option("What to say.")
@json_option
@click.pass_obj
def command(invocation: Invocation, call_id: str, message: str) -> None:
    """Say something on a call.

    Returns when it was played, or the caller has cut it short.

    Example: voicecall speak --call-id ID --message "One moment, please."
    """
    with working("speaking"), invocation.client() as client:
        client.speak(call_id, message)
    if invocation.wants_json:
        emit_json({"success": True})
    else:
        click.echo("said")
