"""A small HTTP/1.1 server that can also fail as networks do.

Servers made for use do not let their application reset a connection or leave a request unanswered;
a simulated carrier has to.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import parse_qs, unquote

import h11

from voicecall.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_log = logging.getLogger("voicecall.simulator")

_HOST = "127.0.0.1"
_MAX_CONNECTIONS = 1000
_MAX_HEAD_OCTETS = 64 * 1024
_MAX_BODY_OCTETS = 4 * 1024 * 1024
_READ_OCTETS = 64 * 1024
_IDLE_S = 120.0
# On, and nothing may linger: closing resets the connection.
_RESET = struct.pack("ii", 1, 0)
_BODYLESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as received.

    Attributes:
        method: upper case.
        path: as on the request line, still percent-encoded, without the query.
        query: what follows the question mark; empty without one.
        headers: lower-case names; of repeated ones the last.
        body: raw octets.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts, decoded; a trailing slash makes no part of its own."""
        return tuple(unquote(part) for part in self.path.split("/") if part)

    def form(self) -> dict[str, list[str]]:
        """The form-encoded body: each name's values in order."""
        return parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def arguments(self) -> dict[str, list[str]]:
        """The query: each name's values in order."""
        return parse_qs(self.query, keep_blank_values=True)

    def json(self) -> dict[str, Any]:
        """The JSON object in the body; an empty one without a body.

        Raises:
            CodecError: the body is something else.
        """
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise CodecError("the body is not JSON") from error
        if not isinstance(value, dict):
            raise CodecError("the body is not a JSON object")
        return value

    def basic_auth(self) -> tuple[str, str] | None:
        """User and password of HTTP Basic authentication, or None. Source: RFC 7617."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (user, password) if colon else None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer.

    Attributes:
        status: 200 to 599.
        body: left out where HTTP allows none.
        content_type: of the body.
        headers: further ones.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Dropped(Exception):
    """Raised by a handler: reset the connection instead of answering."""


class Unanswered(Exception):
    """Raised by a handler: do not answer, and wait until the client goes away."""


Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]


class HttpServer:
    """Serves one handler on a free port of the loopback interface.

    A handler that is running when its client goes away is not cancelled, since a carrier also does
    what it was asked for by somebody who did not wait. Whatever else a handler raises is logged and
    answered with 500.

    Args:
        handler: makes the answers; requests of different connections run at the same time.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`.

        Raises:
            RuntimeError: the server does not run.
        """
        if self._listener is None:
            raise RuntimeError("the server does not run")
        return f"http://{_HOST}:{self._listener.getsockname()[1]}"

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            OSError: there is no port.
        """
        self._listener = socket.create_server((_HOST, 0), backlog=_MAX_CONNECTIONS)
        self._listener.setblocking(False)
        # Accepted by ourselves, as the event loop's servers forget a socket that arrives while they
        # are being closed.
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def close(self) -> None:
        """Stop serving and break what is connected; twice is harmless."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError as error:
            # It went away again, or there are no descriptors; either way it is the client's loss.
            _log.debug("a connection to the simulated carrier was not accepted", exc_info=error)
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return
        client.setblocking(False)
        connection = asyncio.create_task(self._serve(client))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # Not left to the task, which may be cancelled before it begins.
        connection.add_done_callback(lambda _: client.close())

    async def _serve(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client, limit=_READ_OCTETS)
        try:
            await _Connection(reader, writer, self._handler).run()
        except Dropped:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            _log.debug("a connection to the simulated carrier broke", exc_info=error)
        finally:
            writer.transport.abort()


class _Connection:
    """One client's connection: requests one after the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_OCTETS)

    async def run(self) -> None:
        """Serve until the client goes away or says it is done."""
        while (request := await self._next_request()) is not None:
            try:
                response = await self._answer(request)
            except Unanswered:
                await self._wait_for_end()
                return
            await self._send(request, response)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                break
            self._http.start_next_cycle()
        self._writer.close()
        await self._writer.wait_closed()

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self._handler(request)
        except (Dropped, Unanswered):
            raise
        except Exception:  # noqa: BLE001  (a request's boundary: the server goes on)
            _log.exception("the simulated carrier failed to answer")
            return HttpResponse(500, b"{}")

    async def _next_request(self) -> HttpRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        async with asyncio.timeout(_IDLE_S):
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    await self._read()
                elif isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > _MAX_BODY_OCTETS:
                        raise h11.RemoteProtocolError("the body is too large")
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    return _request(head, bytes(body))
                else:
                    return None

    async def _read(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self._writer.write(self._http.send(go_on) or b"")
        self._http.receive_data(await self._reader.read(_READ_OCTETS))

    async def _send(self, request: HttpRequest, response: HttpResponse) -> None:
        bare = response.status in _BODYLESS
        headers = list({"Date": formatdate(usegmt=True), **response.headers}.items())
        if not bare:
            headers.append(("Content-Type", response.content_type))
            headers.append(("Content-Length", str(len(response.body))))
        parts: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if response.body and not bare and request.method != "HEAD":
            parts.append(h11.Data(data=response.body))
        parts.append(h11.EndOfMessage())
        self._writer.write(b"".join(self._http.send(part) or b"" for part in parts))
        await self._writer.drain()

    async def _wait_for_end(self) -> None:
        async with asyncio.timeout(_IDLE_S):
            while await self._reader.read(_READ_OCTETS):
                pass


def _request(head: h11.Request, body: bytes) -> HttpRequest:
    path, _, query = head.target.decode("latin-1").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return HttpRequest(head.method.decode("latin-1"), path, query, headers, body)
