from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import websockets
from starlette.exceptions import HTTPException

from tests.control.fakes import BEARER, FakeCalls, Served, record, run, services, serving, until
from voicecall.control import events
from voicecall.control.events import Clients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.socket

CHANGE = {"type": "call.ringing", "callId": "c-1", "timestamp": 1}


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[websockets.ClientConnection]:
    url = f"ws://127.0.0.1:{served.port}/rpc/ws"
    async with websockets.connect(url, additional_headers=BEARER, proxy=None) as socket:
        yield socket


async def within(seconds: float, waited: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await waited


def status_request(request_id: int = 1) -> str:
    body = {"jsonrpc": "2.0", "id": request_id, "method": "voicecall.status"}
    return orjson.dumps(body).decode()


def test_changes_are_streamed_as_server_sent_events() -> None:
    async def case() -> None:
        calls = FakeCalls()
        async with (
            serving(services(calls)) as served,
            served.http.stream("GET", "/events", headers=BEARER) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await within(2, anext(lines)) == ": connected"
            await within(2, calls.subscribed.wait())
            calls.publish(CHANGE)
            assert await within(2, anext(lines)) == ""
            assert await within(2, anext(lines)) == "event: voicecall.event"
            data = await within(2, anext(lines))
            assert orjson.loads(data.removeprefix("data: ")) == CHANGE

    run(case)


def test_a_silent_stream_has_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    init = events.EventStream.__init__
    monkeypatch.setattr(init, "__kwdefaults__", {"heartbeat_s": 0.02})

    async def case() -> None:
        async with (
            serving(services()) as served,
            served.http.stream("GET", "/events", headers=BEARER) as answer,
        ):
            lines = answer.aiter_lines()
            seen = [await within(2, anext(lines)) for _ in range(7)]
            assert seen[::2] == [": connected", ": alive", ": alive", ": alive"]

    run(case)


def test_a_change_that_comes_after_heartbeats_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    init = events.EventStream.__init__
    monkeypatch.setattr(init, "__kwdefaults__", {"heartbeat_s": 0.02})

    async def case() -> None:
        calls = FakeCalls()
        async with (
            serving(services(calls)) as served,
            served.http.stream("GET", "/events", headers=BEARER) as answer,
        ):
            lines = answer.aiter_lines()
            while await within(2, anext(lines)) != ": alive":
                pass
            calls.publish(CHANGE)
            while await within(2, anext(lines)) != "event: voicecall.event":
                pass

    run(case)


def test_a_client_that_leaves_is_unsubscribed() -> None:
    async def case() -> None:
        calls = FakeCalls()
        async with serving(services(calls)) as served:
            async with served.http.stream("GET", "/events", headers=BEARER):
                await within(2, calls.subscribed.wait())
            await within(2, calls.unsubscribed.wait())
            assert calls.subscribers == set()

    run(case)


def test_streams_end_when_there_are_no_more_changes() -> None:
    async def case() -> None:
        calls = FakeCalls()
        async with (
            serving(services(calls)) as served,
            connected(served) as socket,
            served.http.stream("GET", "/events", headers=BEARER) as answer,
        ):
            lines = answer.aiter_lines()
            assert await within(2, anext(lines)) == ": connected"

            async def both_subscribed() -> bool:
                return len(calls.subscribers) == 2

            await until(both_subscribed)
            calls.publish(None)
            assert [line async for line in lines] == [""]
            await within(2, socket.wait_closed())
            assert socket.close_code == 1001

    run(case)


def test_streams_and_sockets_end_at_once_when_the_server_stops() -> None:
    async def case() -> None:
        calls = FakeCalls()
        async with (
            serving(services(calls)) as served,
            connected(served) as socket,
            served.http.stream("GET", "/events", headers=BEARER) as answer,
        ):
            lines = answer.aiter_lines()
            await within(2, anext(lines))
            await within(2, served.listener.stop(grace_s=60))
            assert [line async for line in lines] == [""]
            await within(2, socket.wait_closed())
            assert socket.close_code == 1001
        assert calls.subscribers == set()

    run(case)


def test_clients_beyond_the_limit_are_refused() -> None:
    clients = Clients(limit=1)
    with clients.one():
        with pytest.raises(HTTPException) as refusal, clients.one():
            pass
        assert refusal.value.status_code == 503
        assert len(clients) == 1
    assert len(clients) == 0


def test_too_many_streams_and_sockets_get_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clients.__init__, "__defaults__", (1,))

    async def case() -> None:
        async with serving(services()) as served, connected(served):
            answer = await served.http.get("/events", headers=BEARER)
            assert answer.status_code == 503
            with pytest.raises(websockets.InvalidStatus) as refusal:
                async with connected(served):
                    pass
            assert refusal.value.response.status_code == 503

    run(case)


def test_a_socket_without_the_token_is_refused_at_the_upgrade() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            with pytest.raises(websockets.InvalidStatus) as refusal:
                await websockets.connect(f"ws://127.0.0.1:{served.port}/rpc/ws", proxy=None)
            assert refusal.value.response.status_code == 401

    run(case)


def test_a_socket_carries_requests_and_changes() -> None:
    async def case() -> None:
        calls = FakeCalls()
        calls.add(record())
        async with serving(services(calls)) as served, connected(served) as socket:
            await socket.send(status_request())
            answer = orjson.loads(await within(2, socket.recv()))
            assert [call["callId"] for call in answer["result"]["calls"]] == ["c-1"]
            await within(2, calls.subscribed.wait())
            calls.publish(CHANGE)
            told = orjson.loads(await within(2, socket.recv()))
            assert told == {"jsonrpc": "2.0", "method": "voicecall.event", "params": CHANGE}

    run(case)


def test_a_request_that_waits_does_not_hold_up_the_next() -> None:
    class Waiting(FakeCalls):
        async def ask(self, call_id: str, message: str) -> str:
            await heard.wait()
            return "at last"

    heard = asyncio.Event()

    async def case() -> None:
        async with serving(services(Waiting())) as served, connected(served) as socket:
            params = {"callId": "c-1", "message": "Hi"}
            body = {"jsonrpc": "2.0", "id": 1, "method": "voicecall.continue", "params": params}
            await socket.send(orjson.dumps(body).decode())
            await socket.send(status_request(2))
            assert orjson.loads(await within(2, socket.recv()))["id"] == 2
            heard.set()
            assert orjson.loads(await within(2, socket.recv()))["id"] == 1

    run(case)


def test_a_request_is_finished_although_its_client_left() -> None:
    class Slow(FakeCalls):
        async def end(self, call_id: str) -> None:
            begun.set()
            await may_end.wait()
            await super().end(call_id)
            ended.set()

    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def case() -> None:
        calls = Slow()
        calls.add(record())
        async with serving(services(calls)) as served:
            async with connected(served) as socket:
                body = {"jsonrpc": "2.0", "id": 1, "method": "voicecall.end"}
                await socket.send(orjson.dumps(body | {"params": {"callId": "c-1"}}).decode())
                await within(2, begun.wait())
            may_end.set()
            await within(2, ended.wait())
            await within(2, calls.unsubscribed.wait())

    run(case)


@pytest.mark.parametrize(("message", "code"), [(b"binary", 1003), ("x" * 1_048_577, 1009)])
def test_a_message_that_is_not_taken_closes_the_socket(message: bytes | str, code: int) -> None:
    async def case() -> None:
        async with serving(services()) as served, connected(served) as socket:
            await socket.send(message)
            await within(2, socket.wait_closed())
            assert socket.close_code == code

    run(case)


def test_a_request_in_progress_is_answered_although_there_are_no_more_changes() -> None:
    class Slow(FakeCalls):
        async def end(self, call_id: str) -> None:
            begun.set()
            await may_end.wait()

    begun, may_end = asyncio.Event(), asyncio.Event()

    async def case() -> None:
        calls = Slow()
        async with serving(services(calls)) as served, connected(served) as socket:
            body = {"jsonrpc": "2.0", "id": 1, "method": "voicecall.end"}
            await socket.send(orjson.dumps(body | {"params": {"callId": "c-1"}}).decode())
            await within(2, begun.wait())
            calls.publish(None)
            await within(2, calls.unsubscribed.wait())
            may_end.set()
            assert orjson.loads(await within(2, socket.recv()))["id"] == 1
            await within(2, socket.wait_closed())
            assert socket.close_code == 1001

    run(case)


@pytest.mark.parametrize(
    "upgrade",
    [
        "GET /events HTTP/1.1\r\n",
        "GET /rpc/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
def test_a_client_that_does_not_read_is_given_up(
    upgrade: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SEND_TIMEOUT_S", 0.1)

    async def case() -> None:
        calls = FakeCalls()
        async with serving(services(calls)) as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
            bearer = f"Authorization: {BEARER['Authorization']}"
            writer.write(f"{upgrade}Host: test\r\n{bearer}\r\n\r\n".encode())
            await within(2, calls.subscribed.wait())
            try:
                for _ in range(200):
                    calls.publish(CHANGE | {"text": "x" * 100_000})
                await within(5, calls.unsubscribed.wait())
            finally:
                writer.transport.abort()

    run(case)
