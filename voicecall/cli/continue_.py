"""`voicecall continue`: say something on a call and wait for the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voicecall.cli.call_options import call_id_option, message_option
from voicecall.cli.invocation import emit_json, json_option
from voicecall.cli.progress import working
from voicecall.log import printable

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation


@click.command("continue")
@call_id_option
@message_option("What to say.")
@json_option
@click.pass_obj
def command(invocation: Invocation, call_id: str, message: str) -> None:
    """Say something and wait for the answer.

    The answer is printed. It waits at most as long as `transcriptTimeoutMs` says.

    Example: voicecall continue --call-id ID --message "What is your name?"
    """
    with working("waiting for the answer"), invocation.client() as client:
        transcript = client.ask(call_id, message)
    if invocation.wants_json:
        emit_json({"success": True, "transcript": transcript})
    else:
        click.echo(printable(transcript))
