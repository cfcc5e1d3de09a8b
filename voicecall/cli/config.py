"""`voicecall config`: what is configured, and where each value comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option
from voicecall.log import printable

if TYPE_CHECKING:
    from voicecall.config.load import LoadedConfig


@click.command()
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file instead.")
@json_option
@click.pass_obj
def command(invocation: Invocation, *, schema: bool) -> None:
    """Show the effective configuration and where it comes from.

    Secrets are shown as ***. Exits with 1, naming every problem, when it cannot be used.

    Example: voicecall config --json | jq '.values["serve.port"]'
    """
    # The models of the configuration are not worth loading for `--help`.
    from voicecall.config.json_schema import json_schema  # noqa: PLC0415

    if schema:
        emit_json(json_schema())
        return
    loaded = invocation.load_config()
    if invocation.wants_json:
        emit_json(_as_json(loaded))
    else:
        _print_table(loaded)


def _as_json(loaded: LoadedConfig) -> dict[str, object]:
    from voicecall.config.describe import describe  # noqa: PLC0415  (as above)

    return {
        "path": str(loaded.path) if loaded.path else None,
        "stateDirectory": str(loaded.state_directory),
        "warnings": list(loaded.warnings),
        "ignored": list(loaded.ignored),
        "values": {
            row.path: {"value": row.value, "origin": row.origin} for row in describe(loaded)
        },
    }


def _print_table(loaded: LoadedConfig) -> None:
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from voicecall.config.describe import describe  # noqa: PLC0415  (as above)

    table = Table("key", "value", "from", box=None, header_style="bold", pad_edge=False)
    for row in describe(loaded):
        text = row.value if isinstance(row.value, str) else json.dumps(row.value)
        style = "dim" if row.origin == "default" else ""
        table.add_row(Text(row.path), Text(printable(text)), Text(row.origin), style=style)
    console = Console(highlight=False)
    console.print(Text(f"read from {loaded.path}" if loaded.path else "built-in defaults"))
    console.print(table)
    for path in loaded.ignored:
        console.print(Text(f"ignored: {path}", style="dim"))
