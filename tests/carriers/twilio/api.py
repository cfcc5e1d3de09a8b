"""Twilio's REST API on loopback, answering as it is told to, however badly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
import uvloop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

ACCOUNT = "AC" + "a" * 32
TOKEN = "0123456789abcdef0123456789abcdef"
CALL = "CA" + "c" * 32
PLACED = {"sid": CALL, "status": "queued", "direction": "outbound-api"}


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
    form: dict[str, list[str]]


@dataclass
class Api:
    """Answers requests one by one from `answers`, with the last of them ever after.

    Attributes:
        answers: raw octets; None hangs until the end, b"" drops the connection.
        sent: what it received.
        arrived: set with each request.
    """

    answers: list[bytes | None] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (sent := await _request(reader)) is not None:
                self.sent.append(sent)
                self.arrived.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    await reader.read()
                    return
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Sent | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Sent(method, path, headers, parse_qs(body.decode(), keep_blank_values=True))


def answer(status: int, body: object, **headers: str) -> bytes:
    """An HTTP answer; `body` is JSON unless it is octets."""
    octets = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(octets)}"]
    lines += ["Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + octets


def refusal(status: int, code: int, message: str = "no", **headers: str) -> bytes:
    """An error as Twilio words it."""
    body = {"code": code, "message": message, "status": status, "more_info": "…"}
    return answer(status, body, **headers)


@asynccontextmanager
async def api(*answers: bytes | None) -> AsyncIterator[Api]:
    """An API that listens."""
    double = Api(list(answers))
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0)
    double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        await server.wait_closed()
