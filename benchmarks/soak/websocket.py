"""A WebSocket client that can misbehave in every way a socket allows; only what soaking needs.

Source: RFC 6455.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from typing import NamedTuple, Self
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NO_CODE = 1005
ABNORMAL = 1006
DEADLINE_S = 10.0
# Both lengths in octets of the longer headers.
_LONG, _LONGER = 126, 127


class UpgradeRefused(Exception):
    """The server answered the handshake with another HTTP status.

    Attributes:
        status: what it answered; 0 when it closed the connection without a word.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


class Frame(NamedTuple):
    """What was received: an opcode and its payload."""

    opcode: int
    payload: bytes


async def connect(
    host: str, port: int, receive_octets: int = 0
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection.

    Args:
        host: an IPv4 address.
        port: a port there.
        receive_octets: of the kernel's receive buffer, to be a peer that takes little; 0 for its
            own choice.
    """
    sock = socket.socket()
    try:
        if receive_octets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock, limit=1 << 16)


async def status_of(reader: asyncio.StreamReader) -> int:
    """Read the head of an HTTP answer; its status, 0 when there is none."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    return int(head.split(b" ", 2)[1])


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset the connection: the server is sent RST instead of a goodbye. Twice is harmless."""
    if not writer.transport.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class WebSocket:
    """One connection, after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str, receive_octets: int = 0) -> Self:
        """Connect to `ws://host:port/path`.

        Raises:
            UpgradeRefused: the server wants none.
            OSError: there is no server.
        """
        parts = urlsplit(url)
        reader, writer = await connect(
            parts.hostname or "127.0.0.1", parts.port or 80, receive_octets
        )
        try:
            writer.write(handshake(parts.netloc, parts.path))
            status = await status_of(reader)
        except BaseException:
            abort(writer)
            raise
        if status != 101:
            abort(writer)
            raise UpgradeRefused(status)
        return cls(reader, writer)

    def send(self, payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> None:
        """Send one frame; what the kernel does not take at once waits in this process."""
        # A mask of zeros is a mask, and leaves the payload as it is.
        size = len(payload)
        first = opcode | (0x80 if fin else 0)
        if size < _LONG:
            head = struct.pack("!BB", first, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", first, 0x80 | _LONG, size)
        else:
            head = struct.pack("!BBQ", first, 0x80 | _LONGER, size)
        self.send_raw(head + bytes(4) + payload)

    def send_raw(self, octets: bytes) -> None:
        """Send what need not be a frame."""
        self._writer.write(octets)

    async def drain(self) -> None:
        """Wait until the kernel has taken most of what was sent."""
        await self._writer.drain()

    async def receive(self) -> Frame | None:
        """The next frame; None when the connection has ended."""
        try:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size == _LONG:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif size == _LONGER:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return Frame(first & 0x0F, await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def ended(self) -> int:
        """Read to the end and answer a close; the code of it, 1006 when there was none."""
        code = ABNORMAL
        async with asyncio.timeout(DEADLINE_S):
            while (frame := await self.receive()) is not None:
                if frame.opcode == CLOSE:
                    code = close_code(frame.payload)
                    self.send(frame.payload[:2], CLOSE)
        self.abort()
        return code

    async def goodbye(self) -> int:
        """Close in order; the code that the server answers."""
        self.send(struct.pack("!H", 1000), CLOSE)
        return await self.ended()

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._writer.write_eof()

    def abort(self) -> None:
        """Reset the connection; harmless when it has ended."""
        abort(self._writer)


def close_code(payload: bytes) -> int:
    """The code in a close frame."""
    return int.from_bytes(payload[:2], "big") if len(payload) > 1 else NO_CODE


def handshake(host: str, path: str) -> bytes:
    """An upgrade request."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
