"""Messages of the vendor's protocols, each checked against its own types, for scripted sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any

from openai.types.live.client_event_param import ClientEventParam as LiveClientEvent
from openai.types.live.server_event import ServerEvent as LiveServerEvent
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent
from pydantic import TypeAdapter

from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.speech.realtime.link import Dialogue

SILENCE_20_MS = b"\xff" * 160


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def event(kind: str, **fields: Any) -> bytes:
    """A server event of Realtime."""
    body = {"type": kind, "event_id": "event_1", **fields}
    adapter(RealtimeServerEvent).validate_python(body)
    return json.dumps(body).encode()


def live_event(kind: str, **fields: Any) -> bytes:
    """A server event of GPT-Live."""
    body = {"type": kind, "event_id": "event_1", **fields}
    adapter(LiveServerEvent).validate_python(body)
    return json.dumps(body).encode()


def coded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def _sent(dialogue: Dialogue, kind: Any) -> list[dict[str, Any]]:
    messages = [json.loads(message) for message in dialogue.outbox]
    dialogue.outbox.clear()
    for message in messages:
        adapter(kind).validate_python(message, extra="forbid")
    return messages


def sent(dialogue: Dialogue) -> list[dict[str, Any]]:
    """What is to be sent, which is taken away, as Realtime understands it."""
    return _sent(dialogue, RealtimeClientEventParam)


def live_sent(dialogue: Dialogue) -> list[dict[str, Any]]:
    """Likewise for GPT-Live."""
    return _sent(dialogue, LiveClientEvent)


class FakeSocket:
    """A socket whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False
        self.arrived = asyncio.Event()
        self._inbox: deque[bytes | SpeechError] = deque()
        self._came = asyncio.Event()
        self.stuck = False

    def give(self, *messages: bytes) -> None:
        self._inbox.extend(messages)
        self._came.set()

    def cut(self, error: SpeechError) -> None:
        self._inbox.append(error)
        self._came.set()

    async def send(self, message: str) -> None:
        if self.stuck:
            await asyncio.get_running_loop().create_future()
        self.sent.append(message)
        self.arrived.set()

    async def receive(self) -> bytes:
        while not self._inbox:
            self._came.clear()
            await self._came.wait()
        message = self._inbox.popleft()
        if isinstance(message, SpeechError):
            raise message
        return message

    async def close(self) -> None:
        self.closed = True

    async def sees(self, wanted: Callable[[str], bool]) -> str:
        """The first message sent that is wanted, once it was sent."""
        async with asyncio.timeout(5):
            while True:
                self.arrived.clear()
                for message in self.sent:
                    if wanted(message):
                        return message
                await self.arrived.wait()


class FakeSockets:
    """Opens the sockets that a test has prepared, in order."""

    def __init__(self, *sockets: FakeSocket | SpeechError) -> None:
        self._sockets = deque(sockets)
        self.dialled = 0
        self.opened = asyncio.Event()

    async def __call__(self) -> FakeSocket:
        self.dialled += 1
        socket = self._sockets.popleft() if self._sockets else SpeechError("gone", retryable=True)
        if isinstance(socket, SpeechError):
            raise socket
        self.opened.set()
        return socket
