"""A media server for one phone, and a phone connected to it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from voicecall.audio import from_pcm16
from voicecall.simulator import Engines, Phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from http import HTTPStatus
    from pathlib import Path

    from websockets.http11 import Request, Response

MUTE = Engines(voice=None, ears=None)


class MediaServer:
    """Messages of all connections end up in `received`, each with the moment it came."""

    def __init__(self) -> None:
        self.url = ""
        self.refuse_with: HTTPStatus | None = None
        self.received: list[dict[str, Any]] = []
        self.arrived_ns: list[int] = []
        self.connections: list[ServerConnection] = []
        self.on_media: Callable[[dict[str, Any]], None] | None = None
        self.ended = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def stream_sid(self) -> str:
        return str(self.of("start")[-1]["streamSid"])

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["event"] == event]

    async def wait_for(self, event: str, count: int = 1, timeout_s: float = 5) -> None:
        async with asyncio.timeout(timeout_s):
            while len(self.of(event)) < count:
                self._changed.clear()
                await self._changed.wait()

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        raw = json.dumps(message) if isinstance(message, dict) else message
        await self.connections[-1].send(raw)

    async def send_media(self, audio: bytes) -> None:
        payload = base64.b64encode(audio).decode()
        await self.send(
            {"event": "media", "streamSid": self.stream_sid, "media": {"payload": payload}}
        )

    async def send_mark(self, name: str) -> None:
        await self.send({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}})

    async def send_clear(self) -> None:
        await self.send({"event": "clear", "streamSid": self.stream_sid})

    def arrival_of_mark_ns(self, name: str) -> int:
        return next(
            at_ns
            for message, at_ns in zip(self.received, self.arrived_ns, strict=True)
            if message["event"] == "mark" and message["mark"]["name"] == name
        )

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.ended.clear()
        try:
            async for raw in connection:
                self.arrived_ns.append(time.monotonic_ns())
                message = json.loads(raw)
                self.received.append(message)
                if message["event"] == "media" and self.on_media is not None:
                    self.on_media(message)
                self._changed.set()
        except ConnectionClosed:
            pass
        self.ended.set()


@asynccontextmanager
async def media_server(refuse_with: HTTPStatus | None = None) -> AsyncIterator[MediaServer]:
    server = MediaServer()
    server.refuse_with = refuse_with

    def answer(connection: ServerConnection, _: Request) -> Response | None:
        refusal = server.refuse_with
        return None if refusal is None else connection.respond(refusal, "no")

    async with serve(
        server.handle, "127.0.0.1", 0, compression=None, process_request=answer
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/voice/stream/token"
        yield server


def tone(ms: int, level: int = 8000) -> bytes:
    times = np.arange(ms * 8)
    return (np.sin(times * 2 * np.pi * 440 / 8000) * level).astype("<i2").tobytes()


def ulaw_tone(ms: int) -> bytes:
    return from_pcm16(tone(ms), "ulaw")


@asynccontextmanager
async def connected(
    engines: Engines = MUTE, record: Path | None = None, **options: Any
) -> AsyncIterator[tuple[Phone, MediaServer]]:
    async with media_server() as server:
        phone = Phone(server.url, call_sid="CA1", engines=engines, **options)
        if record is not None:
            phone.record(record)
        async with phone:
            await server.wait_for("start")
            yield phone, server
