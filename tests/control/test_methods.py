from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.control.fakes import FakeCalls, record
from voicecall.call.record import CallState
from voicecall.control.methods import METHODS
from voicecall.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.unit


def call(calls: FakeCalls, name: str, **params: object) -> Mapping[str, Any]:
    return asyncio.run(METHODS[f"voicecall.{name}"](calls, params))


def known() -> FakeCalls:
    calls = FakeCalls()
    calls.add(record())
    return calls


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("initiate", {}, "message required"),
        ("initiate", {"message": "  \t"}, "message required"),
        ("start", {"message": "hello"}, "to required"),
        ("continue", {"callId": "c-1"}, "callId and message required"),
        ("continue", {"message": "hello"}, "callId and message required"),
        ("continue.start", {}, "callId and message required"),
        ("continue.result", {}, "operationId required"),
        ("speak", {"callId": " ", "message": "hello"}, "callId and message required"),
        ("dtmf", {"callId": "c-1"}, "callId and digits required"),
        ("transfer", {"callId": "c-1"}, "callId and to required"),
        ("latency", {"last": 0}, "last must be a whole number, 1 to 1000"),
        ("latency", {"last": "all"}, "last must be a whole number, 1 to 1000"),
        ("latency", {"last": 1001}, "last must be a whole number, 1 to 1000"),
        ("latency", {"last": "9" * 5000}, "last must be a whole number, 1 to 1000"),
        ("latency", {"last": True}, "last must be a whole number, 1 to 1000"),
        ("latency", {"last": 1.5}, "last must be a whole number, 1 to 1000"),
        ("end", {}, "callId required"),
        ("end", {"callId": None}, "callId required"),
        ("end", {"callId": 7}, "callId must be a string"),
        ("initiate", {"message": "hi", "mode": "shout"}, "mode must be notify or conversation"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    name: str, params: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        call(known(), name, **params)
    assert str(raised.value) == message


def test_initiate_trims_its_inputs_and_returns_the_new_call() -> None:
    calls = FakeCalls()
    result = call(calls, "initiate", message=" Hello ", to=" +15550002222 ", mode="notify")
    assert result == {"callId": "c-1", "initiated": True}
    assert calls.asked == [("initiate", "Hello", "+15550002222", "notify", "")]


def test_start_needs_no_message() -> None:
    calls = FakeCalls()
    result = call(calls, "start", to="+15550002222", dtmfSequence="1w2")
    assert result == {"callId": "c-1", "initiated": True}
    assert calls.asked == [("initiate", "", "+15550002222", "", "1w2")]


@pytest.mark.parametrize(
    ("name", "params", "result", "asked"),
    [
        (
            "continue",
            {"message": "Hi"},
            {"success": True, "transcript": "you said Hi"},
            ("ask", "c-1", "Hi"),
        ),
        ("continue.start", {"message": "Hi"}, {"operationId": "op-1"}, ("start_ask", "c-1", "Hi")),
        ("speak", {"message": "Hi"}, {"success": True}, ("speak", "c-1", "Hi")),
        ("dtmf", {"digits": "12#"}, {"success": True}, ("dtmf", "c-1", "12#")),
        (
            "transfer",
            {"to": "+15550009999"},
            {"success": True},
            ("transfer", "c-1", "+15550009999"),
        ),
        ("end", {}, {"success": True}, ("end", "c-1")),
    ],
)
@pytest.mark.parametrize("call_id", ["c-1", "p-c-1"])
def test_a_call_is_acted_on_by_our_id_and_by_the_carriers(
    call_id: str, name: str, params: dict[str, str], result: object, asked: tuple[str, ...]
) -> None:
    calls = known()
    assert call(calls, name, callId=call_id, **params) == result
    assert calls.asked == [asked]


@pytest.mark.parametrize(
    ("operation_id", "result"),
    [
        ("op-1", {"status": "done", "transcript": "fine"}),
        ("op-2", {"status": "failed", "error": "call over"}),
        ("op-3", {"status": "pending"}),
    ],
)
def test_the_result_of_an_operation_holds_what_there_is(
    operation_id: str, result: dict[str, str]
) -> None:
    assert call(FakeCalls(), "continue.result", operationId=operation_id) == result


def test_status_finds_one_call_or_lists_the_live_ones() -> None:
    calls = known()
    calls.add(record("c-2", state=CallState.COMPLETED))
    assert call(calls, "status", callId="c-9") == {"found": False}
    for params in ({"callId": "c-2"}, {"sid": "p-c-2"}):
        assert call(calls, "status", **params) == {
            "found": True,
            "call": calls.records["c-2"].to_json(),
        }
    assert [entry["callId"] for entry in call(calls, "status")["calls"]] == ["c-1"]


@pytest.mark.parametrize(
    ("params", "asked"), [({}, "200"), ({"last": 3}, "3"), ({"last": "7"}, "7")]
)
def test_latencies_are_those_of_the_last_calls(params: dict[str, object], asked: str) -> None:
    calls = known()
    calls.add(record("c-2", metadata={"turns": [{"latencyMs": 640.0}]}))
    told = call(calls, "latency", **params)
    assert calls.asked == [("recent", asked)]
    assert (told["calls"], told["turns"]) == (2, 1)
    assert told["turnLatencyMs"]["p50"] == 640.0
