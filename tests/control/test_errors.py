from __future__ import annotations

import pytest

from voicecall import errors
from voicecall.control.errors import fault_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "code", "data"),
    [
        (errors.InvalidRequest("no"), -32602, {"code": "invalid_request"}),
        (
            errors.UnknownCall("no", call_id="c-1"),
            -32001,
            {"code": "unknown_call", "callId": "c-1"},
        ),
        (errors.NotConnected("no"), -32002, {"code": "not_connected"}),
        (errors.CallHasEnded("no"), -32003, {"code": "call_ended"}),
        (errors.TurnPending("no"), -32004, {"code": "turn_pending"}),
        (errors.TranscriptTimeout("no"), -32005, {"code": "transcript_timeout"}),
        (errors.CapacityReached("no"), -32006, {"code": "capacity_reached"}),
        (errors.IllegalTransition("no"), -32603, {"code": "illegal_transition"}),
        (
            errors.CarrierError("no", status=21211),
            -32010,
            {"code": "carrier_refused", "status": 21211, "retryable": False},
        ),
        (
            errors.CarrierError("no", retryable=True),
            -32011,
            {"code": "carrier_unreachable", "status": None, "retryable": True},
        ),
        (
            errors.SpeechError("no"),
            -32012,
            {"code": "speech_failed", "status": None, "retryable": False},
        ),
        (errors.StoreError("no"), -32013, {"code": "store_failed"}),
        (errors.ConfigError("no"), -32000, {"code": "failed"}),
    ],
)
def test_each_error_has_a_number_and_a_name_of_its_own(
    error: errors.VoicecallError, code: int, data: dict[str, object]
) -> None:
    assert fault_of(error).to_json() == {"code": code, "message": "no", "data": data}


def test_every_call_error_is_in_the_table() -> None:
    for kind in errors.CallError.__subclasses__():
        assert fault_of(kind("no")).code != -32000, kind


def test_the_call_an_error_names_wins_over_the_one_the_request_named() -> None:
    named = errors.UnknownCall("no", call_id="c-1")
    assert fault_of(named, "p-1").data["callId"] == "c-1"
    assert fault_of(errors.UnknownCall("no"), "p-1").data["callId"] == "p-1"
