"""Raw octets to the media port, while another socket's call goes on.

An input that begins with `R` is sent as it is, an upgrade request included. Any other begins with
an upgrade that is sound, to the path that its first octet chooses, and the rest is steps: frames
whose every bit is chosen, and cuts between the pieces that reach the server.

What comes behind a sound upgrade is also read by a socket of its own, in the same pieces, and has
to mean to it what it means to a slow reading of the whole.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Self

from tests.fuzz import watch
from tests.fuzz.steps import Steps
from tests.fuzz.target import Target
from tests.media.plane import Call, Plane, until
from tests.native.sockets import check_reading
from voicecall.clock import SystemClock

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
)
PATHS = (b"/voice/stream/@TOKEN@", b"/voice/stream", b"/voice/stream/wrong", b"/", b"/voice/%73")
START = b'{"event":"start","streamSid":"MZ%d","start":{"streamSid":"MZ%d","callSid":"CA%d"}}'
DTMF = b'{"event":"dtmf","dtmf":{"digit":"%d"}}'
MEDIA = b'{"event":"media","media":{"track":"inbound","chunk":"1","payload":"/////w=="}}'
MESSAGES = (START % (1, 1, 1), DTMF % 1, MEDIA, b"{}", b"", b'{"event":"stop"}')
TEXT = 0x81
WITHIN_S = 5.0
PIECES_MAX = 64


def frame(payload: bytes, head: int = TEXT, mask: bytes | None = b"\1\2\3\4") -> bytes:
    """A client's frame: RFC 6455, section 5.2."""
    return bytes([head]) + _length(len(payload), mask is not None) + _masked(payload, mask)


def _length(octets: int, masked: bool, form: int = 0) -> bytes:
    """The length in its shortest form, or at least in form 1 (16 bits) or 2 (64 bits)."""
    bit = 0x80 if masked else 0
    if octets < 126 and form == 0:
        return bytes([bit | octets])
    if octets < 1 << 16 and form <= 1:
        return bytes([bit | 126]) + octets.to_bytes(2, "big")
    return bytes([bit | 127]) + octets.to_bytes(8, "big")


def _masked(payload: bytes, mask: bytes | None) -> bytes:
    if mask is None:
        return payload
    return mask + bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))


def pieces_of(data: bytes) -> list[bytes]:
    """What is sent, in the pieces in which it is sent."""
    if data[:1] == b"R":
        return [data[1:]]
    steps = Steps(data)
    upgrade = UPGRADE % (PATHS[steps.number(256) % len(PATHS)], KEY)
    pieces = stepped(steps)
    return [upgrade + pieces[0], *pieces[1:]]


def stepped(steps: Steps) -> list[bytes]:
    """What is sent behind the upgrade."""
    pieces = [b""]
    while steps and len(pieces) < PIECES_MAX:
        sent = _step(steps)
        # Half of the pieces reach the server together with the one before.
        if steps.number(2):
            pieces.append(sent)
        else:
            pieces[-1] += sent
    return pieces


def _step(steps: Steps) -> bytes:
    kind = steps.number(256) % 8
    if kind < 3:
        return frame(MESSAGES[steps.number(256) % len(MESSAGES)])
    if kind == 3:
        return steps.take(steps.number(64))
    head = steps.number(256)
    payload = MESSAGES[steps.number(256) % len(MESSAGES)][: steps.number(256)]
    if kind < 6:
        return frame(payload, head, b"\0\0\0\0" if steps.number(4) else None)
    lengths = (
        len(payload),
        125,
        126,
        1 << 15,
        65536,
        (1 << 20) + 1,
        1 << 31,
        (1 << 63) - 1,
        1 << 63,
    )
    declared = lengths[steps.number(256) % len(lengths)]
    form = steps.number(3)
    return bytes([head]) + _length(declared, steps.number(2) == 1, form) + payload


def check(data: bytes) -> None:
    if data[:1] != b"R":
        check_reading(stepped(Steps(data[1:])))
    watch.run(lambda: check_octets(pieces_of(data)))


async def check_octets(pieces: Sequence[bytes]) -> None:
    clock = SystemClock()
    plane = Plane(clock)
    port = await plane.server.listen("127.0.0.1", 0)
    plane.tokens.base_url = "/voice/stream"
    try:
        call, url = plane.call("call-0", "CA0")
        _, attacked = plane.call("call-1", "CA1")
        async with Peer(port) as witness:
            await witness.enter(url)
            await until(call.opened.is_set, WITHIN_S)
            await attack(
                port, [piece.replace(b"@TOKEN@", attacked[-32:].encode()) for piece in pieces]
            )
            await until(lambda: plane.server.admission.open == 1, WITHIN_S)
            await check_alive(witness, call)
        await until(lambda: plane.server.admission.open == 0, WITHIN_S)
    finally:
        for path in tuple(plane.server._paths.values()):
            path.close()
        await plane.server.close()
    plane.assert_unused()


async def check_alive(witness: "Peer", call: Call) -> None:
    """The other call has not noticed anything."""
    assert not call.lost
    witness.send(frame(DTMF % 7))
    await until(lambda: call.digits == ["7"], WITHIN_S)


async def attack(port: int, pieces: Sequence[bytes]) -> None:
    async with Peer(port) as peer:
        for piece in pieces:
            peer.send(piece)
            # Lets the server read what came so far.
            await asyncio.sleep(0)
        check_answer(await peer.rest())


class Peer:
    """One TCP connection to the media port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    def send(self, octets: bytes) -> None:
        # The server may have hung up.
        if not self._writer.is_closing():
            self._writer.write(octets)

    async def enter(self, url: str) -> None:
        """Be a carrier whose call is going on."""
        self.send(UPGRADE % (url.encode(), KEY))
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        self.send(frame(START % (0, 0, 0)))

    async def rest(self) -> bytes:
        """Everything the server has to say to somebody who says no more."""
        try:
            async with asyncio.timeout(WITHIN_S):
                if self._writer.can_write_eof() and not self._writer.is_closing():
                    self._writer.write_eof()
                return await self._reader.read()
        except ConnectionError:
            # Reset with octets unread, which is an answer as well.
            return b""


def check_answer(answer: bytes) -> None:
    """Nothing, a refusal, or an upgrade with sound frames behind it."""
    if not answer:
        return
    head, end, rest = answer.partition(b"\r\n\r\n")
    assert end, answer
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    assert status, answer
    assert status[1] in {b"101", b"400", b"403", b"404", b"405", b"413", b"426", b"431", b"503"}, (
        answer
    )
    if status[1] == b"101":
        check_frames(rest)


def check_frames(octets: bytes) -> None:
    """Whole, unmasked, without reserved bits, and nothing behind a close."""
    closed = False
    while octets:
        assert not closed, "a frame behind the close"
        head, length = octets[0], octets[1]
        assert head & 0xF0 == 0x80
        assert head & 0x0F in {1, 8, 9, 10}
        at = 2
        if length == 126:
            length, at = int.from_bytes(octets[2:4], "big"), 4
        assert length < 1 << 16
        payload = octets[at : at + length]
        assert len(payload) == length
        closed = head & 0x0F == 8
        if closed and payload:
            check_close(int.from_bytes(payload[:2], "big"), payload[2:])
        octets = octets[at + length :]


def check_close(code: int, reason: bytes) -> None:
    """RFC 6455, section 7.4: some codes are never sent."""
    reason.decode()
    assert 1000 <= code < 5000
    assert code not in {1004, 1005, 1006, 1015}


def seeds() -> Sequence[bytes]:
    good = UPGRADE % (b"/voice/stream/@TOKEN@", KEY)
    return [
        b"R" + good,
        b"R" + good + frame(MESSAGES[0]) + frame(MEDIA) + frame(b"\x03\xe8", 0x88),
        b"R" + UPGRADE % (b"/voice/stream", KEY),
        b"RGET / HTTP/1.1\r\n\r\n",
        bytes([0]) + b"\0\0\1" * 4,
        bytes([0]) + b"\0\0\1\4\x01\2\x20\1\1\4\x80\2\x20\1\1",
        bytes([0]) + b"\0\0\1\6\x81\0\0\x07\2\1\1",
    ]


TOKENS = (
    b"\0\0\1",
    b"\1\2\1",
    b"\4\x89\2\x20\1\1",
    b"\4\x88\5\x02\1\1",
    b"\6\x82\0\0\x08\2\1\1",
    b"Upgrade: websocket\r\n",
    b"Connection: keep-alive, Upgrade\r\n",
    b"X-Forwarded-For: 10.0.0.1\r\n",
    b"Content-Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n\r\n",
    b"\x81\xfe\xff\xff",
    b"\x88\x02\x03\xed",
    b"@TOKEN@",
)
TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=TOKENS, guided=True)
