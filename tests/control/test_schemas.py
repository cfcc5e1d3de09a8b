"""Types become schemas."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

import pytest

from voicecall.control.schemas import REFERENCE, schema_of

pytestmark = pytest.mark.unit


class Part(TypedDict):
    """A part
    of something.

    Attributes:
        name: what it is
            called.
        size: how large.
    """

    name: str
    size: NotRequired[int | None]


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str, {"type": "string"}),
        (float, {"type": "number"}),
        (Any, {}),
        (Literal["a"], {"type": "string", "const": "a"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
    ],
)
def test_simple_types_are_simple(kind: object, schema: dict[str, Any]) -> None:
    assert schema_of(kind, {}) == schema


def test_a_typed_dictionary_is_named_and_described_by_its_docstring() -> None:
    named: dict[str, Any] = {}
    assert schema_of(list[Part], named)["items"] == {"$ref": f"{REFERENCE}Part"}
    part = named["Part"]
    assert part["description"] == "A part of something."
    assert part["required"] == ["name"]
    assert part["properties"]["name"]["description"] == "what it is called."
    assert part.get("additionalProperties", True) is True


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError):
        schema_of(bytes, {})
