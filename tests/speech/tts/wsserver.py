"""A WebSocket server whose connections are in the test's hands."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from websockets.http11 import Request, Response

PATIENCE_S = 5


class Peer:
    """One client's connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    @property
    def path(self) -> str:
        assert self._connection.request is not None
        return self._connection.request.path

    @property
    def headers(self) -> Any:
        assert self._connection.request is not None
        return self._connection.request.headers

    async def say(self, **message: Any) -> None:
        await self._connection.send(json.dumps(message))

    async def hears(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self._connection.recv())
        return message

    async def close(self, code: int = 1011, reason: str = "as planned") -> None:
        await self._connection.close(code, reason)

    async def left(self) -> None:
        """Wait until the client has closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            await self._connection.wait_closed()


class Peers:
    """A server's clients, in the order they came.

    Attributes:
        origin: where the server is, without a scheme.
        refusal: how handshakes are answered instead: a status and a body.
    """

    def __init__(self) -> None:
        self.origin = ""
        self.refusal: tuple[int, object] | None = None
        self._queue: asyncio.Queue[Peer] = asyncio.Queue()

    async def next(self) -> Peer:
        async with asyncio.timeout(PATIENCE_S):
            return await self._queue.get()

    async def take(self, connection: ServerConnection) -> None:
        self._queue.put_nowait(Peer(connection))
        await connection.wait_closed()

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        del request
        if self.refusal is None:
            return None
        status, body = self.refusal
        return connection.respond(HTTPStatus(status), json.dumps(body))


@asynccontextmanager
async def serving() -> AsyncGenerator[Peers]:
    peers = Peers()
    async with serve(peers.take, "127.0.0.1", 0, process_request=peers.check) as server:
        peers.origin = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield peers
