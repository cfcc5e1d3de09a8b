"""A call's record in words for people."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from voicecall.log import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MS_PER_S: Final = 1000
_S_PER_MINUTE: Final = 60

# How calls stand and how they end.
STYLES: Final[Mapping[str, str]] = {
    "initiated": "yellow",
    "ringing": "yellow",
    "answered": "green",
    "active": "green",
    "speaking": "green",
    "listening": "cyan",
    "error": "red",
    "failed": "red",
    "no-answer": "red",
    "busy": "red",
}

UNHELD: Final = frozenset({"error", "failed", "no-answer", "busy"})
"""End reasons of calls that were not held, or broke."""

_REASONS: Final[Mapping[str, str]] = {
    "completed": "the call is over",
    "hangup-user": "the other side hung up",
    "hangup-bot": "we hung up",
    "timeout": "it lasted too long",
    "error": "it broke",
    "failed": "it could not be placed",
    "no-answer": "nobody answered",
    "busy": "the line was busy",
    "voicemail": "a machine answered",
}

SPEAKERS: Final[Mapping[str, str]] = {"bot": "bot", "user": "caller"}
"""What the speakers of a transcript are called."""

SPEAKER_STYLES: Final[Mapping[str, str]] = {"bot": "green", "caller": "cyan"}


def remote(record: Mapping[str, Any]) -> str:
    """The number of the other side."""
    return printable(record["from"] if record["direction"] == "inbound" else record["to"])


def duration(duration_ms: float) -> str:
    """A duration as m:ss, or h:mm:ss."""
    seconds = max(0, int(duration_ms // _MS_PER_S))
    minutes, second = divmod(seconds, _S_PER_MINUTE)
    hour, minute = divmod(minutes, _S_PER_MINUTE)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def lasted(record: Mapping[str, Any], now_ms: float) -> str:
    """How long the sides have been connected; empty before that.

    Args:
        record: the call.
        now_ms: the time, ms since the epoch; counts for calls that have not ended.
    """
    if record["answeredAt"] is None:
        return ""
    return duration((record["endedAt"] or now_ms) - record["answeredAt"])


def reason(record: Mapping[str, Any]) -> str:
    """Why the call is over, with what went wrong if that is known."""
    ended = str(record["endReason"] or record["state"])
    text = _REASONS.get(ended, ended)
    metadata = record["metadata"]
    if ended in UNHELD and (error := metadata.get("lastError")):
        return f"{text}: {printable(str(error))}"
    if to := metadata.get("transferredTo"):
        return f"handed on to {printable(str(to))}"
    return text


def figures(record: Mapping[str, Any], now_ms: float) -> list[str]:
    """How long the call lasted, how many turns it had, how soon they were answered."""
    told = []
    if length := lasted(record, now_ms):
        told.append(length)
    if turns := record["metadata"].get("turnCount"):
        told.append("1 turn" if turns == 1 else f"{turns} turns")
    latencies_ms = [
        turn["latencyMs"] for turn in record["metadata"].get("turns", ()) if "latencyMs" in turn
    ]
    if latencies_ms:
        median_ms = statistics.median(latencies_ms)
        told.append(f"answers after {median_ms:.0f} ms (median)")
    return told
