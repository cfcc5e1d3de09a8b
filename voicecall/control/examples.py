"""What is asked of the RPC methods, and what they answer: for the description of the interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Example:
    """A question to a method, and an answer.

    Attributes:
        name: what it is about.
        result: the answer.
        params: by name.
    """

    name: str
    result: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)


CALL_ID: Final = "5f0a3f0e-0f5b-4f3c-9d51-1c1b0a7c9d42"
PROVIDER_CALL_ID: Final = "mock-8c1f6a2e"
OPERATION_ID: Final = "9a1c7c36-31a4-4a0e-8a37-6a5a4a0f4f0b"
_TO: Final = "+15550001234"
_BEGAN_MS: Final = 1_767_261_600_000

_RECORD: Final[Mapping[str, Any]] = {
    "callId": CALL_ID,
    "providerCallId": PROVIDER_CALL_ID,
    "provider": "mock",
    "direction": "outbound",
    "state": "listening",
    "from": "+15550000000",
    "to": _TO,
    "sessionKey": _TO,
    "startedAt": _BEGAN_MS,
    "answeredAt": _BEGAN_MS + 4_200,
    "endedAt": None,
    "endReason": None,
    "transcript": [
        {
            "timestamp": _BEGAN_MS + 6_100,
            "speaker": "bot",
            "text": "Hello! When are you open today?",
            "isFinal": True,
        }
    ],
    "metadata": {"mode": "conversation"},
}
_NO_VALUES: Final = {"count": 0}
_DONE: Final = {"success": True}
_PLACED: Final = {"callId": CALL_ID, "initiated": True}

INITIATE: Final = Example(
    "A conversation",
    _PLACED,
    {"message": "Hello! When are you open today?", "to": _TO, "mode": "conversation"},
)
START: Final = Example(
    "A call that begins with keys",
    _PLACED,
    {"to": _TO, "dtmfSequence": "ww1", "mode": "conversation"},
)
CONTINUE: Final = Example(
    "A question",
    {"success": True, "transcript": "Until six."},
    {"callId": CALL_ID, "message": "And until when?"},
)
CONTINUE_START: Final = Example(
    "A question whose answer is asked for later",
    {"operationId": OPERATION_ID},
    {"callId": CALL_ID, "message": "And until when?"},
)
CONTINUE_RESULT: Final = Example(
    "The answer",
    {"status": "done", "transcript": "Until six."},
    {"operationId": OPERATION_ID},
)
SPEAK: Final = Example("A statement", _DONE, {"callId": CALL_ID, "message": "One moment, please."})
DTMF: Final = Example("Keys for a menu", _DONE, {"callId": CALL_ID, "digits": "1w2#"})
TRANSFER: Final = Example("A colleague", _DONE, {"callId": CALL_ID, "to": "+15550009876"})
END: Final = Example("Hanging up", _DONE, {"callId": CALL_ID})
STATUS: Final = Example("One call", {"found": True, "call": _RECORD}, {"callId": CALL_ID})
STATUS_OF_ALL: Final = Example("All live calls", {"calls": [_RECORD]})
HISTORY: Final = Example("The last call", {"calls": [_RECORD]}, {"last": 1, "since": 0})
CHANGES: Final = Example(
    "The last two changes",
    {
        "changes": [
            {
                "number": 41,
                "type": "call.ringing",
                "timestamp": _BEGAN_MS + 900,
                "callId": CALL_ID,
                "providerCallId": PROVIDER_CALL_ID,
                "state": "ringing",
            },
            {
                "number": 42,
                "type": "call.answered",
                "timestamp": _BEGAN_MS + 4_200,
                "callId": CALL_ID,
                "providerCallId": PROVIDER_CALL_ID,
                "state": "answered",
            },
        ],
        "last": 42,
    },
    {"since": -2, "limit": 2},
)
LATENCY: Final = Example(
    "One call with one turn",
    {
        "calls": 1,
        "turns": 1,
        "turnLatencyMs": {
            "count": 1, "min": 642.0, "max": 642.0, "avg": 642.0, "p50": 642.0, "p95": 642.0,
        },
        "listenWaitMs": _NO_VALUES,
        "steps": {"finalMs": _NO_VALUES},
    },
    {"last": 1},
)  # fmt: skip
