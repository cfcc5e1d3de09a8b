"""The picows side of a media socket: frames into messages, over loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from picows import WSCloseCode, WSListener, WSMsgType, ws_connect, ws_create_server

from tests.native.messages import message_of
from voicecall._codec import MediaStream, StreamListener, Workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from picows import WSFrame, WSTransport

pytestmark = pytest.mark.socket

DEADLINE_S = 5.0
END = message_of("end")
TEXT, BINARY, MORE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION


class Server:
    """The listener's owner and the stream's handler; everything they are told, in order."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.stream = MediaStream(Workspace(), self)
        self.listener = StreamListener(self.stream, self)

    def on_connected(self, transport: WSTransport) -> None:
        self.told.put_nowait("connected")

    def on_disconnected(self) -> None:
        self.told.put_nowait("disconnected")

    def on_stalled(self) -> None:
        self.told.put_nowait("stalled")

    def on_message(self, message: dict[str, Any]) -> None:
        self.told.put_nowait(message["event"])

    async def next(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return await self.told.get()


class Client(WSListener):
    """Keeps the code of the close frame that the server answers with."""

    def __init__(self) -> None:
        self.close_code: asyncio.Future[WSCloseCode] = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.close_code.set_result(frame.get_close_code())


def connected(case: Callable[[Server, WSTransport, Client], Awaitable[None]]) -> None:
    async def main() -> None:
        server = Server()
        listening = await ws_create_server(lambda _: server.listener, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        client = Client()
        transport, _ = await ws_connect(lambda: client, f"ws://127.0.0.1:{port}/")
        try:
            assert await server.next() == "connected"
            await case(server, transport, client)
        finally:
            transport.disconnect()
            await transport.wait_disconnected()
            listening.close()
            await listening.wait_closed()

    asyncio.run(main())


def faults_after(*frames: tuple[WSMsgType, bytes, bool]) -> tuple[list[str], int]:
    """Send frames and one whole message: the events that arrived before it, and the faults."""
    events: list[str] = []
    faults = 0

    async def case(server: Server, transport: WSTransport, client: Client) -> None:
        nonlocal faults
        for kind, payload, fin in frames:
            transport.send(kind, payload, fin)
        transport.send(TEXT, END)
        while (event := await server.next()) != "end":
            events.append(event)
        faults = server.stream.faults

    connected(case)
    return events, faults


def test_a_message_in_several_frames_is_put_together() -> None:
    message = message_of("split")
    frames = [(TEXT, message[:5], False), (MORE, message[5:9], False), (MORE, message[9:], True)]
    assert faults_after(*frames) == (["split"], 0)


def test_a_binary_message_is_one_fault_however_many_frames_it_has() -> None:
    assert faults_after((BINARY, b"x", True)) == ([], 1)
    frames = [(BINARY, b"x", False), (MORE, b"x", False), (MORE, b"x", True)]
    assert faults_after(*frames) == ([], 1)


def test_a_message_that_grows_beyond_64_kib_is_one_fault() -> None:
    message = message_of("long").ljust(65536)
    exact = [(TEXT, message[:60000], False), (MORE, message[60000:], True)]
    assert faults_after(*exact) == (["long"], 0)
    beyond = [(TEXT, message, False), (MORE, b" ", False), (MORE, b" ", True)]
    assert faults_after(*beyond) == ([], 1)
    assert faults_after((TEXT, message + b" ", True)) == ([], 1)


@pytest.mark.parametrize(
    ("payload", "answer"),
    [(b"\x03\xe9", WSCloseCode.GOING_AWAY), (b"", WSCloseCode.OK)],
    ids=["with its code", "without one"],
)
def test_a_close_is_answered_with_its_code_or_as_normal(
    payload: bytes, answer: WSCloseCode
) -> None:
    async def case(server: Server, transport: WSTransport, client: Client) -> None:
        transport.send(WSMsgType.CLOSE, payload)
        async with asyncio.timeout(DEADLINE_S):
            assert await client.close_code == answer
        assert await server.next() == "disconnected"

    connected(case)
