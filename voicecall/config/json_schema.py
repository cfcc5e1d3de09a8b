"""The JSON Schema of a configuration file, for editors and other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicecall.config import schema as models
from voicecall.config.guide import description
from voicecall.config.openclaw import RENAMED

if TYPE_CHECKING:
    from pydantic import BaseModel


def json_schema() -> dict[str, Any]:
    """Describe the file's own names; names of the original that still work are deprecated."""
    schema = models.Config.model_json_schema(by_alias=True)
    _explain(models.Config, schema)
    for name, definition in schema["$defs"].items():
        _explain(getattr(models, name), definition)
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        definition = schema["properties"][section]["$ref"].rpartition("/")[2]
        schema["$defs"][definition]["properties"][key] = {
            "deprecated": True,
            "description": f"The old name of {new}.",
        }
    return schema


def _explain(section: type[BaseModel], definition: dict[str, Any]) -> None:
    for key, described in definition["properties"].items():
        if told := description(section, key):
            described["description"] = told
