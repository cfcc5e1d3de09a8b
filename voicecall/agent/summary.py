"""A call as a model should read it: what matters, in few words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from voicecall.call.record import TERMINAL_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST_ENTRIES: Final = 40
"""How much of a transcript is told; a model reads what it is told again with every step."""

_TIMES: Final = ("startedAt", "answeredAt", "endedAt")


def summary(record: Mapping[str, Any], last: int = LAST_ENTRIES) -> dict[str, Any]:
    """A record without what only operators need; times are ISO 8601, UTC.

    Args:
        record: a call in the wire format.
        last: how many entries of its transcript are kept, the newest; with 0 nothing is said of
            it. `omittedEntries` tells how many came before those.
    """
    told: dict[str, Any] = {
        "callId": record["callId"],
        "direction": record["direction"],
        "state": record["state"],
        "ended": record["state"] in TERMINAL_STATES,
        "from": record["from"],
        "to": record["to"],
    }
    if mode := record.get("metadata", {}).get("mode"):
        told["mode"] = mode
    for name in _TIMES:
        if record.get(name) is not None:
            moment = datetime.fromtimestamp(record[name] / 1000, UTC)
            told[name] = moment.isoformat(timespec="seconds")
    return told | _transcript(record, last)


def _transcript(record: Mapping[str, Any], last: int) -> dict[str, Any]:
    entries = record.get("transcript", ())
    if not last:
        return {}
    told: dict[str, Any] = {
        "transcript": [
            {"speaker": entry["speaker"], "text": entry["text"]} for entry in entries[-last:]
        ]
    }
    omitted = len(entries) - last
    return {"omittedEntries": omitted, **told} if omitted > 0 else told
