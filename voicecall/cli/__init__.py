"""The `voicecall` command.

Every module of this package whose name is one word and that has a click command named `command` is
a subcommand, under the module's name; a word of the language has a `_` behind it, as `continue_`.
Modules with longer names, as `call_view`, are parts of commands. No command is imported before it
is used, and no part of one to list them.
"""

from __future__ import annotations

import importlib
import keyword
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

# Wide enough that examples stay in one line where the terminal is.
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class CommandsByModule(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all modules that hold a command."""
        return [name for name in sorted(_modules()) if self.get_command(ctx, name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        name = _modules().get(cmd_name)
        if name is None:
            return None
        module = importlib.import_module(f"{__name__}.{name}")
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


def _modules() -> dict[str, str]:
    """The modules of this package that may be commands, by the names that they have as such."""
    modules = {_command_name(module.name): module.name for module in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in modules.items() if "_" not in name}


def _command_name(module: str) -> str:
    name = module.removesuffix("_")
    return name if keyword.iskeyword(name) else module


@click.group(cls=CommandsByModule, context_settings=_CONTEXT)
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
