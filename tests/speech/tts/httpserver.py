"""An HTTP server whose responses are in the test's hands, octet by octet."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


@dataclass
class Exchange:
    """One request, and the means to answer it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def head(self, status: int = 200, kind: str = "audio/pcm", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {kind}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += ["transfer-encoding: chunked", "", ""]
        self.writer.write("\r\n".join(lines).encode())
        await self.writer.drain()

    async def chunk(self, octets: bytes) -> None:
        self.writer.write(f"{len(octets):x}\r\n".encode() + octets + b"\r\n")
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def refuse(self, status: int, body: object, **headers: str) -> None:
        await self.head(status, "application/json", **headers)
        await self.chunk(json.dumps(body).encode())
        await self.end()

    def cut(self) -> None:
        """Close the connection in the middle."""
        self.writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return first.split()[1], headers, json.loads(body)


@asynccontextmanager
async def serving(
    answer: Callable[[Exchange], Awaitable[None]],
) -> AsyncGenerator[str]:
    """A server that answers every request so; its origin."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while True:
                exchange = Exchange(*await _read(reader), writer)
                answering = asyncio.ensure_future(answer(exchange))
                leaving = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    exchange.gone.set()
                    await answering
                    return
                leaving.cancel()
                await asyncio.wait({leaving})
                answering.result()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)
        await server.wait_closed()


async def never(exchange: Exchange) -> None:
    """Take the request and say nothing, until the client leaves."""
    await exchange.gone.wait()
