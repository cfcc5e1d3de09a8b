"""Simulated ElevenLabs: text to speech over HTTP and over the multi-context socket.

It speaks with the voice of the server's engines. Of its limits those are kept that clients run
into: five contexts a socket, silence, what may be told only with a context's first message.

Faults go by `elevenlabs`; the chunks of a socket are named `audio` and `final`.

Source: the types of elevenlabs 2.78 and the vendor's documentation of both endpoints.
"""

from __future__ import annotations

import asyncio
import base64
import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect, WebSocketState

from voicecall.errors import SpeechError
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat
from voicecall.simulator.models.faults import Dropped, Failed
from voicecall.simulator.models.speaking import spoken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from voicecall.simulator.models.faults import Mishaps, Refuse
    from voicecall.simulator.models.world import World

SERVICE = "elevenlabs"
MAX_CONTEXTS = 5
"""A socket with one more is closed."""
INACTIVITY_S = 20.0
"""A socket is closed after so much silence, unless its URL says otherwise."""

_FORMATS: Final[Mapping[str, AudioFormat]] = {
    "ulaw_8000": ULAW_8K,
    "alaw_8000": ALAW_8K,
    "pcm_8000": PCM16_8K,
    "pcm_16000": AudioFormat("pcm16", 16000),
    "pcm_24000": AudioFormat("pcm16", 24000),
}
_MEDIA_TYPES = {"ulaw": "audio/basic", "alaw": "audio/x-alaw-basic", "pcm16": "audio/pcm"}
_DEFAULT_FORMAT = "mp3_44100_128"
_VOICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HTTP_QUERY = frozenset({"enable_logging", "optimize_streaming_latency", "output_format"})
_SOCKET_QUERY = frozenset(
    {
        "apply_text_normalization",
        "auto_mode",
        "enable_logging",
        "inactivity_timeout",
        "language_code",
        "model_id",
        "output_format",
        "seed",
        "sync_alignment",
    }
)
_MAX_INACTIVITY_S = 180
_MAX_CHARACTERS = 40_000
# Without `auto_mode` so much text waits for more of it.
_SCHEDULE_CHARACTERS = 120
_MAX_WAITING = 256
_DEFAULT_CONTEXT = "default"
# In the place of a chunk's name.
_END = ""
_STATUSES = {401: "invalid_api_key", 404: "voice_not_found", 429: "too_many_concurrent_requests"}
# Nobody is there to see it.
_GONE = 499
_NORMAL = 1000  # RFC 6455, section 7.4.1
_POLICY_VIOLATION = 1008
_INTERNAL_ERROR = 1011

Share = Annotated[float, Field(ge=0, le=1)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _VoiceSettings(_Message):
    stability: Share | None = None
    similarity_boost: Share | None = None
    style: Share | None = None
    use_speaker_boost: bool | None = None
    speed: Annotated[float, Field(ge=0.7, le=1.2)] | None = None


class _SpeechRequest(_Message):
    """The body of a request over HTTP."""

    text: Annotated[str, Field(min_length=1, max_length=_MAX_CHARACTERS)]
    model_id: str = "eleven_multilingual_v2"
    language_code: str | None = None
    voice_settings: _VoiceSettings | None = None
    seed: Annotated[int, Field(ge=0, le=4294967295)] | None = None
    previous_text: str | None = None
    next_text: str | None = None
    apply_text_normalization: Literal["auto", "on", "off"] = "auto"


class _GenerationConfig(_Message):
    chunk_length_schedule: list[Annotated[float, Field(ge=50, le=500)]] | None = None


class _ContextMessage(_Message):
    """What a client says over a socket."""

    text: Annotated[str, Field(max_length=_MAX_CHARACTERS)] | None = None
    context_id: str | None = None
    flush: bool = False
    close_context: bool = False
    close_socket: bool = False
    voice_settings: _VoiceSettings | None = None
    generation_config: _GenerationConfig | None = None


class _Refused(Exception):
    """A request is answered by an error.

    Attributes:
        status: of HTTP.
        detail: the body's.
    """

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail

    def response(self) -> Response:
        """The error as the vendor writes it."""
        return JSONResponse({"detail": self.detail}, self.status)


def routes(world: World) -> list[BaseRoute]:
    """The endpoints."""

    async def stream(request: Request) -> Response:
        try:
            return await _stream(world, request)
        except _Refused as refused:
            return refused.response()
        except ClientDisconnect:
            return Response(status_code=_GONE)

    async def contexts(websocket: WebSocket) -> None:
        try:
            wanted, mishaps = _admitted(world, websocket)
        except _Refused as refused:
            await websocket.send_denial_response(refused.response())
            return
        await websocket.accept()
        await _Session(websocket, world, wanted, mishaps).run()

    async def voice(request: Request) -> Response:
        voice_id = request.path_params["voice_id"]
        try:
            _check_access(world, request.headers, voice_id)
        except _Refused as refused:
            return refused.response()
        return JSONResponse({"voice_id": voice_id, "name": "Simulated"})

    path = "/v1/text-to-speech/{voice_id}"
    return [
        Route("/v1/voices/{voice_id}", voice),
        Route(f"{path}/stream", stream, methods=["POST"]),
        WebSocketRoute(f"{path}/multi-stream-input", contexts),
    ]


def _named(status: int, name: str, message: str) -> _Refused:
    return _Refused(status, {"status": name, "message": message})


def _planned(refuse: Refuse) -> _Refused:
    name = refuse.code or _STATUSES.get(refuse.status, "internal_error")
    return _named(refuse.status, name, refuse.message)


def _check_access(world: World, headers: Mapping[str, str], voice_id: str) -> None:
    if headers.get("xi-api-key") != world.api_key:
        raise _named(401, "invalid_api_key", "Invalid API key")
    if not _VOICE_ID.fullmatch(voice_id):
        raise _named(404, "voice_not_found", "A voice with that id was not found.")


def _format(query: QueryParams, known: frozenset[str]) -> AudioFormat:
    if unknown := sorted(set(query) - known):
        raise _named(400, "invalid_query", f"Unknown query parameter: {unknown[0]}")
    name = query.get("output_format", _DEFAULT_FORMAT)
    if name not in _FORMATS:
        raise _named(400, "invalid_output_format", f"Only {', '.join(_FORMATS)} are simulated.")
    return _FORMATS[name]


# --- over HTTP ---------------------------------------------------------------------------------


async def _stream(world: World, request: Request) -> Response:
    told = {key: value for key, value in request.headers.items() if key != "xi-api-key"}
    body = await request.body()
    world.note(SERVICE, f"{request.url.path}?{request.url.query}", _json_object(body), told)
    _check_access(world, request.headers, request.path_params["voice_id"])
    mishaps = world.faults.begin(SERVICE)
    if mishaps.refusal is not None:
        raise _planned(mishaps.refusal)
    audio = _format(request.query_params, _HTTP_QUERY)
    try:
        wanted = _SpeechRequest.model_validate_json(body)
    except ValidationError as error:
        raise _Refused(422, _detail(error)) from error
    speech = spoken(world.engines.voice, wanted.text, audio)
    chunks = mishaps.spoil(speech, str.encode, lambda _: "audio")
    first = await _first(request, chunks)
    if first is None:
        return Response(status_code=_GONE)
    return StreamingResponse(_body(first, chunks), media_type=_MEDIA_TYPES[audio.encoding])


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def _detail(error: ValidationError) -> list[dict[str, Any]]:
    return [
        {"loc": ["body", *problem["loc"]], "msg": problem["msg"], "type": problem["type"]}
        for problem in error.errors()
    ]


async def _first(request: Request, chunks: AsyncGenerator[bytes]) -> bytes | None:
    """The first chunk, before which nothing is sent; None when the client leaves before."""
    first = asyncio.ensure_future(anext(chunks, b""))
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            return first.result()
    except Failed as failed:
        raise _named(500, failed.fault.code, failed.fault.message) from failed
    except SpeechError as error:
        raise _named(500, "internal_error", "The text could not be spoken.") from error
    finally:
        for waiting in (first, gone):
            waiting.cancel()
        await asyncio.wait({first, gone})
    return None


async def _body(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk


# --- over a socket -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a socket's URL asks for.

    Attributes:
        audio: how speech is coded.
        auto_mode: text is spoken as it comes, whether flushed or not.
        inactivity_s: after so much silence the socket is closed.
    """

    audio: AudioFormat
    auto_mode: bool
    inactivity_s: float


def _admitted(world: World, websocket: WebSocket) -> tuple[_Wanted, Mishaps]:
    query, headers = websocket.query_params, websocket.headers
    told = {key: value for key, value in headers.items() if key != "xi-api-key"}
    world.note(SERVICE, f"{websocket.url.path}?{query}", dict(query), told)
    _check_access(world, headers, websocket.path_params["voice_id"])
    mishaps = world.faults.begin(SERVICE)
    if mishaps.refusal is not None:
        raise _planned(mishaps.refusal)
    audio = _format(query, _SOCKET_QUERY)
    inactivity = query.get("inactivity_timeout", f"{INACTIVITY_S:g}")
    if not inactivity.isdecimal() or not 0 < int(inactivity) <= _MAX_INACTIVITY_S:
        raise _named(400, "invalid_inactivity_timeout", "1 to 180 seconds are possible.")
    return _Wanted(audio, query.get("auto_mode") == "true", float(inactivity)), mishaps


class _Gone(Exception):
    """The client has left."""


class _Violation(Exception):
    """The client did what the vendor closes sockets for.

    Attributes:
        name: of the error.
        message: for people.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name)
        self.name = name
        self.message = message


@dataclass(slots=True, eq=False)
class _Context:
    """One stream of speech.

    Attributes:
        id: the client's.
        texts: what is to be spoken, None at the end.
        buffer: what waits for more text.
    """

    id: str
    texts: asyncio.Queue[str | None]
    buffer: str = ""

    def speak(self) -> None:
        """Have everything spoken that waits."""
        text, self.buffer = self.buffer, ""
        if text.strip():
            self._put(text)

    def close(self) -> None:
        """No more text follows; what was not flushed is dropped."""
        self.buffer = ""
        self._put(None)

    def _put(self, text: str | None) -> None:
        try:
            self.texts.put_nowait(text)
        except asyncio.QueueFull:
            raise Dropped(_POLICY_VIOLATION, "too much waits in a context") from None


class _Session:
    """One client's socket.

    Overflow rule: a client that does not read 256 messages, or has 256 texts waiting in a context,
    is cut off.

    Args:
        websocket: accepted.
        world: what all services share.
        wanted: what the client asks for.
        mishaps: what goes wrong.
    """

    def __init__(
        self, websocket: WebSocket, world: World, wanted: _Wanted, mishaps: Mishaps
    ) -> None:
        self._websocket = websocket
        self._world = world
        self._wanted = wanted
        self._mishaps = mishaps
        self._contexts: dict[str, _Context] = {}
        # Contexts that are closed and still speak count, too.
        self._speaking: set[_Context] = set()
        self._unsent: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_MAX_WAITING)
        self._ending = False
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Serve the client until either side ends it."""
        try:
            async with self._tasks:
                self._tasks.create_task(self._write())
                await self._listen()
        except* (_Gone, WebSocketDisconnect):
            pass
        except* Dropped as drops:
            await self._close(drops.exceptions[0])

    async def _close(self, drop: BaseException) -> None:
        code, reason = _INTERNAL_ERROR, ""
        if isinstance(drop, Dropped):
            code, reason = drop.code, drop.reason
        if self._websocket.client_state is not WebSocketState.DISCONNECTED:
            await self._websocket.close(code, reason)

    async def _listen(self) -> None:
        while True:
            try:
                self._take(await self._next())
            except _Violation as violation:
                await self._complain(violation)
                raise Dropped(_POLICY_VIOLATION, violation.message) from violation

    async def _next(self) -> _ContextMessage:
        try:
            async with asyncio.timeout(self._wanted.inactivity_s):
                raw = await self._websocket.receive_text()
            return _ContextMessage.model_validate_json(raw)
        except TimeoutError as error:
            message = f"No new text within the timeout of {self._wanted.inactivity_s:g} seconds."
            raise _Violation("input_timeout_exceeded", message) from error
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise _Violation("invalid_message", f"Invalid message: {place}") from error
        except WebSocketDisconnect as error:
            raise _Gone from error

    async def _complain(self, violation: _Violation) -> None:
        await self._send_text(
            {
                "message": violation.message,
                "error": violation.name,
                "code": _POLICY_VIOLATION,
            }
        )

    def _take(self, message: _ContextMessage) -> None:
        self._world.note(
            SERVICE, self._websocket.url.path, message.model_dump(exclude_unset=True), {}
        )
        if message.close_socket:
            self._end()
            return
        key = message.context_id or _DEFAULT_CONTEXT
        if message.close_context:
            if (context := self._contexts.pop(key, None)) is not None:
                context.close()
            return
        if not message.text and not message.flush:
            # It keeps the socket alive.
            return
        context = self._contexts.get(key)
        if context is None:
            context = self._open(key)
        elif message.voice_settings is not None or message.generation_config is not None:
            reason = "Voice settings can only be set in a context's first message."
            raise _Violation("invalid_message", reason)
        context.buffer += message.text or ""
        waiting = len(context.buffer)
        if message.flush or self._wanted.auto_mode or waiting >= _SCHEDULE_CHARACTERS:
            context.speak()

    def _open(self, key: str) -> _Context:
        if len(self._speaking) >= MAX_CONTEXTS:
            reason = (
                f"Maximum simultaneous contexts per WebSocket connection exceeded ({MAX_CONTEXTS})."
            )
            raise _Violation("max_active_conversations", reason)
        context = self._contexts[key] = _Context(key, asyncio.Queue(_MAX_WAITING))
        self._speaking.add(context)
        self._tasks.create_task(self._speak(context))
        return context

    async def _speak(self, context: _Context) -> None:
        place = {"contextId": context.id}
        while (text := await context.texts.get()) is not None:
            async with aclosing(self._audio(text)) as pieces:
                async for piece in pieces:
                    coded = base64.b64encode(piece).decode()
                    self._send("audio", {"audio": coded, "isFinal": None, **place})
                    # Engines may take no time at all; the client is to be heard in between.
                    await asyncio.sleep(0)
        self._send("final", {"audio": None, "isFinal": True, **place})
        self._speaking.discard(context)
        if self._ending and not self._speaking:
            self._send(_END, {})

    def _end(self) -> None:
        """Close the socket once everything has been spoken."""
        self._ending = True
        for context in self._contexts.values():
            context.speak()
            context.close()
        if not self._speaking:
            self._send(_END, {})

    async def _audio(self, text: str) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(
                spoken(self._world.engines.voice, text, self._wanted.audio)
            ) as pieces:
                async for piece in pieces:
                    yield piece
        except SpeechError as error:
            raise Dropped(_INTERNAL_ERROR, "the text could not be spoken") from error

    def _send(self, name: str, message: dict[str, Any]) -> None:
        try:
            self._unsent.put_nowait((name, message))
        except asyncio.QueueFull:
            raise Dropped(_POLICY_VIOLATION, "too much waits for this client") from None

    async def _write(self) -> None:
        await self._write_raw(await self._mishaps.happen())
        while True:
            name, message = await self._unsent.get()
            if name == _END:
                raise Dropped(_NORMAL, "")
            await self._send_text(message)
            try:
                await self._write_raw(await self._mishaps.happen(name))
            except Failed as failed:
                fault = failed.fault
                error = {"message": fault.message, "error": fault.code, "code": _INTERNAL_ERROR}
                await self._send_text(error)
                raise Dropped(_INTERNAL_ERROR, fault.message) from failed

    async def _write_raw(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            await self._websocket.send_text(text)

    async def _send_text(self, message: Mapping[str, Any]) -> None:
        await self._websocket.send_text(orjson.dumps(message).decode())
