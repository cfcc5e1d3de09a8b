"""Sockets to services: opened, used, refused, broken; all of it against a real server."""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.speech.websocket import ServiceAddress, ServiceSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

serving = pytest.importorskip("websockets.asyncio.server")

pytestmark = pytest.mark.socket

KEY = {"authorization": "Token secret"}


def explained(error: Exception) -> SpeechError:
    return SpeechError(f"explained: {type(error).__name__}", retryable=True)


@asynccontextmanager
async def opened(
    behave: Callable[[ServerConnection], Awaitable[None]], max_message_octets: int = 1024
) -> AsyncIterator[ServiceSocket]:
    """A socket to a server that lets in only who has the key."""

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("authorization") == "Token secret":
            return None
        return connection.respond(HTTPStatus.FORBIDDEN, "who are you?")

    async with serving.serve(behave, "127.0.0.1", 0, process_request=admit) as server:
        port = server.sockets[0].getsockname()[1]
        address = ServiceAddress(
            f"ws://127.0.0.1:{port}",
            KEY,
            explained,
            extra="deepgram",
            max_message_octets=max_message_octets,
        )
        socket = await address.open()
        try:
            yield socket
        finally:
            await socket.close()
        stranger = ServiceAddress(
            address.url, {}, explained, extra="deepgram", max_message_octets=1024
        )
        with pytest.raises(SpeechError, match="explained: InvalidStatus") as refused:
            await stranger.open()
        # What came with it may hold the key.
        assert refused.value.__cause__ is None


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def hang_up(connection: ServerConnection) -> None:
    await connection.close(1011, "a reason that nobody is told")


def test_messages_go_both_ways_and_come_as_octets() -> None:
    async def case() -> None:
        async with asyncio.timeout(20), opened(echo) as socket:
            await socket.send("text")
            await socket.send(b"octets")
            assert [await socket.receive(), await socket.receive()] == [b"text", b"octets"]

    asyncio.run(case())


def test_a_socket_that_is_closed_there_fails_in_our_terms_without_theirs() -> None:
    async def case() -> None:
        async with asyncio.timeout(20), opened(hang_up) as socket:
            with pytest.raises(SpeechError, match=r"^explained: ConnectionClosedError$") as broken:
                await socket.receive()
            assert broken.value.__cause__ is None
            with pytest.raises(SpeechError, match=r"^explained: ConnectionClosedError$"):
                await socket.send("anybody?")

    asyncio.run(case())


def test_a_message_beyond_the_bound_breaks_the_socket() -> None:
    async def case() -> None:
        async with asyncio.timeout(20), opened(echo, max_message_octets=8) as socket:
            await socket.send("x" * 9)
            with pytest.raises(SpeechError):
                await socket.receive()

    asyncio.run(case())


def test_nobody_there_is_told_in_our_terms() -> None:
    async def case() -> None:
        address = ServiceAddress(
            "ws://127.0.0.1:9", KEY, explained, extra="deepgram", max_message_octets=8
        )
        with pytest.raises(SpeechError, match="explained: ConnectionRefusedError"):
            await address.open()

    asyncio.run(case())


def test_certificates_are_read_once_and_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    create = ssl.create_default_context

    def noted() -> ssl.SSLContext:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            made.append(True)
        else:
            made.append(False)
        return create()

    monkeypatch.setattr("ssl.create_default_context", noted)

    async def case() -> None:
        address = ServiceAddress(
            "wss://127.0.0.1:9", KEY, explained, extra="deepgram", max_message_octets=8
        )
        await asyncio.gather(address.prepare(), address.prepare())
        assert made == [True]

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)

    async def case() -> None:
        address = ServiceAddress(
            "ws://127.0.0.1:9", KEY, explained, extra="elevenlabs", max_message_octets=8
        )
        with pytest.raises(DependencyMissing, match=r"voicecall\[elevenlabs\]"):
            await address.open()

    asyncio.run(case())
