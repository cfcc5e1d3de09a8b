"""The JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.config.test_schema import DEFAULTS
from voicecall.config.json_schema import json_schema
from voicecall.config.openclaw import RENAMED

pytestmark = pytest.mark.unit


def properties_at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    section: dict[str, Any] = schema
    for key in path.split(".") if path else []:
        found = section["properties"][key]
        section = schema["$defs"][found["$ref"].rpartition("/")[2]]
    properties = section["properties"]
    assert isinstance(properties, dict)
    return properties


@pytest.mark.parametrize("path", DEFAULTS)
def test_every_key_is_described_by_its_name_in_files(path: str) -> None:
    section, _, key = path.rpartition(".")
    assert key in properties_at(json_schema(), section)


@pytest.mark.parametrize(("old", "new"), list(RENAMED.items()))
def test_old_names_are_there_and_deprecated(old: str, new: str) -> None:
    section, _, key = old.rpartition(".")
    described = properties_at(json_schema(), section)[key]
    assert described["deprecated"] is True
    assert new in described["description"]


def test_it_is_json_and_refuses_other_keys() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    sections = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    assert all(section["additionalProperties"] is False for section in sections)


def test_ranges_and_choices_are_part_of_it() -> None:
    schema = json_schema()
    port = properties_at(schema, "serve")["port"]
    assert (port["minimum"], port["maximum"], port["default"]) == (0, 65535, 3334)
    assert properties_at(schema, "realtime")["idleTimeoutMs"]["anyOf"] == [
        {"enum": [0]},
        {"type": "integer", "minimum": 5000, "maximum": 30_000},
    ]
    assert properties_at(schema, "")["provider"]["enum"] == ["twilio", "telnyx", "plivo", "mock"]
