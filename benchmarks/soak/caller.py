"""One caller on a media socket: talks in real time, plays what comes, and echoes marks."""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
from typing import TYPE_CHECKING, Self

import orjson

from benchmarks.soak.websocket import ABNORMAL, CLOSE, TEXT, WebSocket, close_code
from voicecall.audio import from_pcm16
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from benchmarks.soak.carrier import Dialled

ACCOUNT_SID = "AC" + "0" * 32
FRAME_MS = 20
FRAME_S = FRAME_MS / 1000
LINE_HZ = 8000
TONE_HZ = 400
TONE_LEVEL = 12_000
SETTLE_S = 15.0
PATIENCE_S = 3.0


def _tone() -> bytes:
    """Eight periods, so that the frame follows on itself without a click."""
    count = LINE_HZ * FRAME_MS // 1000
    samples = (
        round(TONE_LEVEL * math.sin(2 * math.pi * TONE_HZ * n / LINE_HZ)) for n in range(count)
    )
    return from_pcm16(struct.pack(f"<{count}h", *samples), "ulaw")


TONE = _tone()
SILENCE = b"\xff" * len(TONE)


class Caller:
    """A media socket in the carrier's dialect; leaving its `async with` block resets it.

    Args:
        socket: connected.
        call_sid: the carrier's id of the call.

    Attributes:
        socket: to misbehave on.
        wire: makes the carrier's messages.
        clears: clears received.
        closed: done when the connection has ended, with the code of the server's close.
    """

    def __init__(self, socket: WebSocket, call_sid: str) -> None:
        self.socket = socket
        self.wire = TwilioWire(StreamIdentity(call_sid, ACCOUNT_SID))
        self.clears = 0
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._marks: dict[str, asyncio.TimerHandle] = {}
        self._heard_ms = 0.0
        self._unsaid_frames = 0
        self._silent_s = 0.0
        self._work = [asyncio.create_task(self._read())]

    @classmethod
    async def open(cls, call: Dialled, url: str | None = None) -> Self:
        """Connect a call's media, and say nothing yet.

        Raises:
            UpgradeRefused: the server wants none of it.
        """
        return cls(await WebSocket.open(url or call.url), call.provider_call_id)

    def __repr__(self) -> str:
        closed = self.closed.done()
        return f"<Caller: {self._heard_ms:.0f} ms heard, clears: {self.clears}, closed: {closed}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for timer in self._marks.values():
            timer.cancel()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self.socket.abort()

    def start(self) -> None:
        """Begin the stream and talk: a frame each 20 ms until it ends."""
        self.send(self.wire.opening())
        self._work.append(asyncio.create_task(self._talk()))

    def send(self, messages: Iterable[bytes]) -> None:
        """Send what the wire has made."""
        for message in messages:
            self.socket.send(message)

    async def say(self, duration_ms: int) -> None:
        """Sound for `duration_ms`, however late this process is, then be silent."""
        self._unsaid_frames = duration_ms // FRAME_MS
        while self._unsaid_frames and not self.closed.done():  # noqa: ASYNC110  (either)
            await asyncio.sleep(FRAME_S)

    async def hears(self, audio_ms: int = 1) -> None:
        """Wait until the bot says something, the stream ends, or a person would speak again.

        Args:
            audio_ms: how much has to be said.
        """
        enough = self._heard_ms + audio_ms
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self._heard_ms < enough and not self.closed.done():  # noqa: ASYNC110  (either)
                    await asyncio.sleep(FRAME_S)

    async def ended(self) -> int:
        """Wait for the server to end the stream; its close code."""
        async with asyncio.timeout(SETTLE_S):
            return await asyncio.shield(self.closed)

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        frame = 0
        while not self.closed.done():
            frame += 1
            sound = TONE if self._unsaid_frames else SILENCE
            self._unsaid_frames = max(0, self._unsaid_frames - 1)
            self.send(self.wire.media(sound, frame * FRAME_MS))
            due_s += FRAME_S
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _read(self) -> None:
        code = ABNORMAL
        try:
            while (frame := await self.socket.receive()) is not None:
                if frame.opcode == TEXT:
                    self._take(orjson.loads(frame.payload))
                elif frame.opcode == CLOSE:
                    code = close_code(frame.payload)
                    self.socket.send(frame.payload[:2], CLOSE)
        finally:
            self.closed.set_result(code)

    def _take(self, message: dict[str, dict[str, str]]) -> None:
        loop = asyncio.get_running_loop()
        if "media" in message:
            audio_s = len(message["media"]["payload"]) * 3 // 4 / LINE_HZ
            self._heard_ms += audio_s * 1000
            self._silent_s = max(self._silent_s, loop.time()) + audio_s
        elif "mark" in message:
            name = message["mark"]["name"]
            self._marks[name] = loop.call_at(self._silent_s, self._echo, name)
        else:
            self.clears += 1
            self._silent_s = loop.time()
            for name in tuple(self._marks):
                self._marks[name].cancel()
                self._echo(name)

    def _echo(self, name: str) -> None:
        del self._marks[name]
        self.send(self.wire.mark(name))
