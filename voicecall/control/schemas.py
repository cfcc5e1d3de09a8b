"""JSON Schema of the types that results are declared with: one source for checkers and readers."""

from __future__ import annotations

import inspect
import re
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

REFERENCE: Final = "#/components/schemas/"
"""Where the schemas of named types are found in the description."""

_SIMPLE: Final[dict[object, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
}
_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def schema_of(kind: object, named: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a type.

    Objects may have more properties than they say: later versions add some.

    Args:
        kind: of what JSON knows, literals, unions, lists, dicts and `TypedDict`s, whose docstrings
            tell what they and their fields are.
        named: gets the schemas of all `TypedDict`s met, by name.

    Raises:
        TypeError: it is another type.
    """
    if kind is Any:
        return {}
    if (simple := _SIMPLE.get(kind)) is not None:
        return {"type": simple}
    if is_typeddict(kind):
        return _reference(kind, named)
    arguments = get_args(kind)
    match get_origin(kind):
        case origin if origin is Literal:
            return _choice(arguments)
        case origin if origin in {Union, UnionType}:
            return {"anyOf": [schema_of(each, named) for each in arguments]}
        case origin if origin is list:
            return {"type": "array", "items": schema_of(arguments[0], named)}
        case origin if origin is dict:
            return {"type": "object", "additionalProperties": schema_of(arguments[1], named)}
    raise TypeError(f"{kind!r} has no JSON Schema here")


def _reference(kind: Any, named: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  (a type)
    name: str = kind.__name__
    if name not in named:
        # There while its fields are looked at, which may be of the same type.
        named[name] = {}
        named[name].update(_object(kind, named))
    return {"$ref": REFERENCE + name}


def _object(kind: Any, named: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  (a type)
    told, attributes = _told(kind)
    properties: dict[str, Any] = {}
    required = []
    # `__required_keys__` does not see through annotations that are strings.
    for name, hint in get_type_hints(kind, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        properties[name] = schema_of(get_args(hint)[0] if optional else hint, named)
        if name in attributes:
            properties[name]["description"] = attributes[name]
        if not optional:
            required.append(name)
    return {
        "type": "object",
        "description": told,
        "properties": properties,
        "required": required,
    }


def _choice(values: tuple[object, ...]) -> dict[str, Any]:
    kinds = sorted({_SIMPLE[type(value)] for value in values})
    if len(values) == 1:
        return {"type": kinds[0], "const": values[0]}
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}


def _told(kind: object) -> tuple[str, dict[str, str]]:
    """The description of a type, and those of its fields."""
    told, _, attributes = (inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")
    fields = {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(attributes)}
    return " ".join(told.split()), fields
