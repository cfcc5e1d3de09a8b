"""The parts of the documentation that are read off the program: keys, commands, RPC methods.

Written into `docs/_generated` when a build begins; the pages include them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from voicecall.cli import main
from voicecall.config.json_schema import json_schema
from voicecall.control.describe import document
from voicecall.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sphinx.application import Sphinx

FOLDER: Final = Path(__file__).parents[1] / "_generated"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda _: write(FOLDER))
    return {"parallel_read_safe": True}


def write(folder: Path) -> None:
    """Write every generated part; what is the same already is left alone."""
    folder.mkdir(exist_ok=True)
    parts = {
        "configuration.md": configuration(),
        "commands.md": commands(),
        "methods.md": methods(),
        "errors.md": errors(),
    }
    for name, text in parts.items():
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


# --- configuration ---------------------------------------------------------------------------


def configuration() -> str:
    """Every key, section by section."""
    schema = json_schema()
    lines: list[str] = []
    for title, section in _sections(schema):
        lines += [f"## {title}", ""]
        if told := section.get("description"):
            lines += [_prose(told), ""]
        lines += ["| key | type | default | |", "|---|---|---|---|"]
        for key, described in section["properties"].items():
            if not described.get("deprecated"):
                lines.append(_row(key, described, schema))
        lines.append("")
    return "\n".join(lines)


def _sections(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The whole configuration, then each section under the key that leads to it, once."""
    yield "Top level", {**schema, "description": ""}
    seen: set[str] = set()
    waiting = [(key, each) for key, each in schema["properties"].items()]
    while waiting:
        path, described = waiting.pop(0)
        name = _section(described)
        if name is None or name in seen:
            continue
        seen.add(name)
        section = schema["$defs"][name]
        yield f"`{path}`", section
        inner = [(f"{path}.{key}", each) for key, each in section["properties"].items()]
        waiting[:0] = inner


def _section(described: Mapping[str, Any]) -> str | None:
    """The name of the section that a key holds, also of those in a mapping."""
    values = described.get("additionalProperties")
    for each in (described, *described.get("anyOf", ()), *([values] if values else [])):
        if isinstance(each, dict) and "$ref" in each:
            return str(each["$ref"].rpartition("/")[2])
    return None


def _row(key: str, described: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    default = described.get("default")
    shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
    told = str(described.get("description", "")).replace("|", "\\|")
    return f"| `{key}` | {_type(described, schema)} | {shown} | {told} |"


def _type(described: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if choices := described.get("enum"):
        return " ".join(f"`{choice}`" for choice in choices)
    if options := described.get("anyOf"):
        return " or ".join(_type(each, schema) for each in options if each.get("type") != "null")
    if _section(described):
        return "objects by name" if "additionalProperties" in described else "object"
    match described.get("type"):
        case "array":
            return f"list of {_type(described.get('items', {}), schema)}"
        case "integer" | "number" as kind:
            return f"{kind}{_range(described)}"
        case "object":
            values = described.get("additionalProperties")
            return f"{_type(values, schema)} by name" if isinstance(values, dict) else "object"
        case str(kind):
            return "secret" if described.get("format") == "password" else kind
    return "any"


def _range(described: Mapping[str, Any]) -> str:
    least = described.get("minimum", described.get("exclusiveMinimum"))
    most = described.get("maximum", described.get("exclusiveMaximum"))
    return "" if least is None else f", {least} to {most}"


def _prose(text: str) -> str:
    """A docstring as Markdown."""
    return " ".join(text.split()).replace("``", "`")


# --- commands --------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its help, as the command line shows it."""
    lines = []
    group = main
    with click.Context(group, info_name="voicecall") as whole:
        lines += ["## voicecall", "", *_help(group, whole)]
        for name in group.list_commands(whole):
            command = group.get_command(whole, name)
            if command is None or command.hidden:
                continue
            with click.Context(command, info_name=name, parent=whole) as ctx:
                lines += [f"## voicecall {name}", "", *_help(command, ctx)]
    return "\n".join(lines)


def _help(command: click.Command, ctx: click.Context) -> list[str]:
    return ["```text", command.get_help(ctx), "```", ""]


# --- RPC methods -----------------------------------------------------------------------------


def methods() -> str:
    """Every RPC method: what it takes, an example, and what may go wrong."""
    lines = []
    for method in document()["methods"]:
        lines += [f"### {method['name']}", "", method["summary"], ""]
        if method["params"]:
            lines += ["| parameter | | |", "|---|---|---|"]
            lines += [_param(param) for param in method["params"]]
            lines.append("")
        for example in method["examples"]:
            given = {param["name"]: param["value"] for param in example["params"]}
            shown = {"params": given, "result": example["result"]["value"]}
            lines += [f"{example['name']}:", "", "```json", _json(shown), "```", ""]
        names = [error["$ref"].rpartition("/")[2] for error in method["errors"]]
        lines += [f"Errors: {', '.join(f'`{name}`' for name in names)}", ""]
    return "\n".join(lines)


def errors() -> str:
    """Every kind of error."""
    rows = [f"| `{each.name}` | {each.number} | {each.meaning} |" for each in FAULTS.values()]
    return "\n".join(["| `data.code` | `code` | |", "|---|---|---|", *rows, ""])


def _param(param: Mapping[str, Any]) -> str:
    needed = "required" if param["required"] else "optional"
    return f"| `{param['name']}` | {needed} | {param['description']} |"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
