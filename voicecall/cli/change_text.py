"""A change of a call in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voicecall.log import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

CUT = " …"
"""Follows what was not heard to its end."""


# What each kind of change is mostly about.
_ABOUT: Final[Mapping[str, str]] = {
    "call.created": "direction",
    "call.restored": "direction",
    "call.speaking": "text",
    "call.spoken": "heard",
    "call.speech": "transcript",
    "call.dtmf": "digits",
    "call.error": "message",
}


def detail(change: Mapping[str, Any]) -> str:
    """What a change tells beyond its type and the state it led to; may be empty."""
    return printable(_detail(change))


def _detail(change: Mapping[str, Any]) -> str:
    match change:
        case {"type": "call.silence", "durationMs": int(duration_ms)}:
            return f"{duration_ms} ms"
        case {"type": "call.ended", "transferredTo": str(to)}:
            return f"handed on to {to}"
        case {"type": "gap"}:
            return "changes are missing here"
    about = str(change.get(_ABOUT.get(change["type"], ""), ""))
    return f"{about}{CUT}" if change.get("interrupted") else about


def teller(change: Mapping[str, Any]) -> str:
    """Whom a change is about: `bot`, `caller`, or the `call` itself."""
    match change["type"]:
        case "call.speaking" | "call.spoken":
            return "bot"
        case "call.speech" | "call.dtmf" | "call.silence":
            return "caller"
    return "call"
