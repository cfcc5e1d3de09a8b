"""Options that commands about calls have in common."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from voicecall.cli.invocation import Invocation
from voicecall.errors import VoicecallError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROMPT_S: Final = 2.0
"""How long somebody who presses Tab waits for a server at most."""

Decorated = TypeVar("Decorated", bound="Callable[..., Any] | click.Command")
"""What options are put on."""


def live_call_ids(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The ids of live calls that begin with what was typed, for the shell to complete.

    There are none when no server answers soon: a prompt is no place for a message, or for waiting.
    """
    # Neither models nor client are worth loading for `--help`.
    from voicecall import SyncClient  # noqa: PLC0415

    del param
    path = ctx.find_root().params.get("config_path")
    try:
        with redirect_stderr(StringIO()):
            loaded = Invocation(Path(path) if path else None).load_config()
        with SyncClient.from_loaded(loaded, timeout_s=PROMPT_S) as client:
            calls = client.calls()
    except VoicecallError:
        return []
    return [_item(call) for call in calls if call["callId"].startswith(incomplete)]


def _item(call: Mapping[str, Any]) -> CompletionItem:
    remote = call["from"] if call["direction"] == "inbound" else call["to"]
    return CompletionItem(call["callId"], help=f"{call['state']} {remote}")


def _not_blank(ctx: click.Context, param: click.Parameter, text: str) -> str:
    del ctx, param
    if not text.strip():
        raise click.BadParameter("there is nothing to say in it")
    return text


def message_option(text: str) -> Callable[[Decorated], Decorated]:
    """The option `--message`, where there is nothing to do without it.

    Args:
        text: its help.
    """
    return click.option(
        "-m", "--message", required=True, metavar="TEXT", callback=_not_blank, help=text
    )


call_id_option = click.option(
    "--call-id",
    required=True,
    metavar="ID",
    shell_complete=live_call_ids,
    help="The call, by our id or the carrier's.",
)

any_call_id_option = click.option(
    "--call-id",
    "--sid",
    metavar="ID",
    shell_complete=live_call_ids,
    help="Only this call, by our id or the carrier's.",
)

mode_option = click.option(
    "--mode",
    type=click.Choice(["conversation", "notify"]),
    default="conversation",
    show_default=True,
    help="Go on talking after the message, or hang up.",
)
