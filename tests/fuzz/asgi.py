"""Requests as octets, given to an ASGI application, whose answers have to be in order."""

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp

Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, taken apart as a server would.

    Attributes:
        method: as sent.
        target: path and query as sent.
        headers: in order, names in lower case.
        body: everything behind the first empty line.
        peer: the address it comes from.
    """

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    peer: str

    @property
    def raw_path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def path(self) -> str:
        return unquote_to_bytes(self.raw_path).decode("utf-8", "replace")

    @property
    def query(self) -> bytes:
        return self.target.partition(b"?")[2]

    def header(self, name: bytes) -> str | None:
        """A header's values, joined; None without one."""
        values = [value.decode("latin-1") for each, value in self.headers if each == name]
        return ", ".join(values) if values else None

    def scope(self, kind: str = "http") -> Message:
        return {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http" if kind == "http" else "ws",
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query,
            "root_path": "",
            "headers": list(self.headers),
            "client": (self.peer, 40000),
            "server": ("127.0.0.1", 3334),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }


def request_of(data: bytes, peer: str = "127.0.0.1") -> Request:
    """Read a request: its line, its headers, an empty line, its body. Broken lines are left out."""
    head, _, body = data.replace(b"\r\n", b"\n", 64).partition(b"\n\n")
    line, *rest = head.split(b"\n")
    method, target, *_ = [*line.split(b" "), b"", b""]
    headers = tuple(
        (name.strip().lower(), value.strip())
        for name, colon, value in (each.partition(b":") for each in rest)
        # An HTTP parser lets nothing else through: RFC 9110, section 5.
        if colon and name.strip().isascii() and not set(value) & {0, 13}
    )
    return Request(method.decode("latin-1"), target, headers, body, peer)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(app: ASGIApp, request: Request) -> Answer:
    """Send a request, its body in two pieces; the answer must be a whole one, sent once."""
    middle = len(request.body) // 2
    pieces = [(request.body[:middle], True), (request.body[middle:], False)]
    sent: list[Message] = []

    async def receive() -> Message:
        if not pieces:
            # The client stays and has nothing more to say.
            await asyncio.Event().wait()
        body, more = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(request.scope(), receive, send)
    return _answer(sent)


def _answer(sent: list[Message]) -> Answer:
    assert sent, "no answer at all"
    start, *bodies = sent
    assert start["type"] == "http.response.start", sent
    assert bodies, "an answer without an end"
    assert all(each["type"] == "http.response.body" for each in bodies), sent
    assert [each.get("more_body", False) for each in bodies] == [True] * (len(bodies) - 1) + [False]
    for name, value in start["headers"]:
        assert not set(name + value) & {0, 10, 13}, "a header that is two"
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(each.get("body", b"") for each in bodies))


class Socket:
    """The client of one WebSocket that an ASGI application serves."""

    def __init__(self, app: ASGIApp, request: Request) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message | None] = asyncio.Queue()
        self._over = False
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._serving = asyncio.create_task(self._serve(app, request.scope("websocket")))

    async def _serve(self, app: ASGIApp, scope: Message) -> None:
        try:
            await app(scope, self._incoming.get, self._take)
        finally:
            self._outgoing.put_nowait(None)

    async def _take(self, message: Message) -> None:
        if self._over:
            # What an ASGI server does once the client is gone.
            raise OSError("the client is gone")
        self._outgoing.put_nowait(message)

    def say(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        self._incoming.put_nowait({"type": "websocket.receive", kind: message})

    async def hear(self) -> Message | None:
        """The next message; None once the application has ended."""
        return await self._outgoing.get()

    async def leave(self) -> None:
        """Go away without a word; the application has to notice and end."""
        self._over = True
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await self._serving
