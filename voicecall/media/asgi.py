"""Media sockets over ASGI, for deployments with a single port; behaves as the media port does."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from voicecall._codec import CallableOutlet
from voicecall.media.admission import Refusal
from voicecall.media.leg import (
    CLOSE_GRACE_S,
    MESSAGE_TOO_BIG,
    NORMAL_CLOSURE,
    STALLED_GRACE_S,
    TRY_AGAIN_LATER,
    Leg,
)

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from voicecall.clock import Clock
    from voicecall.media.server import MediaServer

# The bounds that the media port has, too: a larger message ends the socket, as does leaving so much
# unread.
FRAME_MAX_OCTETS = 1 << 20
UNSENT_MAX_OCTETS = 1 << 20


class MediaEndpoint:
    """The ASGI application of the stream path.

    Args:
        server: the media plane.
        clock: the time.
    """

    def __init__(self, server: MediaServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its upgrade to its end."""
        await receive()  # websocket.connect
        # Where the application is mounted is not part of the stream path.
        token = self._server.token_in(scope["path"].removeprefix(scope.get("root_path", "")))
        peer = scope["client"][0] if scope.get("client") else ""
        headers = _headers(scope)
        address = self._server.client_address(peer, headers.get("x-forwarded-for"))
        leg = token if isinstance(token, Refusal) else self._server.admit(token, address, headers)
        if isinstance(leg, Refusal):
            await _refuse(scope, send, leg)
            return
        socket = _AsgiSocket(leg, send)
        leg.stream.connect(CallableOutlet(socket.queue))
        try:
            await send({"type": "websocket.accept"})
            leg.opened(socket)
            if token is None and not self._server.enter_pending(leg):
                leg.close(TRY_AGAIN_LATER, "Too many sockets without a token")
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(leg, receive))
                await socket.write_until_closed(reader)
                reader.cancel()
        finally:
            leg.on_disconnected()

    async def _read(self, leg: Leg, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if len(text or message.get("bytes") or b"") > FRAME_MAX_OCTETS:
                leg.close(MESSAGE_TOO_BIG, "Message too big")
            elif text is None:
                leg.stream.refuse()
            else:
                leg.stream.receive(text.encode(), self._clock.now_ns())


class _AsgiSocket:
    """Queues a leg's messages for one task that writes them; bounded in octets."""

    def __init__(self, leg: Leg, send: Send) -> None:
        self._leg = leg
        self._send = send
        self._queue: deque[bytes] = deque()
        self._unsent_octets = 0
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._stalled = False
        self._deadline: asyncio.Timeout | None = None

    def queue(self, message: bytes) -> None:
        """Take one outgoing message; a peer that leaves 1 MiB unread is closed."""
        if self._closing is not None or self._stalled:
            return
        self._queue.append(message)
        self._unsent_octets += len(message)
        self._wake.set()
        if self._unsent_octets > UNSENT_MAX_OCTETS:
            self._stalled = True
            self._leg.on_stalled()

    def close(self, code: int, reason: str) -> None:
        """End the socket behind what is being sent; what is queued is dropped."""
        if self._closing is None:
            self._closing = (code, reason)
            self._queue.clear()
            self._wake.set()
            if self._deadline is not None:
                self._deadline.reschedule(self._end_s())

    async def write_until_closed(self, reader: asyncio.Task[None]) -> None:
        """Write what is queued until we close the socket or `reader` sees the peer go."""
        reader.add_done_callback(lambda _: self.close(NORMAL_CLOSURE, ""))
        # A peer that does not even read the close is left without one.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._end_s()) as self._deadline:
                code, reason = await self._write()
                if not reader.done():
                    # granian 2.8 does not send a close while somebody waits to receive.
                    reader.cancel()
                    await asyncio.wait((reader,))
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _write(self) -> tuple[int, str]:
        """Write what is queued; returns how to close once that is asked for."""
        while self._closing is None:
            while self._queue:
                message = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": message.decode()})
                self._unsent_octets -= len(message)
            if self._closing is None:
                self._wake.clear()
                await self._wake.wait()
        return self._closing

    def _end_s(self) -> float | None:
        """When the socket has to be gone, on the event loop's clock; None while it is open."""
        if self._closing is None:
            return None
        grace_s = STALLED_GRACE_S if self._stalled else CLOSE_GRACE_S
        return asyncio.get_running_loop().time() + grace_s


def _headers(scope: Scope) -> dict[str, str]:
    """By name in lower case; those that come more than once are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        return
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status.value,
            "headers": [(b"content-type", b"text/plain")],
        }
    )
    body = refusal.status.phrase.encode()
    await send({"type": "websocket.http.response.body", "body": body})
