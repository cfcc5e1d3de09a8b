"""A WebSocket server on loopback that does what a test writes down, connection by connection."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from openai.types.realtime import RealtimeClientEventParam
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from tests.speech.realtime.wire import adapter, event
from tests.speech.stt.fakes import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response


class Line:
    """The server's side of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self.received: list[str | bytes] = []
        self.closed_with: int | None = None
        self.ended = asyncio.Event()

    @property
    def path(self) -> str:
        request = self._connection.request
        assert request is not None
        return request.path

    @property
    def headers(self) -> dict[str, str]:
        request = self._connection.request
        assert request is not None
        return {name.lower(): value for name, value in request.headers.raw_items()}

    async def take(self) -> str | bytes:
        async with asyncio.timeout(PATIENCE_S):
            message = await self._connection.recv()
        self.received.append(message)
        return message

    async def say(self, text: str | bytes) -> None:
        await self._connection.send(text if isinstance(text, str) else text.decode())

    async def close(self, code: int, reason: str = "") -> None:
        await self._connection.close(code, reason)

    def cut(self) -> None:
        """Without a word of goodbye."""
        self._connection.transport.abort()

    async def drain(self) -> None:
        """Take everything until the client leaves."""
        try:
            while True:
                self.received.append(await self._connection.recv())
        except ConnectionClosed as closed:
            self.closed_with = closed.rcvd.code if closed.rcvd else None


Script: TypeAlias = "Callable[[Line], Awaitable[None]] | tuple[int, dict[str, Any]]"


class ScriptedServer:
    """Serves each connection by the next script; a status and a body refuse it."""

    def __init__(self, *scripts: Script) -> None:
        self.lines: list[Line] = []
        self.attempts = 0
        self.failures: list[BaseException] = []
        self._scripts = deque(scripts)
        self._current: deque[Callable[[Line], Awaitable[None]]] = deque()
        self._changed = asyncio.Event()
        self.port = 0

    def refuse_or_not(self, connection: ServerConnection, request: Request) -> Response | None:
        del request
        self.attempts += 1
        script = self._scripts.popleft() if self._scripts else Line.drain
        if callable(script):
            self._current.append(script)
            return None
        status, body = script
        response = connection.respond(HTTPStatus(status), json.dumps(body))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    async def handle(self, connection: ServerConnection) -> None:
        line = Line(connection)
        self.lines.append(line)
        self._changed.set()
        script = self._current.popleft()
        try:
            await script(line)
            await line.drain()
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            line.ended.set()

    async def line(self, number: int) -> Line:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.lines) <= number:
                self._changed.clear()
                await self._changed.wait()
        return self.lines[number]


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncGenerator[ScriptedServer]:
    server = ScriptedServer(*scripts)
    async with serve(
        server.handle,
        "127.0.0.1",
        0,
        process_request=server.refuse_or_not,
        close_timeout=0.5,
        max_size=None,
    ) as listening:
        server.port = next(iter(listening.sockets)).getsockname()[1]
        yield server
    assert server.failures == []


# --- OpenAI's transcription sessions ------------------------------------------------------------


def checked(message: str | bytes) -> dict[str, Any]:
    """A client event, as the vendor's own types know it."""
    body: dict[str, Any] = json.loads(message)
    audio_input = body.get("session", {}).get("audio", {}).get("input", {})
    # Turned off by null, which the documentation says and the types do not.
    off = "noise_reduction" in audio_input and audio_input["noise_reduction"] is None
    if off:
        del audio_input["noise_reduction"]
    adapter(RealtimeClientEventParam).validate_python(body, extra="forbid")
    if off:
        audio_input["noise_reduction"] = None
    return body


async def configured(line: Line) -> dict[str, Any]:
    """Begin a session as the vendor does; returns what it was configured with."""
    default = {"type": "transcription"}
    await line.say(event("session.created", session=default))
    update = checked(await line.take())
    assert update["type"] == "session.update"
    session: dict[str, Any] = update["session"]
    told = json.loads(json.dumps(session))
    if told["audio"]["input"].get("noise_reduction", {}) is None:
        del told["audio"]["input"]["noise_reduction"]
    await line.say(event("session.updated", session=told))
    return session


async def audio_until_commit(line: Line) -> bytes:
    """What is appended until the client asks for the transcript."""
    audio = b""
    while (body := checked(await line.take()))["type"] == "input_audio_buffer.append":
        audio += base64.b64decode(body["audio"])
    assert body["type"] == "input_audio_buffer.commit"
    return audio


async def audio_of(line: Line, octets: int) -> bytes:
    """What is appended, at least so much."""
    audio = b""
    while len(audio) < octets:
        body = checked(await line.take())
        assert body["type"] == "input_audio_buffer.append"
        audio += base64.b64decode(body["audio"])
    return audio


TRANSCRIPTION = "conversation.item.input_audio_transcription"
USAGE = {"type": "duration", "seconds": 1.0}


def started(item: str, start_ms: int) -> bytes:
    return event("input_audio_buffer.speech_started", item_id=item, audio_start_ms=start_ms)


def stopped(item: str, end_ms: int) -> bytes:
    return event("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=end_ms)


def committed(item: str, previous: str | None) -> bytes:
    return event("input_audio_buffer.committed", item_id=item, previous_item_id=previous)


def delta(item: str, text: str) -> bytes:
    return event(f"{TRANSCRIPTION}.delta", item_id=item, content_index=0, delta=text)


def completed(item: str, text: str, **more: Any) -> bytes:
    return event(
        f"{TRANSCRIPTION}.completed",
        item_id=item,
        content_index=0,
        transcript=text,
        usage=USAGE,
        **more,
    )


def failed(item: str, code: str = "audio_unintelligible") -> bytes:
    error = {"type": "transcription_error", "code": code, "message": "could not"}
    return event(f"{TRANSCRIPTION}.failed", item_id=item, content_index=0, error=error)


def error_event(code: str | None, kind: str = "invalid_request_error") -> bytes:
    return event("error", error={"type": kind, "code": code, "message": "secret words"})
