from __future__ import annotations

import json

import pytest

from tests.call.calls import record
from voicecall.call.record import (
    LIVE_STATES,
    TERMINAL_STATES,
    CallRecord,
    CallState,
    Direction,
    Speaker,
    TranscriptEntry,
)

pytestmark = pytest.mark.unit


def test_every_state_is_either_live_or_terminal() -> None:
    assert set(CallState) == LIVE_STATES | TERMINAL_STATES
    assert not LIVE_STATES & TERMINAL_STATES
    assert all(state.terminal == (state in TERMINAL_STATES) for state in CallState)


@pytest.mark.parametrize("state", list(CallState), ids=str)
def test_a_record_read_back_is_the_one_written(state: CallState) -> None:
    call = record(state, direction=Direction.INBOUND, provider_call_id="CA1", answered_at=5)
    call.end_reason = state if state.terminal else None
    call.transcript.append(TranscriptEntry(7, Speaker.USER, "Grüße", is_final=False))
    call.metadata["mode"] = "notify"
    assert CallRecord.from_json(json.loads(json.dumps(call.to_json()))) == call


@pytest.mark.parametrize("broken", [{"state": "asleep"}, {"direction": "sideways"}])
def test_what_is_no_record_is_not_read_as_one(broken: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a valid"):
        CallRecord.from_json(record().to_json() | broken)
    with pytest.raises(KeyError):
        CallRecord.from_json({})
