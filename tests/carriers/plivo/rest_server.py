"""A real HTTP server on loopback that answers like Plivo's, or misbehaves as told."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request is answered; `drop` and `hang` answer nothing."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    hang: bool = False

    def encode(self) -> bytes:
        """The response."""
        headers = {"Content-Length": str(len(self.body)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} X\r\n{lines}\r\n".encode() + self.body


def reply(status: int, **fields: Any) -> Reply:
    """An answer in JSON."""
    return Reply(status, orjson.dumps(fields))


class RestServer:
    """Answers requests with `replies` in their order, and the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = deque(replies)
        self.received: list[Received] = []
        self.arrived = asyncio.Semaphore(0)
        self.released = asyncio.Event()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    def seen(self) -> list[tuple[str, str]]:
        """Methods and paths, without what is the same in all of them."""
        return [
            (each.method, each.path.partition("/Account/")[2].partition("/")[2])
            for each in self.received
        ]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                self.arrived.release()
                answer = self._replies[0] if len(self._replies) == 1 else self._replies.popleft()
                if answer.hang:
                    await self.released.wait()
                if answer.drop:
                    writer.transport.abort()
                    return
                writer.write(answer.encode())
                await writer.drain()
        except ConnectionError:
            return
        finally:
            del self._connections[task]
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ")
    return Received(method, path, headers, orjson.loads(body) if body else None)
