from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.fakes import BEARER, FakeCalls, record, run, services, serving
from voicecall.control.rpc import MAX_BATCH, RpcDispatcher, notification
from voicecall.errors import CarrierError

pytestmark = pytest.mark.socket


def known() -> FakeCalls:
    calls = FakeCalls()
    calls.add(record())
    return calls


def ask(message: object, calls: FakeCalls | None = None) -> Any:
    raw = message if isinstance(message, bytes) else orjson.dumps(message)
    answer = asyncio.run(RpcDispatcher(calls or known()).answer(raw))
    return None if answer is None else orjson.loads(answer)


def request(method: str = "voicecall.end", request_id: object = 1, **params: object) -> Any:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


@pytest.mark.parametrize("request_id", [1, -2.5, "a", None, 0, ""])
def test_a_response_carries_the_id_of_its_request(request_id: object) -> None:
    assert ask(request(request_id=request_id, callId="c-1")) == {
        "jsonrpc": "2.0",
        "result": {"success": True},
        "id": request_id,
    }


@pytest.mark.parametrize("message", [b"", b"{", b"\xff", b'{"jsonrpc": "2.0",}'])
def test_what_is_not_json_is_a_parse_error(message: bytes) -> None:
    answer = ask(message)
    assert (answer["error"]["code"], answer["id"]) == (-32700, None)


@pytest.mark.parametrize(
    "message",
    [
        1,
        "x",
        None,
        [],
        {},
        {"jsonrpc": "1.0", "id": 1, "method": "voicecall.status"},
        {"jsonrpc": "2.0", "id": 1, "method": 7},
        {"jsonrpc": "2.0", "id": {}, "method": "voicecall.status"},
        {"jsonrpc": "2.0", "id": True, "method": "voicecall.status"},
    ],
)
def test_what_is_no_request_is_an_invalid_request(message: object) -> None:
    assert ask(message)["error"]["code"] == -32600


def test_an_unknown_method_and_parameters_by_position_are_refused() -> None:
    assert ask(request("voicecall.fly"))["error"]["code"] == -32601
    listed = request() | {"params": ["c-1"]}
    assert ask(listed)["error"]["code"] == -32602


def test_parameters_may_be_left_out() -> None:
    answer = ask({"jsonrpc": "2.0", "id": 1, "method": "voicecall.status"}, FakeCalls())
    assert answer["result"] == {"calls": []}


def test_an_error_of_the_calls_says_what_and_about_which_call() -> None:
    error = ask(request(callId="c-9"))["error"]
    assert error["code"] == -32001
    assert error["message"] == "There is no such call."
    assert error["data"] == {"code": "unknown_call", "callId": "c-9"}


def test_a_carriers_own_code_reaches_the_client() -> None:
    calls = known()
    calls.fails_with = CarrierError("The carrier refused: not a valid number.", status=21211)
    error = ask(request("voicecall.initiate", message="Hi"), calls)["error"]
    assert error["data"] == {"code": "carrier_refused", "status": 21211, "retryable": False}


def test_an_unexpected_error_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    calls = known()
    calls.fails_with = RuntimeError("secret detail")
    error = ask(request(callId="c-1"), calls)["error"]
    assert error["code"] == -32603
    assert "secret" not in str(error)
    assert caplog.records[0].message == "rpc method failed"


def test_a_notification_is_carried_out_and_not_answered() -> None:
    calls = known()
    message = request(callId="c-1")
    del message["id"]
    assert ask(message, calls) is None
    assert calls.asked == [("end", "c-1")]
    message["params"] = {}
    assert ask(message, calls) is None


def test_a_batch_is_answered_in_order_without_its_notifications() -> None:
    calls = known()
    silent = request("voicecall.speak", callId="c-1", message="Hi")
    del silent["id"]
    batch = [request(request_id=1, callId="c-9"), silent, 7, request(request_id=2, callId="c-1")]
    answers = ask(batch, calls)
    assert [answer["id"] for answer in answers] == [1, None, 2]
    assert ["result" in answer for answer in answers] == [False, False, True]
    assert calls.asked == [("speak", "c-1", "Hi"), ("end", "c-1")]
    assert ask([silent], calls) is None


def test_a_batch_has_a_limit() -> None:
    calls = known()
    within = [request(request_id=n, callId="c-1") for n in range(MAX_BATCH)]
    assert len(ask(within, calls)) == MAX_BATCH
    calls.asked.clear()
    assert ask([*within, within[0]], calls)["error"]["code"] == -32600
    assert calls.asked == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["jsonrpc", "id", "method", "params", "callId", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(JSON | st.binary(max_size=50))
def test_nothing_a_client_sends_raises(message: object) -> None:
    answer = ask(message)
    for one in answer if isinstance(answer, list) else [answer] if answer else []:
        assert one["jsonrpc"] == "2.0"
        assert ("result" in one) != ("error" in one)


def test_a_notification_to_a_client_has_no_id() -> None:
    assert orjson.loads(notification("m", {"a": 1})) == {
        "jsonrpc": "2.0",
        "method": "m",
        "params": {"a": 1},
    }


def test_single_batch_and_notification_over_http() -> None:
    async def case() -> None:
        calls = known()
        async with serving(services(calls)) as served:
            answer = await served.http.post("/rpc", json=request(callId="c-1"), headers=BEARER)
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["result"] == {"success": True}
            answer = await served.http.post("/rpc", json=[request(callId="c-1")], headers=BEARER)
            assert [one["id"] for one in answer.json()] == [1]
            silent = {"jsonrpc": "2.0", "method": "voicecall.status"}
            answer = await served.http.post("/rpc", json=silent, headers=BEARER)
            assert (answer.status_code, answer.content) == (204, b"")
            answer = await served.http.post("/rpc", content=b" " * 1_048_577, headers=BEARER)
            assert answer.status_code == 413

    run(case)
