"""The `voicecall` command.

Every module of this package that has a click command named `command` is a subcommand, under the
module's name. None is imported before it is used.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from voicecall import log
from voicecall._version import __version__
from voicecall.cli.invocation import Invocation, json_option
from voicecall.errors import VoicecallError

__all__ = ["main"]


class CommandsByModule(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all modules that hold a command."""
        names = sorted(module.name for module in pkgutil.iter_modules(__path__))
        return [name for name in names if self.get_command(ctx, name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if not cmd_name.isidentifier() or not _is_module(cmd_name):
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command = getattr(module, "command", None)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  (as click has it)
        """Run the command; an error of ours becomes a message and exit status 1."""
        try:
            return super().invoke(ctx)
        except VoicecallError as error:
            if isinstance(ctx.obj, Invocation) and ctx.obj.verbose:
                click.echo(traceback.format_exc(), err=True, nl=False)
            # What a remote service said may be part of it.
            lines = (log.printable(line) for line in str(error).splitlines())
            raise click.ClickException("\n  ".join(lines)) from error


def _is_module(name: str) -> bool:
    return any(module.name == name for module in pkgutil.iter_modules(__path__))


@click.group(cls=CommandsByModule, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="voicecall", message="%(prog)s %(version)s")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Configuration file; otherwise $VOICECALL_CONFIG, ./voicecall.json5 or the one in "
    "~/.config/voicecall.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more, and show where errors come from.")
@click.option("--log-pii", is_flag=True, help="Log phone numbers, transcripts and digits too.")
@json_option
@click.pass_context
def main(ctx: click.Context, config_path: Path | None, *, verbose: bool, log_pii: bool) -> None:
    """Place, answer and hold phone calls."""
    invocation = ctx.ensure_object(Invocation)
    invocation.config_path = config_path
    invocation.verbose = verbose
    handler = log.configure(
        "DEBUG" if verbose else "INFO", sys.stderr, json=invocation.json, pii=log_pii
    )
    ctx.call_on_close(lambda: log.remove(handler))
