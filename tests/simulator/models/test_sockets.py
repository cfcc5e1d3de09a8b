from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from voicecall.control.listen import ControlListener
from voicecall.simulator.models.sockets import GOING_AWAY, Sockets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Receive, Scope, Send

pytestmark = pytest.mark.socket


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncGenerator[tuple[Sockets, str]]:
    sockets = Sockets(app)
    listener = ControlListener(sockets, "127.0.0.1", 0)
    await listener.start()
    try:
        async with asyncio.timeout(20):
            yield sockets, f"ws://127.0.0.1:{listener.port}/"
    finally:
        await listener.stop(0.2)


async def accepted(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    await accepted(receive, send)
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})


async def closed_with(connection: Any) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    return closed.value.rcvd.code if closed.value.rcvd is not None else None


def test_messages_pass_both_ways_in_order() -> None:
    async def case() -> None:
        async with serving(echo) as (_, url), connect(url) as connection:
            for number in range(200):
                await connection.send(str(number))
            assert [await connection.recv() for _ in range(200)] == [str(n) for n in range(200)]

    asyncio.run(case())


@pytest.mark.parametrize("sends", [False, True])
def test_a_socket_is_closed_while_it_is_received_from(sends: bool) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        receiving = asyncio.create_task(_forever(receive))
        await asyncio.sleep(0)
        await send({"type": "websocket.close", "code": 4321, "reason": "so"})
        receiving.cancel()
        await asyncio.wait({receiving})

    async def case() -> None:
        async with serving(app) as (_, url), connect(url) as connection:
            if sends:
                await connection.send("x" * 1000)
            assert await closed_with(connection) == 4321

    asyncio.run(case())


def test_all_sockets_end_when_the_server_stops() -> None:
    async def case() -> None:
        async with serving(echo) as (sockets, url):
            async with connect(url) as one, connect(url) as other:
                for connection in (one, other):
                    await connection.send("hello")
                    assert await connection.recv() == "hello"
                await sockets.stop(5)
                assert await closed_with(one) == GOING_AWAY
                assert await closed_with(other) == GOING_AWAY
            await sockets.stop(5)

    asyncio.run(case())


def test_an_application_that_does_not_look_is_not_waited_for() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        await send({"type": "websocket.send", "text": "ready"})
        await asyncio.get_running_loop().create_future()

    async def case() -> None:
        async with (
            serving(app) as (sockets, url),
            connect(url, close_timeout=0.1) as connection,
        ):
            await connection.recv()
            await sockets.stop(0.01)

    asyncio.run(case())


async def _forever(receive: Receive) -> None:
    while True:
        await receive()
