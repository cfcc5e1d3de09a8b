"""One connection on the media port, from its request to its end, as clients see it."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
import weakref
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.media.plane import Plane, closing, dial, plane, run, until
from tests.media.wire import media, said, start
from tests.native.sockets import BINARY, CLOSE, PING, TEXT, frame, frames_in
from voicecall.media import connection as tested
from voicecall.media.leg import CLOSE_GRACE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.media.leg import Leg

pytestmark = pytest.mark.socket

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
)


class Line:
    """A client of the media port that says what it likes, octet by octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def upgrade(self, url: str) -> bytes:
        """Ask for a WebSocket; the head of the answer."""
        path = "/" + url.split("/", 3)[3]
        self.say(UPGRADE.format(path=path).encode())
        return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Everything until the server hangs up."""
        return await self._reader.read()

    def hang_up(self) -> None:
        """Without a goodbye, as a crashed peer's system does."""
        end = self._writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@asynccontextmanager
async def line(to: Plane) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(to.base.rpartition(":")[2]))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def only_leg(tested_plane: Plane) -> Leg:
    (leg,) = tested_plane.server.legs()
    return leg


def connections(to: Plane) -> int:
    assert to.server._listener is not None
    return len(to.server._listener.poller)


@pytest.mark.parametrize("said_so_far", [b"", b"GET /voice/stream HTTP/1.1\r\nHost: x\r\n"])
def test_who_does_not_ask_for_an_upgrade_in_time_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, said_so_far: bytes
) -> None:
    monkeypatch.setattr(tested, "UPGRADE_TIMEOUT_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            caller.say(said_so_far)
            assert await caller.rest() == b""
            assert connections(to) == 0
            assert to.server.refusals == {}

    run(case())


def test_the_time_for_the_upgrade_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "UPGRADE_TIMEOUT_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, dial(to.url) as connection:
            loop = asyncio.get_running_loop()
            passed = asyncio.Event()
            loop.call_later(0.1, passed.set)
            await passed.wait()
            await connection.send(said("connected"))
            await until(lambda: only_leg(to).stream.messages == 1)

    run(case())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /voice/stream HTTP/1.1\r\nHost: x\r\n\r\n", b"426 Upgrade Required"),
        (b"GET /voice/stream HTTP/1.0\r\n\r\n", b"400 Bad Request"),
        (b"POST /voice/stream HTTP/1.1\r\nHost: x\r\n\r\n", b"405 Method Not Allowed"),
        (UPGRADE.format(path="/elsewhere").encode(), b"404 Not Found"),
        (UPGRADE.format(path="/voice/stream/wrong").encode(), b"403 Forbidden"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 16384, b"431 Request Header Fields Too Large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400 Bad Request"),
    ],
)
def test_who_is_refused_hears_why_and_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, request_: bytes, status: bytes
) -> None:
    monkeypatch.setattr(tested, "CLOSE_GRACE_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            caller.say(request_)
            answer = await caller.rest()
            assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
            assert answer.endswith(b"\r\n\r\n" + status[4:])
            assert not list(to.server.legs())
            # It has not hung up itself: the server does, after a grace.
            await until(lambda: connections(to) == 0)

    run(case())


def test_who_leaves_after_a_refusal_is_not_waited_for() -> None:
    async def case() -> None:
        async with plane("port") as to:
            async with line(to) as caller:
                caller.say(b"GET / HTTP/1.0\r\n\r\n")
                await caller.rest()
            await until(lambda: connections(to) == 0, within_s=CLOSE_GRACE_S / 2)

    run(case())


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"\x81\x02{}", 1002),
        (frame(b"", 3), 1002),
        (frame(b"{}", TEXT | 0x40), 1002),
        (frame(b"", PING, final=False), 1002),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4), 1009),
    ],
    ids=["unmasked", "opcode 3", "reserved bit", "ping in fragments", "a tebioctet"],
)
def test_a_violation_of_the_protocol_is_counted_and_ends_the_call_on_that_socket(
    monkeypatch: pytest.MonkeyPatch, wrong: bytes, code: int
) -> None:
    monkeypatch.setattr(tested, "CLOSE_GRACE_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            call, url = to.call()
            assert b" 101 " in await caller.upgrade(url)
            caller.say(frame(start().encode()))
            await call.opened.wait()
            caller.say(wrong + frame(said("dtmf", dtmf={"digit": "1"}).encode()) + wrong)
            ((opcode, payload),) = frames_in(await caller.rest())
            assert (opcode, payload) == (CLOSE, code.to_bytes(2, "big") + b"Protocol violated")
            await until(lambda: not list(to.server.legs()))
            assert call.digits == []
            assert to.server.refusals == {"protocol": 1}
            call.path.close()

    run(case())


def test_a_violation_after_the_goodbye_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "CLOSE_GRACE_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            await caller.upgrade(to.url)
            only_leg(to).close(1000, "done")
            caller.say(frame(b"", 3))
            assert frames_in(await caller.rest()) == [(CLOSE, b"\x03\xe8done")]
            assert to.server.refusals == {}

    run(case())


def test_who_does_not_answer_a_close_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "CLOSE_GRACE_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            await caller.upgrade(to.url)
            only_leg(to).close(1000, "done")
            assert frames_in(await caller.rest()) == [(CLOSE, b"\x03\xe8done")]

    run(case())


@pytest.mark.parametrize("last", [b"", frame(b'{"event":"stop"}')], ids=["nothing", "a stop"])
def test_who_leaves_without_a_goodbye_is_missed_at_once(last: bytes) -> None:
    async def case() -> None:
        async with plane("port") as to:
            call, url = to.call()
            async with line(to) as caller:
                await caller.upgrade(url)
                caller.say(frame(start().encode()))
                await call.opened.wait()
                leg = only_leg(to)
                caller.say(last)
            # What was said last and the end of the connection come together.
            await until(lambda: not list(to.server.legs()), within_s=1.0)
            assert leg.close_reason == ("stopped by the carrier" if last else "socket dropped")
            call.path.close()

    run(case())


def test_a_reset_is_the_end_of_a_call_like_any_other() -> None:
    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            call, url = to.call()
            await caller.upgrade(url)
            caller.say(frame(start().encode()))
            await call.opened.wait()
            caller.hang_up()
            await until(lambda: not list(to.server.legs()), within_s=1.0)
            call.path.close()

    run(case())


def test_our_own_failure_is_logged_and_ends_that_connection_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async def case() -> None:
        async with plane("port") as to, dial(to.url) as other, dial(to.url) as connection:
            legs = list(to.server.legs())
            monkeypatch.setattr(to.server.dialect, "read", fail, raising=False)
            await connection.send(said("connected"))
            assert (await closing(connection))[0] == 1006
            monkeypatch.undo()
            await until(lambda: len(list(to.server.legs())) == 1)
            await other.send(said("connected"))
            await until(lambda: sum(leg.stream.messages for leg in legs) == 2)

    run(case())
    assert caplog.messages == ["media connection failed"]
    assert caplog.records[0].levelno == logging.ERROR


def test_an_ended_connection_is_forgotten_without_a_collector() -> None:
    async def case() -> None:
        async with plane("port") as to:
            call, url = to.call()
            gc.collect()
            gc.disable()
            try:
                async with dial(url) as connection:
                    await connection.send(start())
                    await call.opened.wait()
                    await connection.send(media(1, b"\xff" * 160))
                    seen = weakref.ref(only_leg(to))
                    call.path.close()
                await until(lambda: connections(to) == 0)
                await until(lambda: seen() is None)
            finally:
                gc.enable()

    run(case())


# --- other people's clients ---


def test_compression_that_a_client_offers_is_declined() -> None:
    async def case() -> None:
        async with plane("port") as to:
            call, url = to.call()
            async with connect(url, proxy=None, compression="deflate") as connection:
                assert connection.request is not None
                assert (
                    "permessage-deflate" in connection.request.headers["Sec-WebSocket-Extensions"]
                )
                assert connection.response is not None
                assert "Sec-WebSocket-Extensions" not in connection.response.headers
                assert connection.protocol.extensions == []
                await connection.send(start())
                await connection.send(said("dtmf", dtmf={"digit": "5"}))
                await until(lambda: call.digits == ["5"])
            call.path.close()

    run(case())


def test_a_client_that_compresses_without_being_asked_violates_the_protocol(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tested, "CLOSE_GRACE_S", 0.05)

    async def case() -> None:
        async with plane("port") as to, dial(to.url) as connection:
            deflate = ClientPerMessageDeflateFactory().process_response_params([], [])
            connection.protocol.extensions = [deflate]
            await connection.send(said("connected"))
            assert await closing(connection) == (1002, "Protocol violated")
            assert to.server.refusals == {"protocol": 1}

    run(case())


def test_of_subprotocols_none_is_chosen() -> None:
    async def case() -> None:
        async with plane("port") as to:
            offered = ["audio.drachtio.org", "twilio"]
            async with connect(to.url, proxy=None, subprotocols=offered) as connection:  # type: ignore[arg-type]  # a NewType of str
                assert connection.subprotocol is None

    run(case())


def test_pings_of_a_client_are_answered_while_a_call_goes_on() -> None:
    async def case() -> None:
        async with plane("port") as to:
            call, url = to.call()
            async with connect(url, proxy=None, ping_interval=0.01) as connection:
                await connection.send(start())
                await call.opened.wait()
                for _ in range(3):
                    await (await connection.ping())
                for payload in (b"", b"x" * 125):
                    await (await connection.ping(payload))
            call.path.close()

    run(case())


def test_a_client_may_send_a_message_in_fragments() -> None:
    async def case() -> None:
        async with plane("port") as to, dial(to.call()[1]) as connection:
            message = said("connected")
            await connection.send(message[i : i + 4] for i in range(0, len(message), 4))
            await connection.send(b"binary")
            leg = only_leg(to)
            await until(lambda: (leg.stream.messages, leg.stream.faults) == (2, 1))

    run(case())


def test_a_request_in_pieces_with_frames_behind_it_opens_like_any_other() -> None:
    async def case() -> None:
        async with plane("port") as to, line(to) as caller:
            call, url = to.call()
            path = "/" + url.split("/", 3)[3]
            whole = UPGRADE.format(path=path).encode() + frame(start().encode())
            for at in range(0, len(whole), 7):
                caller.say(whole[at : at + 7])
                await asyncio.sleep(0)
            await call.opened.wait()
            caller.say(frame(b"x", BINARY) + frame(b"\x03\xe8", CLOSE))
            answer = await caller.rest()
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert answer.endswith(b"\x88\x02\x03\xe8")
            call.path.close()

    run(case())
