"""Deep-merging of plain settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Keys with which a file could reach into the objects of the JavaScript host that shares it.
FORBIDDEN_KEYS: Final = frozenset({"__proto__", "prototype", "constructor"})


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`: objects are merged key by key, everything else is replaced.

    Keys in `FORBIDDEN_KEYS` are left out at every depth, from both sides.

    Returns:
        A new dict; neither argument is changed.
    """
    merged = {key: _copied(value) for key, value in base.items() if key not in FORBIDDEN_KEYS}
    for key, value in over.items():
        if key in FORBIDDEN_KEYS:
            continue
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = deep_merge(below, value)
        else:
            merged[key] = _copied(value)
    return merged


def _copied(value: Any) -> Any:  # noqa: ANN401  (JSON: any type)
    return deep_merge(value, {}) if isinstance(value, Mapping) else value
