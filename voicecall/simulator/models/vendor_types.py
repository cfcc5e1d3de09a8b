"""Requests checked against, and answers built from, the `openai` package's own types."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

Place = tuple[str | int, ...]

# What tells the branches of the vendor's unions apart.
_TAGS = ("type", "role")


class Unacceptable(Exception):
    """A request that the service would refuse.

    Attributes:
        message: for people.
        param: the path of the parameter concerned, such as `input[0].role`.
        code: the vendor's name of the error.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


@functools.cache
def _adapter(params: Any) -> TypeAdapter[Any]:  # noqa: ANN401  (a TypedDict, or a union of them)
    return TypeAdapter(params)


def checked(params: Any, data: object) -> dict[str, Any]:  # noqa: ANN401  (as above)
    """A request as one of the package's TypedDicts of parameters has it.

    Args:
        params: the TypedDict, or a union of them.
        data: parsed JSON.

    Raises:
        Unacceptable: a parameter is unknown, missing or of the wrong type.
    """
    if not isinstance(data, dict):
        raise Unacceptable("The body has to be a JSON object.", code="invalid_json")
    try:
        value = _whole(_adapter(params).validate_python(data, strict=True), ())
    except ValidationError as error:
        raise _refusal(error, data, ()) from error
    except _Inner as inner:
        raise _refusal(inner.error, data, inner.place) from inner.error
    _refuse_unknown(data, value, ())
    result: dict[str, Any] = value
    return result


def made(kind: type[M], **fields: Any) -> M:  # noqa: ANN401  (whatever the model takes)
    """One of the package's models, validated; `type` is filled in where only one is possible.

    Raises:
        ValidationError: a field is missing or of the wrong type.
        TypeError: the model has no such field.
    """
    known = kind.model_fields
    if strange := fields.keys() - known.keys():
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(strange))}")
    for constant in ("type", "object"):
        if constant in known and constant not in fields:
            possible = get_args(known[constant].annotation)
            if len(possible) == 1 and isinstance(possible[0], str):
                fields[constant] = possible[0]
    return kind(**fields)


def new_id(prefix: str) -> str:
    """An identifier as the vendor writes them: `item_...`."""
    return f"{prefix}_{secrets.token_hex(10)}"


def as_json(model: BaseModel) -> str:
    """A model as the service sends it: what was given, explicit nulls included."""
    return model.model_dump_json(exclude_unset=True, by_alias=True)


class _Inner(Exception):
    """Something inside of what the vendor declares as iterable, which is checked when iterated."""

    def __init__(self, error: ValidationError, place: Place) -> None:
        super().__init__(place)
        self.error = error
        self.place = place


def _whole(value: object, place: Place) -> Any:  # noqa: ANN401  (any JSON)
    """`value` with everything in it that is iterated lazily made a list."""
    if isinstance(value, dict):
        return {key: _whole(inner, (*place, key)) for key, inner in value.items()}
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, Sequence | Iterator):
        try:
            return [_whole(inner, (*place, number)) for number, inner in enumerate(value)]
        except ValidationError as error:
            raise _Inner(error, place) from error
    return value


def _refusal(error: ValidationError, data: object, place: Place) -> Unacceptable:
    """The error that looked deepest into the data: of a union's branches, the one meant."""
    for part in place:
        data = data[part]  # type: ignore[index]  # a place that validation has been to
    details = _of_meant_branches(error.errors(include_url=False))
    found = [(_path(detail["loc"], data), detail) for detail in details]
    path, detail = max(found, key=lambda each: len(each[0]))
    missing = detail["type"] == "missing"
    param = written((*place, *path, detail["loc"][-1]) if missing else (*place, *path))
    if missing:
        message = f"Missing required parameter: '{param}'."
        return Unacceptable(message, param=param, code="missing_required_parameter")
    code = "invalid_value" if detail["type"] == "literal_error" else "invalid_type"
    return Unacceptable(f"Invalid '{param}': {_said(detail)}.", param=param, code=code)


def _of_meant_branches(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Errors without those of union branches that the data, by its type or role, is not of."""
    others = [
        detail["loc"][:-1]
        for detail in details
        if detail["type"] == "literal_error" and detail["loc"][-1] in _TAGS
    ]
    meant = [
        detail
        for detail in details
        if not any(detail["loc"][: len(branch)] == branch for branch in others)
    ]
    return meant or details


def _said(detail: ErrorDetails) -> str:
    message = detail["msg"]
    return message[0].lower() + message[1:]


def _path(loc: Place, data: object) -> Place:
    """The parts of an error's location that are in the data; the others name union branches."""
    path: list[str | int] = []
    for part in loc:
        match data, part:
            case list(), int() if part < len(data):
                data = data[part]
            case dict(), str() if part in data:
                data = data[part]
            case _:
                continue
        path.append(part)
    return tuple(path)


def _refuse_unknown(data: object, value: object, place: Place) -> None:
    """Refuse what validation has left out, since no type declares it."""
    if isinstance(data, Mapping) and isinstance(value, Mapping):
        for key, inner in data.items():
            if key not in value:
                param = written((*place, key))
                raise Unacceptable(
                    f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter"
                )
            _refuse_unknown(inner, value[key], (*place, key))
    elif isinstance(data, list) and isinstance(value, list):
        for number, (inner, kept) in enumerate(zip(data, value, strict=True)):
            _refuse_unknown(inner, kept, (*place, number))


def written(place: Place) -> str:
    """A parameter's path as the service writes it: `input[0].role`."""
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in place
    ).removeprefix(".")
