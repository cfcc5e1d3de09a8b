"""Changes to calls as they happen: server-sent events, and JSON-RPC over a WebSocket.

Each client has a subscription of its own, bounded where the changes come from (the oldest is
dropped, and the client is told by a `gap`). Writing to a client waits for it to read, so a slow
one loses changes and costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from voicecall.control.rpc import RpcDispatcher, notification

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from voicecall.control.auth import BearerAuth
    from voicecall.control.services import Calls

EVENT_METHOD = "voicecall.event"
MAX_CLIENTS = 64
MAX_REQUESTS_PER_SOCKET = 16
MAX_MESSAGE_OCTETS = 1024 * 1024
# Below the minute after which common proxies give up on a silent response.
HEARTBEAT_S = 15.0
SEND_TIMEOUT_S = 10.0
# RFC 6455, section 7.4.1.
_NORMAL_CLOSURE = 1000
_GOING_AWAY = 1001
_UNSUPPORTED_DATA = 1003
_MESSAGE_TOO_BIG = 1009

logger = logging.getLogger("voicecall.control")


class Clients:
    """Counts clients that stay connected. Overflow: refused with 503.

    Args:
        limit: how many there may be.
    """

    def __init__(self, limit: int = MAX_CLIENTS) -> None:
        self._limit = limit
        self._connected = 0

    def __len__(self) -> int:
        return self._connected

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a client while it is connected.

        Raises:
            HTTPException: 503, there are too many.
        """
        if self._connected >= self._limit:
            raise HTTPException(503, headers={"retry-after": "5"})
        self._connected += 1
        try:
            yield
        finally:
            self._connected -= 1


class EventStream:
    """`GET /events`: every change as a server-sent event named `voicecall.event`.

    With `?callId=`, ours or the carrier's, only what happens to that call, and every `gap`.

    Args:
        calls: where changes come from.
        clients: the limit shared with sockets.
        heartbeat_s: the longest silence; a comment is sent instead.
    """

    def __init__(self, calls: Calls, clients: Clients, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._calls = calls
        self._clients = clients
        self._heartbeat_s = heartbeat_s

    async def sse(self, request: Request) -> Response:
        """Stream until the client goes away or the server stops."""
        lines = self._lines(request.query_params.get("callId"))
        # The first line also takes the client's place, so that a refusal is still a plain 503.
        first = await anext(lines)
        return _EventResponse(first, lines)

    async def _lines(self, call_id: str | None) -> AsyncGenerator[bytes, None]:
        with self._clients.one():
            async with aclosing(self._calls.subscribe()) as changes:
                yield b": connected\n\n"
                async for change in _with_heartbeats(changes, self._heartbeat_s):
                    if change is None:
                        yield b": alive\n\n"
                    elif _concerns(change, call_id):
                        yield _event(change)


class _EventResponse(StreamingResponse):
    """Streams `lines`; gives up on a client that does not read instead of waiting for ever."""

    def __init__(self, first: bytes, lines: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            _chain(first, lines),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def timely(message: Message) -> None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send(message)

        # Starlette leaves the iterator as it is when sending fails; its client would stay counted.
        async with aclosing(self._lines):
            try:
                await super().__call__(scope, receive, timely)
            except TimeoutError:
                logger.info("event client does not read")


class RpcSocket:
    """`GET /rpc/ws`: JSON-RPC both ways, and a `voicecall.event` notification for every change.

    Args:
        dispatcher: answers requests.
        calls: where changes come from.
        auth: admits clients, before the WebSocket is accepted.
        clients: the limit shared with event streams.
    """

    def __init__(
        self, dispatcher: RpcDispatcher, calls: Calls, auth: BearerAuth, clients: Clients
    ) -> None:
        self._dispatcher = dispatcher
        self._calls = calls
        self._auth = auth
        self._clients = clients

    async def serve(self, socket: WebSocket) -> None:
        """Serve one WebSocket from its upgrade to its end."""
        if not self._auth.admits(socket.headers):
            await socket.send_denial_response(
                PlainTextResponse("Unauthorized", 401, headers={"WWW-Authenticate": "Bearer"})
            )
            return
        try:
            with self._clients.one():
                await socket.accept()
                async with aclosing(self._calls.subscribe()) as changes:
                    await _Session(socket, self._dispatcher).run(changes)
        except HTTPException as refusal:
            await socket.send_denial_response(PlainTextResponse(refusal.detail, 503))


class _Session:
    """One connected WebSocket. At most 16 requests run at once; further ones wait unread."""

    def __init__(self, socket: WebSocket, dispatcher: RpcDispatcher) -> None:
        self._socket = socket
        self._dispatcher = dispatcher
        self._free = asyncio.Semaphore(MAX_REQUESTS_PER_SOCKET)
        self._sending = asyncio.Lock()
        self._over = asyncio.Event()

    async def run(self, changes: AsyncIterator[Mapping[str, Any]]) -> None:
        """Serve until the client is gone, does not read, or there are no more changes.

        Requests already accepted are finished and, where somebody is left to be told, answered:
        a call being placed is not undone by a lost connection.
        """
        async with asyncio.TaskGroup() as requests:
            reader = asyncio.create_task(self._read(requests))
            forwarder = asyncio.create_task(self._forward(changes))
            parts = {reader, forwarder, asyncio.create_task(self._lost())}
            try:
                ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                no_more = forwarder in ended and forwarder.exception() is None
                if not no_more:
                    self._over.set()
            finally:
                for task in parts:
                    task.cancel()
                outcomes = await asyncio.gather(*parts, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, _Gone):
                raise outcome
        if no_more:
            await self._close(_GOING_AWAY, "No more events")

    async def _read(self, requests: asyncio.TaskGroup) -> None:
        while True:
            await self._free.acquire()
            try:
                message = await self._socket.receive_text()
            except WebSocketDisconnect as error:
                # Also lets the closing handshake end now, not when the last request has.
                await self._close(_NORMAL_CLOSURE, "")
                raise _Gone from error
            except KeyError as error:
                await self._close(_UNSUPPORTED_DATA, "Text messages only")
                raise _Gone from error
            if len(message) > MAX_MESSAGE_OCTETS:
                await self._close(_MESSAGE_TOO_BIG, "Message too big")
                raise _Gone
            requests.create_task(self._answer(message))

    async def _answer(self, message: str) -> None:
        try:
            response = await self._dispatcher.answer(message)
            if response is not None:
                await self._send(response)
        except _Gone:
            logger.debug("response to a client that is gone")
        finally:
            self._free.release()

    async def _forward(self, changes: AsyncIterator[Mapping[str, Any]]) -> None:
        async for change in changes:
            await self._send(notification(EVENT_METHOD, change))

    async def _lost(self) -> None:
        await self._over.wait()
        raise _Gone

    async def _send(self, message: bytes) -> None:
        if self._over.is_set():
            raise _Gone
        try:
            async with self._sending, asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_text(message.decode())
        except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
            # Starlette's word for writing to a closed socket is RuntimeError.
            self._over.set()
            raise _Gone from error

    async def _close(self, code: int, reason: str) -> None:
        # The client may have closed, or left, a moment ago.
        with suppress(RuntimeError, TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.close(code, reason)


class _Gone(Exception):
    """The client left, or does not read what it is sent."""


async def _with_heartbeats(
    changes: AsyncIterator[Mapping[str, Any]], every_s: float
) -> AsyncGenerator[Mapping[str, Any] | None, None]:
    """`changes`, and None whenever there was none for `every_s`."""
    pending: asyncio.Task[Mapping[str, Any] | None] | None = None
    try:
        while True:
            pending = pending or asyncio.create_task(_next(changes))
            done, _ = await asyncio.wait({pending}, timeout=every_s)
            if not done:
                yield None
                continue
            change = pending.result()
            pending = None
            if change is None:
                return
            yield change
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)


async def _next(changes: AsyncIterator[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    # A task must not end with StopAsyncIteration, so the end is None.
    return await anext(changes, None)


async def _chain(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    yield first
    async for line in rest:
        yield line


def _concerns(change: Mapping[str, Any], call_id: str | None) -> bool:
    # What is missing may have been about any call.
    ids = {change.get("callId"), change.get("providerCallId")}
    return not call_id or call_id in ids or ids == {None}


def _event(change: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (EVENT_METHOD.encode(), orjson.dumps(change))
