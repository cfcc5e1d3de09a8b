from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from voicecall.errors import SpeechError
from voicecall.speech.realtime.sockets import Account, OpenAISocket, OpenAISockets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

pytestmark = pytest.mark.socket

KEY = "sk-very-secret"


def realtime(client: Any, options: Any) -> Any:
    return client.realtime.connect(model="m", websocket_connection_options=options)


def live(client: Any, options: Any) -> Any:
    return client.live.connect(websocket_connection_options=options)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def refuse(connection: ServerConnection, status: int) -> Any:
    return connection.respond(HTTPStatus(status), f"{KEY} is wrong")


@asynccontextmanager
async def served(
    handler: Callable[[ServerConnection], Awaitable[None]] = echo, status: int | None = None
) -> AsyncGenerator[OpenAISockets]:
    async def check(connection: ServerConnection, request: Any) -> Any:
        del request
        return None if status is None else await refuse(connection, status)

    async with serve(handler, "127.0.0.1", 0, process_request=check) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        sockets = OpenAISockets(Account(KEY, f"http://127.0.0.1:{port}/v1"), "the model")
        await sockets.prepare()
        try:
            yield sockets
        finally:
            await sockets.close()


@pytest.mark.parametrize("manager", [realtime, live])
def test_messages_pass_as_they_are(manager: Any) -> None:
    async def case() -> None:
        async with served() as sockets:
            socket = await sockets.dial(manager)
            await socket.send('{"type":"x"}')
            assert await socket.receive() == b'{"type":"x"}'
            await socket.close()
            await socket.close()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("status", "retryable"), [(401, False), (404, False), (429, True), (503, True)]
)
def test_a_refused_handshake_says_whether_another_may_succeed(status: int, retryable: bool) -> None:
    async def case() -> None:
        async with served(status=status) as sockets:
            with pytest.raises(SpeechError, match=str(status)) as caught:
                await sockets.dial(realtime)
            assert caught.value.status == status
            assert caught.value.retryable is retryable
            assert KEY not in str(caught.value)

    asyncio.run(case())


@pytest.mark.parametrize(
    ("code", "retryable"), [(1000, True), (1011, True), (1008, False), (4000, False)]
)
def test_a_closed_socket_says_whether_another_may_succeed(code: int, retryable: bool) -> None:
    async def close(connection: ServerConnection) -> None:
        await connection.close(code, "because")

    async def case() -> None:
        async with served(close) as sockets:
            socket = await sockets.dial(realtime)
            with pytest.raises(SpeechError, match=str(code)) as caught:
                await socket.receive()
            assert caught.value.retryable is retryable
            with pytest.raises(SpeechError):
                await socket.send("{}")

    asyncio.run(case())


def test_a_server_that_is_not_there_may_come_back() -> None:
    async def case() -> None:
        async with served() as sockets:
            pass
        sockets = OpenAISockets(Account(KEY, "http://127.0.0.1:1/v1"), "the model")
        with pytest.raises(SpeechError, match="connection to the model failed") as caught:
            await sockets.dial(realtime)
        assert caught.value.retryable
        await sockets.close()

    asyncio.run(case())


def test_a_handshake_that_stalls_is_given_up() -> None:
    async def case() -> None:
        accepted, left = asyncio.Event(), asyncio.Event()

        async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            left.set()

        server = await asyncio.start_server(stall, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        account = Account(KEY, f"http://127.0.0.1:{port}/v1", connect_timeout_ms=50)
        sockets = OpenAISockets(account, "the model")
        with pytest.raises(SpeechError, match="in time") as caught:
            await sockets.dial(realtime)
        assert accepted.is_set()
        assert caught.value.retryable
        await sockets.close()
        await left.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(case())


def test_the_key_is_not_shown() -> None:
    account = Account(KEY)
    assert KEY not in repr(account)
    assert KEY not in repr(replace(account, base_url="http://127.0.0.1/v1"))


def test_an_account_without_a_key_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    async def case() -> None:
        sockets = OpenAISockets(Account(""), "the model")
        with pytest.raises(SpeechError, match="account"):
            await sockets.prepare()

    asyncio.run(case())


def test_a_socket_that_does_not_close_in_order_is_left() -> None:
    class Stubborn:
        async def send_raw(self, data: bytes | str) -> None: ...

        async def recv_bytes(self) -> bytes:
            raise OSError

        async def close(self) -> None:
            raise OSError

    async def case() -> None:
        socket = OpenAISocket(Stubborn(), (OSError,), "the model")
        await socket.close()
        with pytest.raises(SpeechError):
            await socket.receive()

    asyncio.run(case())
