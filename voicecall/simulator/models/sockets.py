"""WebSockets of an ASGI application: closed at any time, and all of them when the server stops.

granian 2.8 does not send a close while somebody waits to receive, and a client usually is being
received from. So one task for each socket receives, which is stopped before a close is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

GOING_AWAY = 1001  # RFC 6455, section 7.4.1

# What the application has not looked at; beyond it the client is not read from.
_MAX_WAITING = 64


class Sockets:
    """Serves an application's requests, and knows its open WebSockets.

    Args:
        app: what serves both.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[_Socket, asyncio.Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        socket = _Socket(receive, send)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open[socket] = ended
        try:
            await self._app(scope, socket.receive, socket.send)
            await socket.finish()
        finally:
            socket.abandon()
            del self._open[socket]
            ended.set_result(None)

    async def stop(self, grace_s: float) -> None:
        """End every socket with `GOING_AWAY`; to the application it seems that the client left.

        Args:
            grace_s: how long the application may take to see it.
        """
        for socket in self._open:
            socket.go_away()
        if self._open:
            await asyncio.wait(tuple(self._open.values()), timeout=grace_s)


class _Socket:
    """One WebSocket.

    Args:
        receive: from the client.
        send: to it.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(_MAX_WAITING)
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self._leaving = asyncio.Event()
        self._closed = False

    async def receive(self) -> Message:
        """The client's next message, or that it has left."""
        if self._leaving.is_set():
            return {"type": "websocket.disconnect", "code": GOING_AWAY}
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        """Send to the client; nobody receives any more once a close is sent."""
        if message["type"] == "websocket.close":
            self._closed = True
            self._reader.cancel()
            await asyncio.wait({self._reader})
        await self._send(message)

    def go_away(self) -> None:
        """End it; messages that wait to be looked at are lost."""
        self._leaving.set()
        while not self._inbox.empty():
            self._inbox.get_nowait()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": GOING_AWAY})

    async def finish(self) -> None:
        """The application has done with it: close it if that is what ended it."""
        if self._leaving.is_set() and not self._closed:
            await self.send({"type": "websocket.close", "code": GOING_AWAY})

    def abandon(self) -> None:
        """Receive no more."""
        self._reader.cancel()

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            await self._inbox.put(message)
            if message["type"] == "websocket.disconnect":
                self._closed = True
                return
