"""What a carrier's side of a media socket says, in Twilio's dialect, and how it plays."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import orjson
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OCTETS_PER_S = 8000


def start(call_sid: str | None = "CA1", stream_sid: str = "MZ1", **parameters: str) -> str:
    """The message that names the call."""
    body: dict[str, Any] = {
        "streamSid": stream_sid,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
    }
    if call_sid is not None:
        body["callSid"] = call_sid
    return said("start", start=body, streamSid=stream_sid)


def media(chunk: int, audio: bytes) -> str:
    """One message of the caller's audio."""
    payload = base64.b64encode(audio).decode()
    return said("media", media={"track": "inbound", "chunk": str(chunk), "payload": payload})


def said(event: str, **fields: Any) -> str:
    """Any other message."""
    return orjson.dumps({"event": event, **fields}).decode()


class Phone:
    """Reads a media socket and plays it in real time, as a carrier does.

    Args:
        connection: the socket.
        echoes: whether marks come back.
        buffer_s: how much of an utterance is collected before it starts to play.
    """

    def __init__(
        self, connection: ClientConnection, *, echoes: bool = True, buffer_s: float = 0
    ) -> None:
        self._connection = connection
        self._echoes = echoes
        self._buffer_s = buffer_s
        self._empty_at = 0.0
        self._marks: dict[str, asyncio.TimerHandle] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())
        self.audio = bytearray()
        self.events: list[str] = []
        self.message_octets: list[int] = []
        self.underruns_s: list[float] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
        for timer in self._marks.values():
            timer.cancel()
        await asyncio.gather(self._reading, *self._sending)

    def played_octets(self) -> float:
        """How much of all audio received has come out of the loudspeaker."""
        ahead_s = max(0.0, self._empty_at - time.monotonic())
        return len(self.audio) - ahead_s * OCTETS_PER_S

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._connection:
                self._take(orjson.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        event = message["event"]
        self.events.append(event)
        if event == "media":
            self._play(base64.b64decode(message["media"]["payload"]))
        elif event == "clear":
            self._empty_at = time.monotonic()
            for name in tuple(self._marks):
                self._marks[name].cancel()
                self._echo(name)
        elif self._echoes:
            loop = asyncio.get_running_loop()
            name = message["mark"]["name"]
            wait_s = max(0.0, self._empty_at - time.monotonic())
            self._marks[name] = loop.call_later(wait_s, self._echo, name)

    def _play(self, audio: bytes) -> None:
        now = time.monotonic()
        if now > self._empty_at:
            if self.audio:
                self.underruns_s.append(now - self._empty_at)
            self._empty_at = now + self._buffer_s
        self._empty_at += len(audio) / OCTETS_PER_S
        self.audio += audio
        self.message_octets.append(len(audio))

    def _echo(self, name: str) -> None:
        del self._marks[name]
        task = asyncio.create_task(self._say(said("mark", mark={"name": name})))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _say(self, message: str) -> None:
        with suppress(ConnectionClosed):
            await self._connection.send(message)
