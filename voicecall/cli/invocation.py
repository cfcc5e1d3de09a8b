"""What every command shares: the global options, the configuration, the way results are shown."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from voicecall import Client, SyncClient
    from voicecall.config.load import LoadedConfig


@dataclass(slots=True)
class Invocation:
    """One run of the command line; commands get it with `click.pass_obj`.

    Attributes:
        config_path: the configuration file asked for.
        verbose: whether to show more, tracebacks included.
        json: whether JSON was asked for; see also `wants_json`.
    """

    config_path: Path | None = None
    verbose: bool = False
    json: bool = False

    @property
    def wants_json(self) -> bool:
        """Whether results are JSON: when asked for, and whenever nobody looks at a terminal."""
        return self.json or not sys.stdout.isatty()

    def load_config(self) -> LoadedConfig:
        """The configuration; its warnings go to standard error.

        Raises:
            ConfigError: with every problem there is.
        """
        # Models and parser are not worth loading for `--help`.
        from voicecall.config.load import load  # noqa: PLC0415

        loaded = load(self.config_path, environ=os.environ, cwd=Path.cwd(), home=Path.home())
        for warning in loaded.warnings:
            click.echo(f"warning: {warning}", err=True)
        return loaded

    def client(self) -> SyncClient:
        """A client of the server that runs with the configuration; to be closed.

        Raises:
            ConfigError: it is not known where that is, or its token.
        """
        from voicecall import SyncClient  # noqa: PLC0415  (as above)

        return SyncClient.from_loaded(self.load_config())

    def async_client(self) -> Client:
        """As `client`, for use in an event loop."""
        from voicecall import Client  # noqa: PLC0415  (as above)

        return Client.from_loaded(self.load_config())


def emit_json(result: Any) -> None:  # noqa: ANN401  (any JSON)
    """Print a result as JSON, for people too when they look at it."""
    text = json.dumps(result, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False)
    click.echo(_printable_json(text))


def emit_json_line(result: Any) -> None:  # noqa: ANN401  (any JSON)
    """Print one of many results as one line of JSON, at once."""
    click.echo(_printable_json(json.dumps(result, ensure_ascii=False)))


def _printable_json(text: str) -> str:
    """JSON with what could steer a terminal escaped; JSON itself asks for less than that."""
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


def _remember_json(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        ctx.ensure_object(Invocation).json = True


# Accepted before and after the command's name alike.
json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_remember_json,
    help="Print results as JSON even on a terminal.",
)
