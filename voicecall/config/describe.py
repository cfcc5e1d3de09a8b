"""A configuration as rows for people: every effective value and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from voicecall.config.derive import source_of

if TYPE_CHECKING:
    from voicecall.config.load import LoadedConfig, Origin

MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class Row:
    """One effective value.

    Attributes:
        path: its key as in a file, with dots.
        value: JSON types only; `MASK` for a secret that is set.
        origin: where it came from; for a value taken from another key, where that came from.
    """

    path: str
    value: Any
    origin: Origin


def describe(loaded: LoadedConfig) -> list[Row]:
    """Every effective value, in the order of the schema, secrets masked."""
    return [
        Row(path, value, loaded.origins.get(source_of(path, loaded.origins), "default"))
        for path, value in _values(loaded.config, "")
    ]


def _values(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(section).model_fields.items():
        path = f"{prefix}{field.alias or name}"
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _values(value, f"{path}.")
        elif isinstance(value, Mapping) and value:
            for key, entry in value.items():
                yield from _values(entry, f"{path}.{key}.")
        else:
            yield path, _shown(value, hidden=field.repr is False)


def _shown(value: Any, *, hidden: bool) -> Any:  # noqa: ANN401  (any field's value)
    if isinstance(value, SecretStr):
        return MASK
    if hidden and isinstance(value, str):
        return _without_password(value)
    if hidden and value:
        return MASK
    return to_jsonable_python(value)


def _without_password(location: str) -> str:
    """A database URL without what may hold a password; a file name as it is."""
    if "://" not in location:
        return location
    parts = urlsplit(location)
    _, at, host = parts.netloc.rpartition("@")
    netloc = f"{MASK}@{host}" if at else host
    return urlunsplit((parts.scheme, netloc, parts.path, MASK if parts.query else "", ""))
