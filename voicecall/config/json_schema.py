"""The JSON Schema of a configuration file, for editors and other programs."""

from __future__ import annotations

from typing import Any

from voicecall.config.openclaw import RENAMED
from voicecall.config.schema import Config


def json_schema() -> dict[str, Any]:
    """Describe the file's own names; names of the original that still work are deprecated."""
    schema = Config.model_json_schema(by_alias=True)
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        definition = schema["properties"][section]["$ref"].rpartition("/")[2]
        schema["$defs"][definition]["properties"][key] = {
            "deprecated": True,
            "description": f"The old name of {new}.",
        }
    return schema
