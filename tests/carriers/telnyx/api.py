"""A REST API on loopback that answers as it is told to, however badly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import uvloop

from voicecall.carriers.telnyx.markup import TelnyxSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

KEY = "KEY0123456789ABCDEF_secret"
CALL = "v3:call-control-id"
PLACED = {"data": {"call_control_id": CALL, "is_alive": False, "record_type": "call"}}
DONE = {"data": {"result": "ok"}}


def run(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await case()

    uvloop.run(bounded())


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """Answers requests one by one from `answers`, the last of them ever after.

    Attributes:
        answers: raw octets; None hangs until the end, b"" drops the connection.
        sent: what it received.
        arrived: set with each request.
    """

    answers: list[bytes | None] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def settings(self, **changes: Any) -> TelnyxSettings:
        return TelnyxSettings(
            **({"api_key": KEY, "connection_id": "42", "base_url": self.url} | changes)
        )

    def actions(self) -> list[str]:
        return [request.path.rpartition("/")[2] for request in self.sent]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _request(reader)) is not None:
                self.sent.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                self.arrived.set()
                if answer is None:
                    # Until the client gives up.
                    await reader.read()
                    return
                writer.write(answer)
                await writer.drain()
                if not answer or b"connection: close" in answer:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Sent | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Sent(method, path, headers, orjson.loads(body) if body else None)


def answer(body: object, status: int = 200, **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {"content-type": "application/json", "content-length": str(len(content)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content


def refusal(status: int, code: str = "", detail: str = "", **headers: str) -> bytes:
    error = {"code": code, "title": "No", "detail": detail}
    return answer({"errors": [error]}, status, **headers)


@asynccontextmanager
async def api(*answers: bytes | None) -> AsyncIterator[Api]:
    served = Api(list(answers))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()
