"""Changes as they happen, over connections that break."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

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


def test_without_the_token_nothing_is_told() -> None:
    async def case() -> None:
        calls, port = FakeCalls(), free_port()
        listener = await served(calls, port)
        async with listening(port, token="another") as events:
            with pytest.raises(ConfigError, match=r"rpc\.token"):
                await anext(events)
        await listener.stop(grace_s=1)

    run(case())
