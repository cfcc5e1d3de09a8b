"""Records and events for tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from voicecall.call.record import CallRecord, CallState, Direction

if TYPE_CHECKING:
    from voicecall.call.events import CallEvent

_serial = itertools.count()


def record(state: CallState = CallState.INITIATED, **fields: Any) -> CallRecord:
    return CallRecord(
        **{
            "call_id": "call-1",
            "provider": "mock",
            "direction": Direction.OUTBOUND,
            "state": state,
            "from_number": "+15550000001",
            "to_number": "+15550000002",
            "session_key": "voice:15550000002",
            "started_at": 1_000,
            **fields,
        }
    )


def event(kind: type[CallEvent], **fields: Any) -> CallEvent:
    name = f"e{next(_serial)}"
    return kind(**{"id": name, "dedupe_key": name, "timestamp": 2_000, **fields})
