"""Settings addressed by dotted paths, as messages and tables name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

# How a key without characters is named.
EMPTY_KEY: Final = '""'


def value_at(settings: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401  (JSON: any type)
    """The value at `path`, or None where there is none."""
    found: Any = settings
    for key in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def fill(settings: dict[str, Any], path: str, value: object) -> bool:
    """Set the value at `path` unless there is one or its section is not an object.

    Returns:
        Whether the value was set.
    """
    *sections, key = path.split(".")
    target: Any = settings
    for section in sections:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            return False
    if target.get(key) is not None:
        return False
    target[key] = value
    return True


def matching(settings: Mapping[str, Any], pattern: str) -> list[str]:
    """Paths that exist and match `pattern`, in which `*` stands for any one key."""
    found: list[tuple[str, Any]] = [("", settings)]
    for wanted in pattern.split("."):
        found = [
            (f"{path}.{key}" if path else key, value)
            for path, section in found
            if isinstance(section, Mapping)
            for key, value in section.items()
            if wanted in ("*", key)
        ]
    return [path for path, _ in found]


def pop(settings: dict[str, Any], path: str) -> Any:  # noqa: ANN401  (JSON: any type)
    """Take the value at `path` out; None when there is none. Emptied sections stay."""
    section, _, key = path.rpartition(".")
    holder = value_at(settings, section) if section else settings
    return holder.pop(key, None) if isinstance(holder, dict) else None


def leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not an object, with its path."""
    for key, value in settings.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value
