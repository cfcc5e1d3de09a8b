"""Records and changes of calls, as a server tells them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

CALL_ID = "5f0a3f0e-0f5b-4f3c-9d51-1c1b0a7c9d42"
BEGAN_MS = 1_767_261_600_000
# What a remote side may send to somebody's terminal, and what becomes of it.
STEERING = "\x1b[2J\x1b]0;x\x07"
HARMLESS = "\\x1b[2J\\x1b]0;x\\x07"


def record(**changes: Any) -> dict[str, Any]:
    """A call that is answered and goes on."""
    return {
        "callId": CALL_ID,
        "providerCallId": "mock-8c1f6a2e",
        "provider": "mock",
        "direction": "outbound",
        "state": "listening",
        "from": "+15550000000",
        "to": "+15550001234",
        "sessionKey": "+15550001234",
        "startedAt": BEGAN_MS,
        "answeredAt": BEGAN_MS + 4_200,
        "endedAt": None,
        "endReason": None,
        "transcript": [],
        "metadata": {"mode": "conversation"},
        **changes,
    }


def over(reason: str, **changes: Any) -> dict[str, Any]:
    """A call that has ended 65 s after it was answered."""
    ended = {"state": reason, "endReason": reason, "endedAt": BEGAN_MS + 69_200}
    return record(**{**ended, **changes})


def said(speaker: str, text: str, after_ms: int = 5_000) -> dict[str, Any]:
    """An entry of a transcript."""
    return {
        "timestamp": BEGAN_MS + after_ms,
        "speaker": speaker,
        "text": text,
        "isFinal": True,
    }


def change(kind: str, after_ms: int = 0, **fields: Any) -> dict[str, Any]:
    """Something that happened to the call."""
    return {"type": kind, "timestamp": BEGAN_MS + after_ms, "callId": CALL_ID, **fields}


def drawn(picture: RenderableType, columns: int = 100) -> str:
    """What rich draws, without colours."""
    file = io.StringIO()
    Console(file=file, width=columns, highlight=False).print(picture)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
