"""The media port itself: which addresses it has, whom it lets in, and how it lets go."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.media.plane import TimedLoop, run, until
from tests.native.sockets import REQUEST, RESPONSE, descriptors
from voicecall._codec import MediaStream, Workspace
from voicecall.errors import ServeError
from voicecall.media import listener as tested
from voicecall.media.listener import MediaListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from voicecall._codec import SocketPoller

pytestmark = pytest.mark.socket

BOTH = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
]


class Guest:
    """Owns an accepted connection and opens what it requests."""

    def __init__(self, poller: SocketPoller, connection: socket.socket) -> None:
        self.ended = False
        self.stream = MediaStream(Workspace(), self)
        self.socket = poller.add(connection.detach(), self)

    def on_request(self, head: bytes) -> None:
        self.socket.open(RESPONSE, self.stream)

    def on_disconnected(self) -> None:
        self.ended = True
        self.stream.close()


class House:
    """A listener and everybody who has come in, with their addresses."""

    def __init__(self) -> None:
        self.guests: list[Guest] = []
        self.addresses: list[str] = []
        self.listener = MediaListener(self._let_in)

    def _let_in(self, connection: socket.socket, address: str) -> None:
        assert not connection.getblocking()
        self.addresses.append(address)
        self.guests.append(Guest(self.listener.poller, connection))

    async def visit(self, host: str, port: int) -> asyncio.StreamWriter:
        """Come in and have the door opened."""
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(REQUEST)
        assert await reader.readexactly(len(RESPONSE)) == RESPONSE
        return writer


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """A listener that has to leave no descriptor and no timer behind."""
    await use_a_stream()
    before = descriptors()
    made = House()
    try:
        yield made
    finally:
        made.listener.close()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    assert loop.waiting() == []
    await until(lambda: not descriptors() - before)


async def use_a_stream() -> None:
    """With its first stream the event loop takes a descriptor in reserve."""
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)
        await leave(writer)


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def name_resolves_to(
    monkeypatch: pytest.MonkeyPatch, addresses: Sequence[tuple[object, ...]]
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> Sequence[tuple[object, ...]]:
        return addresses

    monkeypatch.setattr(TimedLoop, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_it_listens_on_addresses_of_both_kinds_and_on_names(host: str) -> None:
    async def case() -> None:
        async with house() as made:
            port = await made.listener.listen(host, 0)
            assert port > 0
            writer = await made.visit(host, port)
            assert made.addresses in (["127.0.0.1"], ["::1"])
            await leave(writer)
            await until(lambda: made.guests[0].ended)

    run(case())


def test_all_addresses_of_a_name_have_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        name_resolves_to(monkeypatch, [*BOTH, BOTH[0]])
        async with house() as made:
            port = await made.listener.listen("name.invalid", 0)
            monkeypatch.undo()
            for address in ("127.0.0.1", "::1"):
                await leave(await made.visit(address, port))
            assert made.addresses == ["127.0.0.1", "::1"]
            await until(lambda: len(made.listener.poller) == 0)

    run(case())


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    async def case() -> None:
        async with house() as made:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                with pytest.raises(ServeError) as caught:
                    await made.listener.listen("127.0.0.1", port)
            assert str(caught.value) == (
                f"streaming.port: cannot listen on 127.0.0.1:{port}: Address already in use. "
                "Choose another port, or stop what uses this one."
            )
            assert await made.listener.listen("127.0.0.1", port) == port

    run(case())


def test_when_one_address_of_a_name_is_taken_none_is_listened_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case() -> None:
        name_resolves_to(monkeypatch, BOTH)
        async with house() as made:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                with pytest.raises(ServeError, match="in use"):
                    await made.listener.listen("name.invalid", port)
            with socket.create_server(("::1", port), family=socket.AF_INET6):
                pass

    run(case())


@pytest.mark.parametrize(
    ("host", "problem"),
    [("name.invalid", "Name or service not known|No address|failure"), ("192.0.2.1", "assign")],
)
def test_a_host_that_is_not_ours_is_named_with_the_reason(host: str, problem: str) -> None:
    async def case() -> None:
        async with house() as made:
            with pytest.raises(ServeError, match=rf"{host}:0: .*({problem})"):
                await made.listener.listen(host, 0)

    run(case())


def test_after_it_stops_listening_what_is_open_stays_until_it_closes() -> None:
    async def case() -> None:
        async with house() as made:
            port = await made.listener.listen("127.0.0.1", 0)
            writers = [await made.visit("127.0.0.1", port) for _ in range(3)]
            made.listener.stop_listening()
            made.listener.stop_listening()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            await leave(writers.pop())
            await until(lambda: made.guests[2].ended)
            assert len(made.listener.poller) == 2
            made.listener.close()
            made.listener.close()
            assert [guest.ended for guest in made.guests] == [True] * 3
            for writer in writers:
                await leave(writer)

    run(case())


def test_more_at_once_than_are_accepted_in_a_turn_all_come_in() -> None:
    async def case() -> None:
        async with house() as made:
            port = await made.listener.listen("127.0.0.1", 0)
            visits = (made.visit("127.0.0.1", port) for _ in range(3 * tested.ACCEPTS_MAX + 1))
            writers = await asyncio.gather(*visits)
            assert len(made.listener.poller) == len(writers)
            assert made.listener.poller.crowded
            for writer in writers:
                await leave(writer)
            await until(lambda: len(made.listener.poller) == 0)

    run(case())


def test_connections_are_without_delay_and_kept_alive() -> None:
    async def case() -> None:
        options: list[tuple[int, int]] = []

        def look(connection: socket.socket, _: str) -> None:
            with connection:
                options.append(
                    (
                        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                        connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    )
                )

        listener = MediaListener(look)
        port = await listener.listen("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: options != [])
        assert options == [(1, 1)]
        await leave(writer)
        listener.close()

    run(case())


def test_without_descriptors_guests_wait_and_come_in_when_there_are_some(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        monkeypatch.setattr(tested, "ACCEPT_PAUSE_S", 0.05)
        async with house() as made:
            port = await made.listener.listen("127.0.0.1", 0)
            await leave(await made.visit("127.0.0.1", port))
            await until(lambda: made.guests[0].ended)
            with socket.socket() as guest:
                guest.setblocking(False)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (guest.fileno() + 1, hard))
                try:
                    with suppress(BlockingIOError):
                        guest.connect(("127.0.0.1", port))
                    await until(lambda: "cannot accept media connections" in caplog.messages)
                    assert len(made.guests) == 1
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await until(lambda: len(made.guests) == 2)
            await until(lambda: made.guests[1].ended)

    with caplog.at_level(logging.ERROR, "voicecall.media"):
        run(case())
    # One line for each try: it does not spin.
    assert 1 <= len(caplog.records) < 100
    record = caplog.records[0]
    assert record.__dict__["reason"] == "Too many open files"


def test_a_listener_that_rests_may_be_stopped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Door:
        """Accepts nobody."""

        def __init__(self, real: socket.socket) -> None:
            self._real = real

        def accept(self) -> tuple[socket.socket, tuple[str, int]]:
            raise OSError(errno.ENFILE, "no more")

        def fileno(self) -> int:
            return self._real.fileno()

        def close(self) -> None:
            self._real.close()

    async def case() -> None:
        async with house() as made:
            port = await made.listener.listen("127.0.0.1", 0)
            door = Door(made.listener._listening[0])
            monkeypatch.setattr(made.listener, "_listening", [door])
            made.listener._resume()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda: caplog.messages == ["cannot accept media connections"])
            loop = asyncio.get_running_loop()
            assert isinstance(loop, TimedLoop)
            assert len(loop.waiting()) == 1
            made.listener.stop_listening()
            assert loop.waiting() == []
            await leave(writer)

    with caplog.at_level(logging.ERROR, "voicecall.media"):
        run(case())


def test_a_connection_that_cannot_be_served_is_one_more_reason_to_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        monkeypatch.setattr(tested, "ACCEPT_PAUSE_S", 0.05)
        refused: list[str] = []

        def let_in(connection: socket.socket, address: str) -> None:
            connection.close()
            refused.append(address)
            if len(refused) == 1:
                raise OSError(errno.ENOSPC, "epoll_ctl")

        listener = MediaListener(let_in)
        port = await listener.listen("127.0.0.1", 0)
        for visits in (1, 2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda visits=visits: len(refused) == visits)  # type: ignore[misc]  # bound
            await leave(writer)
        listener.close()

    with caplog.at_level(logging.ERROR, "voicecall.media"):
        run(case())
    assert [record.__dict__["reason"] for record in caplog.records] == ["No space left on device"]
