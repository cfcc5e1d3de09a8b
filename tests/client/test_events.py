"""Changes as they happen, over connections that break."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.control.fakes import TOKEN, FakeCalls, services
from tests.hosting import free_port, run
from voicecall.client.connection import Connection
from voicecall.client.events import Events
from voicecall.control.app import create_app
from voicecall.control.listen import ControlListener
from voicecall.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.socket


@asynccontextmanager
async def listening(port: int, token: str = TOKEN, **options: Any) -> AsyncIterator[Events]:
    connection = Connection(f"http://127.0.0.1:{port}", token, verify=True)
    events = Events(connection, timeout_s=10, **options)
    try:
        yield events
    finally:
        await events.aclose()
        await connection.aclose()


async def served(calls: FakeCalls, port: int) -> ControlListener:
    listener = ControlListener(create_app(services(calls)), "127.0.0.1", port)
    await listener.start()
    return listener


def change(kind: str, call_id: str = "c-1") -> dict[str, Any]:
    return {"type": kind, "timestamp": 1, "callId": call_id}


def test_a_server_that_comes_back_is_found_and_the_gap_is_told() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        first = await served(calls, port)
        async with listening(port) as events:
            await events.connect()
            await calls.subscribed.wait()
            calls.publish(change("call.ringing"))
            assert (await anext(events))["type"] == "call.ringing"
            await first.stop(grace_s=1)
            calls.subscribed.clear()
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0.1)
            second = await served(calls, port)
            gap = await waiting
            assert (gap["type"], gap["dropped"]) == ("gap", None)
            await calls.subscribed.wait()
            calls.publish(change("call.ended"))
            assert (await anext(events))["type"] == "call.ended"
            await events.aclose()
            await second.stop(grace_s=1)

    run(case())


def test_a_server_that_does_not_come_back_is_given_up() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port, reconnect_s=0.3) as events:
            await events.connect()
            await listener.stop(grace_s=1)
            with pytest.raises(RemoteError, match="no server answers"):
                await anext(events)

    run(case())


def test_a_server_that_falls_silent_is_left_and_asked_again() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port, silence_s=0.1) as events:
            gap = await anext(events)
            assert gap["type"] == "gap"
            await events.aclose()
        await listener.stop(grace_s=1)

    run(case())


def test_who_stops_waiting_loses_nothing() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port) as events:
            await events.connect()
            await calls.subscribed.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(events)
            calls.publish(change("call.ringing"))
            assert (await anext(events))["type"] == "call.ringing"
            await events.aclose()
            await events.aclose()
            assert await anext(events, None) is None
        await listener.stop(grace_s=1)

    run(case())


def test_one_call_alone_is_followed() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port, call_id="c-2") as events:
            await events.connect()
            await calls.subscribed.wait()
            calls.publish(change("call.ringing", "c-1"))
            calls.publish(change("call.answered", "c-2"))
            assert (await anext(events))["type"] == "call.answered"
            await events.aclose()
        await listener.stop(grace_s=1)

    run(case())


def test_what_breaks_lines_for_people_breaks_no_event() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port) as events:
            await events.connect()
            await calls.subscribed.wait()
            for text in (
                "one\u2028two\u2029three",
                "four\x85five",
                "six\nseven\r\x0b\x1c",
                "\U0001f4de",
            ):
                calls.publish({**change("call.speech"), "transcript": text})
                heard = await anext(events)
                assert (heard["type"], heard.get("transcript")) == ("call.speech", text)
            await events.aclose()
        await listener.stop(grace_s=1)

    run(case())


@pytest.mark.parametrize("pieces", [1, 7, 4096])
def test_events_may_arrive_in_pieces(pieces: int) -> None:
    first, second = change("call.ringing"), {**change("call.speech"), "transcript": "\u00fc" * 5000}
    stream = b": connected\n\n"
    for each in (first, second):
        stream += b"event: voicecall.event\ndata: " + orjson.dumps(each) + b"\n\n"

    async def case() -> None:
        async with streaming(stream, pieces) as port, listening(port) as events:
            assert [await anext(events), await anext(events)] == [first, second]

    run(case())


@pytest.mark.parametrize(
    "stream",
    [b"data: {\n\n", b"data: []\n\n", b'data: {"type": 1}\n\n', b"data: " + b"x" * (2**22 + 1)],
    ids=["no JSON", "no object", "no change", "a line without an end"],
)
def test_a_stream_of_something_else_is_left_and_asked_for_again(stream: bytes) -> None:
    async def case() -> None:
        async with streaming(stream, 65_536) as port, listening(port) as events:
            assert (await anext(events))["type"] == "gap"

    run(case())


@asynccontextmanager
async def streaming(stream: bytes, piece_octets: int) -> AsyncIterator[int]:
    """The port of a server that sends everybody this stream, in pieces, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        with suppress(ConnectionError):
            for begin in range(0, len(stream), piece_octets):
                writer.write(stream[begin : begin + piece_octets])
                await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_without_the_token_nothing_is_told() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port, token="another") as events:
            with pytest.raises(ConfigError, match=r"rpc\.token"):
                await anext(events)
        await listener.stop(grace_s=1)

    run(case())
