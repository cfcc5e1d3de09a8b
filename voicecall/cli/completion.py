"""`voicecall completion`: what a shell needs to complete commands, options and call ids."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from voicecall.errors import DependencyMissing

PROGRAM = "voicecall"
# What click looks for in the environment when a shell asks, from the program's name.
VARIABLE = "_VOICECALL_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what teaches a shell to complete our commands.

    Commands, options, and ids of live calls are completed.

    \b
    bash, in ~/.bashrc:    eval "$(voicecall completion bash)"
    zsh, in ~/.zshrc:      eval "$(voicecall completion zsh)"
    fish:                  voicecall completion fish > ~/.config/fish/completions/voicecall.fish

    Example: eval "$(voicecall completion bash)"
    """  # noqa: D301  (click takes this character for: do not wrap)
    completion = get_completion_class(shell)
    if completion is None:
        raise DependencyMissing(f"this version of click completes nothing for {shell}")
    click.echo(completion(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
