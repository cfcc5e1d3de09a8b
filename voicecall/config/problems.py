"""What is wrong with settings, in sentences that name the full path of the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicecall.config.derive import source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

# A validator's words, in the voice of our own messages.
_WORDING = (
    ("Value error, ", ""),
    ("Field required", "is required"),
    ("Input should be", "must be"),
    ("Extra inputs are not permitted", "unknown key"),
)


def sentences(
    error: ValidationError, given: Mapping[str, str], labels: Mapping[str, str]
) -> list[str]:
    """One sentence for each problem. No sentence repeats a value: it may be a secret.

    Args:
        error: what validation found.
        given: keys that the file or the environment set.
        labels: for keys not set under their own name, where the value came from.
    """
    found: dict[str, None] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = source_of(_path(detail), given)
        text = _text(detail)
        if not path:
            # A rule about several keys names them itself.
            found.update(dict.fromkeys(text.splitlines()))
            continue
        label = f" (from {labels[path]})" if path in labels else ""
        found[f"{path}{label}: {text}"] = None
    return list(found)


def _path(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"] if part != "[key]")


def _text(detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] in {"string_too_short", "too_short"} and context.get("min_length") == 1:
        return "must not be empty"
    if detail["type"] in {"model_type", "dict_type"}:
        return "must be an object, { ... }"
    for theirs, ours in _WORDING:
        if detail["msg"].startswith(theirs):
            return ours + detail["msg"].removeprefix(theirs)
    return detail["msg"]
