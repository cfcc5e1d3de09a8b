"""Simulated Deepgram, `/v1/listen`: the live socket.

It hears with the engines of the server. An utterance's words come in pieces of a few words each, as
the vendor's do; the last of them says that the speech is over.

Faults go by `deepgram`, and their chunks by the types of messages, `Results` and so on.

Source: the types of deepgram-sdk 7.17 and the vendor's documentation of its live socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketState

from voicecall.audio import Transcoder
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import SpeechError
from voicecall.ports import PCM16_8K, AudioFormat, SpeechStarted, SpeechStopped
from voicecall.simulator.models.faults import Dropped, Failed
from voicecall.speech.vad import Endpointer, Endpointing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from voicecall.ports import Encoding, VoiceActivity
    from voicecall.simulator.models.faults import Mishaps
    from voicecall.simulator.models.world import World
    from voicecall.speech.vad import Endpoint, SpokenAudio

SERVICE = "deepgram"
IDLE_S = 10.0
"""A client that sends neither audio nor `KeepAlive` for so long is cut off."""

_ENCODINGS: Final[Mapping[str, Encoding]] = {
    "mulaw": "ulaw",
    "alaw": "alaw",
    "linear16": "pcm16",
}
_G711_HZ = 8000
# What is taken and changes nothing here.
_IGNORED = frozenset(
    {"keyterm", "keywords", "language", "numerals", "punctuate", "smart_format", "tag", "version"}
)
_FLAGS = ("interim_results", "vad_events")
_KNOWN = (
    _IGNORED
    | {*_FLAGS, "channels", "encoding", "endpointing", "model", "sample_rate"}
    | {"utterance_end_ms"}
)
_DEFAULT_ENDPOINTING_MS = 10
# Less would be silence between words.
_LEAST_ENDPOINTING_MS = 100
_LEAST_UTTERANCE_END_MS = 1000
_MAX_ENDPOINTING_MS = 30_000
_EARLY_MS = 250
_WORDS_AT_ONCE = 4
_MAX_WAITING = 256
_REFUSED = {401: "INVALID_AUTH", 429: "TOO_MANY_REQUESTS"}
_NORMAL = 1000  # RFC 6455, section 7.4.1
_POLICY_VIOLATION = 1008
_INTERNAL_ERROR = 1011


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a client asks for.

    Attributes:
        model: its name.
        audio: how its audio is coded.
        endpointing_ms: speech is over after so much silence; None never says so.
        utterance_end_ms: likewise, by another message; None for never.
        interim_results: tell guesses.
        vad_events: tell when speech begins.
    """

    model: str
    audio: AudioFormat
    endpointing_ms: int | None
    utterance_end_ms: int | None
    interim_results: bool
    vad_events: bool


class _BadRequest(ValueError):
    """The query cannot be used."""


def routes(world: World, *, idle_s: float = IDLE_S) -> list[BaseRoute]:
    """The endpoint.

    Args:
        world: what all services share.
        idle_s: how long a client may send nothing.
    """

    async def serve(websocket: WebSocket) -> None:
        query, headers = websocket.query_params, websocket.headers
        told = {key: value for key, value in headers.items() if key != "authorization"}
        world.note(SERVICE, f"{websocket.url.path}?{query}", dict(query), told)
        if headers.get("authorization", "").lower() != f"token {world.api_key}".lower():
            await websocket.send_denial_response(_refusal(401, "Invalid credentials."))
            return
        mishaps = world.faults.begin(SERVICE)
        if (planned := mishaps.refusal) is not None:
            refusal = _refusal(planned.status, planned.message, planned.code)
            await websocket.send_denial_response(refusal)
            return
        try:
            wanted = _wanted(query)
        except _BadRequest as error:
            await websocket.send_denial_response(_refusal(400, str(error)))
            return
        await websocket.accept()
        detector = await world.engines.detector()
        await _Session(websocket, world, wanted, mishaps, idle_s).run(detector)

    async def projects(request: Request) -> Response:
        if request.headers.get("authorization", "").lower() != f"token {world.api_key}".lower():
            return _refusal(401, "Invalid credentials.")
        return JSONResponse({"projects": [{"project_id": "simulated", "name": "Simulated"}]})

    return [WebSocketRoute("/v1/listen", serve), Route("/v1/projects", projects)]


def _refusal(status: int, message: str, code: str | None = None) -> Response:
    body = {
        "err_code": code or _REFUSED.get(status, "Bad Request"),
        "err_msg": message,
        "request_id": str(uuid.uuid4()),
    }
    return JSONResponse(body, status, {"dg-error": message})


def _wanted(query: QueryParams) -> _Wanted:
    if unknown := sorted(set(query) - _KNOWN):
        raise _BadRequest(f"Unknown query parameter: {unknown[0]}")
    encoding = _ENCODINGS.get(query.get("encoding", ""))
    if encoding is None:
        raise _BadRequest("encoding: linear16, mulaw or alaw")
    rate_hz = _whole(query, "sample_rate", _G711_HZ)
    if encoding != "pcm16" and rate_hz != _G711_HZ:
        raise _BadRequest("sample_rate: 8000 with this encoding")
    if _whole(query, "channels", 1) != 1:
        raise _BadRequest("channels: 1")
    interim_results = _flag(query, "interim_results")
    utterance_end_ms = None
    if "utterance_end_ms" in query:
        utterance_end_ms = _whole(query, "utterance_end_ms", 0)
        if utterance_end_ms < _LEAST_UTTERANCE_END_MS or not interim_results:
            raise _BadRequest("utterance_end_ms: at least 1000, and with interim_results")
    endpointing_ms: int | None = None
    if query.get("endpointing") != "false":
        endpointing_ms = _whole(query, "endpointing", _DEFAULT_ENDPOINTING_MS)
    return _Wanted(
        query.get("model", "base-general"),
        AudioFormat(encoding, rate_hz),
        endpointing_ms,
        utterance_end_ms,
        interim_results,
        _flag(query, "vad_events"),
    )


def _flag(query: QueryParams, key: str) -> bool:
    value = query.get(key, "false").lower()
    if value not in ("true", "false"):
        raise _BadRequest(f"{key}: true or false")
    return value == "true"


def _whole(query: QueryParams, key: str, default: int) -> int:
    value = query.get(key, str(default))
    if not value.isdecimal():
        raise _BadRequest(f"{key}: a whole number")
    return int(value)


def _rules(endpointing_ms: int | None) -> Endpointing:
    silence_ms = _MAX_ENDPOINTING_MS if endpointing_ms is None else endpointing_ms
    silence_ms = max(silence_ms, _LEAST_ENDPOINTING_MS)
    return Endpointing(silence_ms=silence_ms, early_ms=min(_EARLY_MS, silence_ms // 2))


class _Gone(Exception):
    """The client has left."""


class _Session:
    """One client.

    Overflow rule: a client that does not read 256 messages, or for which 256 utterances wait, is
    cut off.

    Args:
        websocket: accepted.
        world: what all services share.
        wanted: what the client asks for.
        mishaps: what goes wrong.
        idle_s: how long the client may send nothing.
    """

    def __init__(
        self, websocket: WebSocket, world: World, wanted: _Wanted, mishaps: Mishaps, idle_s: float
    ) -> None:
        self._websocket = websocket
        self._world = world
        self._wanted = wanted
        self._mishaps = mishaps
        self._idle_s = idle_s
        self._request_id = str(uuid.uuid4())
        self._digest = hashlib.sha256()
        self._heard_ns = 0
        self._found: asyncio.Queue[Endpoint | None] = asyncio.Queue(_MAX_WAITING)
        self._unsent: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_MAX_WAITING)
        self._early: tuple[int, str] | None = None
        # Where the results that were sent end, and where the last word did; nanoseconds of audio.
        self._told_ns = 0
        self._last_word_ns: int | None = None

    async def run(self, detector: VoiceActivity) -> None:
        """Serve the client until either side ends it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                tasks.create_task(self._recognise())
                await self._listen(detector)
        except* _Gone:
            pass
        except* Dropped as drops:
            await self._close(drops.exceptions[0])

    async def _close(self, drop: BaseException) -> None:
        code, reason = _INTERNAL_ERROR, ""
        if isinstance(drop, Dropped):
            code, reason = drop.code, drop.reason
        if self._websocket.client_state is not WebSocketState.DISCONNECTED:
            await self._websocket.close(code, reason)

    # --- listening ----------------------------------------------------------------------------

    async def _listen(self, detector: VoiceActivity) -> None:
        ears = _Ears(detector, self._wanted.audio, _rules(self._wanted.endpointing_ms))
        while True:
            message = await self._next()
            if isinstance(message, bytes):
                self._digest.update(message)
                self._put_all(await asyncio.to_thread(ears.push, message))
                self._heard_ns = ears.heard_ns
                self._say_utterance_end()
                continue
            self._world.note(SERVICE, self._websocket.url.path, message, {})
            match message.get("type"):
                case "KeepAlive":
                    pass
                case "Finalize":
                    self._put_all(await asyncio.to_thread(ears.flush))
                case "CloseStream":
                    self._put_all(await asyncio.to_thread(ears.flush))
                    self._put(self._found, None)
                    return
                case _:
                    description = "The message could not be parsed."
                    self._send("Error", variant="SchemaError", description=description)

    async def _next(self) -> bytes | dict[str, Any]:
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._websocket.receive()
        except TimeoutError:
            reason = "NET-0001: no audio was received in time"
            raise Dropped(_INTERNAL_ERROR, reason) from None
        if message["type"] == "websocket.disconnect":
            raise _Gone
        if message.get("bytes") is not None:
            return bytes(message["bytes"])
        try:
            parsed = orjson.loads(message["text"])
        except orjson.JSONDecodeError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def _put_all(self, found: list[Endpoint]) -> None:
        for endpoint in found:
            self._put(self._found, endpoint)

    def _say_utterance_end(self) -> None:
        wait_ms, last_ns = self._wanted.utterance_end_ms, self._last_word_ns
        if wait_ms is None or last_ns is None or self._heard_ns < last_ns + wait_ms * NS_PER_MS:
            return
        self._last_word_ns = None
        self._send("UtteranceEnd", channel=[0, 1], last_word_end=last_ns / NS_PER_S)

    # --- recognising --------------------------------------------------------------------------

    async def _recognise(self) -> None:
        while (endpoint := await self._found.get()) is not None:
            if isinstance(endpoint, SpeechStarted):
                self._last_word_ns = None
                self._early = None
                if self._wanted.vad_events:
                    at_s = endpoint.at_ns / NS_PER_S
                    self._send("SpeechStarted", channel=[0, 1], timestamp=at_s)
            elif not isinstance(endpoint, SpeechStopped):
                await self._tell(endpoint)
        self._send("Metadata", **self._metadata())
        self._put(self._unsent, None)

    async def _tell(self, spoken: SpokenAudio) -> None:
        if self._early is not None and self._early[0] == spoken.until_ns:
            text = self._early[1]
        else:
            try:
                text = await self._world.engines.transcribe(spoken.pcm)
            except SpeechError as error:
                raise Dropped(_INTERNAL_ERROR, "NET-0000: recognition failed") from error
            self._early = spoken.until_ns, text
        pcm_ns = len(spoken.pcm) * NS_PER_S // PCM16_8K.octets_per_second
        begin_ns = max(self._told_ns, spoken.until_ns - pcm_ns)
        words = _words(text, begin_ns, spoken.until_ns)
        if not spoken.complete:
            if self._wanted.interim_results and words:
                self._send_results(words, begin_ns, spoken.until_ns)
            return
        self._early = None
        self._last_word_ns = spoken.until_ns if words else None
        self._send_final(words, begin_ns, spoken.until_ns)
        self._told_ns = spoken.until_ns

    def _send_final(self, words: list[dict[str, Any]], begin_ns: int, end_ns: int) -> None:
        while len(words) > _WORDS_AT_ONCE:
            piece, words = words[:_WORDS_AT_ONCE], words[_WORDS_AT_ONCE:]
            piece_end_ns = round(piece[-1]["end"] * NS_PER_S)
            self._send_results(piece, begin_ns, piece_end_ns, is_final=True)
            begin_ns = piece_end_ns
        speech_final = self._wanted.endpointing_ms is not None
        self._send_results(words, begin_ns, end_ns, is_final=True, speech_final=speech_final)

    # --- sending ------------------------------------------------------------------------------

    def _send(self, kind: str, **fields: object) -> None:
        self._put(self._unsent, {"type": kind, **fields})

    def _put(self, queue: asyncio.Queue[Any], item: object) -> None:
        try:
            queue.put_nowait(item)
        except asyncio.QueueFull:
            raise Dropped(_POLICY_VIOLATION, "too much waits for this client") from None

    def _send_results(
        self,
        words: list[dict[str, Any]],
        begin_ns: int,
        end_ns: int,
        *,
        is_final: bool = False,
        speech_final: bool = False,
    ) -> None:
        alternative = {
            "transcript": " ".join(word["punctuated_word"] for word in words),
            "confidence": 0.98 if words else 0.0,
            "words": words,
        }
        model = {"name": self._wanted.model, "version": "simulated", "arch": "simulated"}
        self._send(
            "Results",
            channel_index=[0, 1],
            duration=(end_ns - begin_ns) / NS_PER_S,
            start=begin_ns / NS_PER_S,
            is_final=is_final,
            speech_final=speech_final,
            from_finalize=False,
            channel={"alternatives": [alternative]},
            metadata={
                "request_id": self._request_id,
                "model_info": model,
                "model_uuid": self._request_id,
            },
        )

    def _metadata(self) -> dict[str, Any]:
        return {
            "transaction_key": "deprecated",
            "request_id": self._request_id,
            "sha256": self._digest.hexdigest(),
            "created": datetime.now(UTC).isoformat(),
            "duration": self._heard_ns / NS_PER_S,
            "channels": 1,
        }

    async def _write(self) -> None:
        await self._write_raw(await self._mishaps.happen())
        while (message := await self._unsent.get()) is not None:
            await self._websocket.send_text(orjson.dumps(message).decode())
            try:
                await self._write_raw(await self._mishaps.happen(message["type"]))
            except Failed as failed:
                self._send("Error", variant=failed.fault.code, description=failed.fault.message)
        raise Dropped(_NORMAL, "")

    async def _write_raw(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            await self._websocket.send_text(text)


class _Ears:
    """One client's ears. Time is the audio's own: its start is 0, however fast it comes.

    Args:
        detector: tells speech from other sounds.
        audio: how the audio is coded.
        rules: when speech counts as begun and as over.
    """

    def __init__(self, detector: VoiceActivity, audio: AudioFormat, rules: Endpointing) -> None:
        self._octets_per_second = audio.octets_per_second
        self._transcoder = Transcoder(audio, PCM16_8K)
        self._endpointer = Endpointer(detector, rules)
        self._silence_ms = 2 * rules.silence_ms
        self._octets = 0

    @property
    def heard_ns(self) -> int:
        """How much audio has come."""
        return self._octets * NS_PER_S // self._octets_per_second

    def push(self, audio: bytes) -> list[Endpoint]:
        """Take more audio."""
        self._octets += len(audio)
        return self._endpointer.push(self._transcoder.convert(audio), self.heard_ns)

    def flush(self) -> list[Endpoint]:
        """End what is being said, as if silence had followed."""
        silence = bytes(self._silence_ms * PCM16_8K.octets_per_second // 1000)
        return self._endpointer.push(silence, self.heard_ns + self._silence_ms * NS_PER_MS)


def _words(text: str, begin_ns: int, end_ns: int) -> list[dict[str, Any]]:
    """Words with their times, which are as long as they are written."""
    written = text.split()
    letters = sum(len(word) for word in written) or 1
    second = (end_ns - begin_ns) / NS_PER_S / letters
    words: list[dict[str, Any]] = []
    position = begin_ns / NS_PER_S
    for word in written:
        end = position + len(word) * second
        bare = word.strip(".,!?;:").lower()
        words.append(
            {
                "word": bare,
                "start": position,
                "end": end,
                "confidence": 0.98,
                "punctuated_word": word,
            }
        )
        position = end
    return words
