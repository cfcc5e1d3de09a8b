"""A vendor whose sockets are in the test's hands."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from voicecall.errors import SpeechError
from voicecall.speech.tts.pool import End, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voicecall.speech.tts.pool import Spoken

PATIENCE_S = 5


async def until(condition: Callable[[], object]) -> None:
    """Wait, at every step of the loop, for what no event stands behind."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  (see above)
            await asyncio.sleep(0)


class PlainSocket:
    """A socket whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = asyncio.Event()
        self.deaf = False
        self._inbox: deque[str | SpeechError] = deque()
        self._came = asyncio.Event()
        self._went = asyncio.Event()

    def give(self, *messages: str | SpeechError) -> None:
        self._inbox.extend(messages)
        self._came.set()

    def breaks(self) -> None:
        self.give(SpeechError("it broke", retryable=True))

    async def send(self, message: str) -> None:
        if self.deaf:
            await asyncio.get_running_loop().create_future()
        self.sent.append(message)
        self._went.set()

    async def receive(self) -> bytes:
        while not self._inbox:
            self._came.clear()
            await self._came.wait()
        message = self._inbox.popleft()
        if isinstance(message, SpeechError):
            raise message
        return message.encode()

    async def close(self) -> None:
        self.closed.set()

    async def hears(self, beginning: str) -> str:
        """The key in the first message that begins so and was not asked for yet."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._went.clear()
                for message in self.sent:
                    if message.startswith(beginning):
                        self.sent.remove(message)
                        return message.split()[1] if " " in message else ""
                await self._went.wait()


class PlainDialect:
    """Words for what others say in JSON: `say KEY TEXT`, `audio KEY OCTETS`, `end KEY`."""

    def __init__(self) -> None:
        self.outbox: deque[str] = deque()

    def say(self, key: str, text: str) -> None:
        self.outbox.append(f"say {key} {text}")

    def stop(self, key: str) -> None:
        self.outbox.append(f"stop {key}")

    def rest(self) -> None:
        self.outbox.append("rest")

    def receive(self, message: bytes) -> Sequence[Spoken]:
        kind, key, *rest = message.decode().split(" ")
        if kind == "audio":
            return (Piece(key, rest[0].encode()),)
        if kind == "fail":
            return (End(key, SpeechError("it cannot be said", retryable=True)),)
        if kind == "end":
            return (End(key),)
        raise KeyError(kind)


class PlainVendor:
    """Opens sockets, unless a failure is planned for that attempt."""

    def __init__(self, *failures: Exception | None) -> None:
        self.sockets: list[PlainSocket] = []
        self.attempts = 0
        self._failures = deque(failures)
        self._news = asyncio.Event()

    async def connect(self) -> tuple[PlainSocket, PlainDialect]:
        self.attempts += 1
        self._news.set()
        failure = self._failures.popleft() if self._failures else None
        if failure is not None:
            raise failure
        socket = PlainSocket()
        self.sockets.append(socket)
        return socket, PlainDialect()

    async def attempted(self, times: int) -> None:
        await self._until(lambda: self.attempts >= times)

    async def socket(self, number: int) -> PlainSocket:
        """The socket of that number, once it was opened; the first is 0."""
        await self._until(lambda: len(self.sockets) > number)
        return self.sockets[number]

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()
