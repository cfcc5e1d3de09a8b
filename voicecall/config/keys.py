"""Keys that no section has, and what was probably meant."""

from __future__ import annotations

import difflib
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from voicecall.config.paths import EMPTY_KEY

_SIMILAR: Final = 0.5


def take_unknown(model: type[BaseModel], settings: dict[str, Any], prefix: str = "") -> list[str]:
    """Take unknown keys out of `settings`, in place.

    Returns:
        One problem for each, naming its path and the nearest key the section has.
    """
    sections = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    problems = []
    for key in list(settings):
        path = f"{prefix}{key or EMPTY_KEY}"
        if key not in sections:
            del settings[key]
            problems.append(f"{path}: unknown key{_suggestion(key, list(sections), prefix)}")
        elif isinstance(settings[key], dict):
            problems += _take_unknown_below(sections[key], settings[key], path)
    return problems


def _take_unknown_below(annotation: Any, value: dict[str, Any], path: str) -> list[str]:  # noqa: ANN401
    if section := _model_in(annotation):
        return take_unknown(section, value, f"{path}.")
    arguments = get_args(annotation)
    if get_origin(annotation) is not dict or not (section := _model_in(arguments[1])):
        return []
    return [
        problem
        for name, entry in value.items()
        if isinstance(entry, dict)
        for problem in take_unknown(section, entry, f"{path}.{name}.")
    ]


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401  (a type of any form)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None


def _suggestion(key: str, known: list[str], prefix: str) -> str:
    by_lower_case = {name.lower(): name for name in known}
    plain = key.lower().replace("_", "").replace("-", "")
    near = difflib.get_close_matches(plain, by_lower_case, n=1, cutoff=_SIMILAR)
    return f"; did you mean {prefix}{by_lower_case[near[0]]}?" if near else ""
