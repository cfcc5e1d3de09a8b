"""Errors as a model reads them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.agent.fakes import FakeControl, record, run
from voicecall.agent.failure import explained, failure, unexpected
from voicecall.call.record import CallState
from voicecall.errors import (
    CallHasEnded,
    CarrierError,
    ConfigError,
    NotConnected,
    RemoteError,
    UnknownCall,
    VoicecallError,
)

pytestmark = pytest.mark.unit


def test_an_error_says_what_happened_to_which_call_and_what_to_do() -> None:
    told = failure(UnknownCall("no call has that id", call_id="c-9"))["error"]
    assert (told["code"], told["message"], told["callId"]) == (
        "unknown_call",
        "no call has that id",
        "c-9",
    )
    assert "get_status" in told["hint"]


def test_the_call_that_was_meant_is_named() -> None:
    assert failure(NotConnected("not yet"), "c-1")["error"]["callId"] == "c-1"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            CarrierError("no such number", status=21211),
            {"code": "carrier_refused", "status": 21211, "retryable": False},
        ),
        (CarrierError("silence", retryable=True), {"code": "carrier_unreachable"}),
        (RemoteError("no server answers", retryable=True), {"code": "failed", "retryable": True}),
        (ConfigError("rpc.token: is wrong"), {"code": "not_configured"}),
    ],
)
def test_whose_fault_it_is_can_be_seen(error: VoicecallError, expected: dict[str, object]) -> None:
    told = failure(error)["error"]
    assert {name: told[name] for name in expected} == expected
    assert None not in told.values()


def test_why_a_call_has_ended_is_told_where_it_is_known() -> None:
    ended = record(state=CallState.NO_ANSWER, end_reason=CallState.NO_ANSWER)
    error = CallHasEnded("the call has ended", call_id="c-1")

    async def reason(control: FakeControl) -> object:
        return (await explained(error, "c-1", control))["error"].get("endReason")

    class Deaf(FakeControl):
        async def status(self, call_id: str) -> None:
            raise RemoteError(f"nobody knows {call_id}")

    async def case() -> None:
        assert await reason(FakeControl(ended)) == "no-answer"
        assert await reason(FakeControl()) is None
        assert await reason(Deaf()) is None

    run(case())


def test_a_bug_is_logged_and_tells_models_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> dict[str, Any]:
        try:
            return {"a": int("secret detail")}
        except ValueError:
            return unexpected()

    with caplog.at_level(logging.ERROR, "voicecall.agent"):
        told = broken()
    assert told["error"]["code"] == "internal_error"
    assert "secret" not in str(told)
    assert caplog.records[0].exc_info is not None
