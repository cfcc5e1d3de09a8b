"""OpenAI Realtime, transcription sessions: the model writes down what the caller says.

The caller's audio goes there as the carrier coded it. Where the model can tell when the caller has
finished, it does; where it cannot, or is not wanted to, turns are found here.

Source: OpenAI Realtime API, general availability, as in the types of openai 3.54.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from voicecall.errors import ConfigError, DependencyMissing, SpeechError
from voicecall.ports import (
    ULAW_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
)
from voicecall.speech.realtime.sockets import OpenAISockets
from voicecall.speech.stt.channel import SocketChannel
from voicecall.speech.stt.commits import CommittedSttStream, TurnGate
from voicecall.speech.stt.local import default_detector
from voicecall.speech.stt.ordering import TranscriptOrder
from voicecall.speech.stt.remote import RemoteSttStream
from voicecall.speech.stt.sending import Positions
from voicecall.speech.vad import Endpointing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from openai import AsyncOpenAI
    from openai.types.websocket_connection_options import WebSocketConnectionOptions

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, SttEvent, SttStream, VoiceActivity
    from voicecall.speech.realtime.sockets import Account, Manager
    from voicecall.speech.stt.channel import Channel, Socket
    from voicecall.speech.stt.remote import Limits
    from voicecall.speech.stt.sending import Piece

_log = logging.getLogger("voicecall.speech")

_SERVICE = "OpenAI transcription"
_PREFIX_PADDING_MS = 300
# The server refuses to be asked for less.
_LEAST_TURN_OCTETS = ULAW_8K.octets_per_second // 10
_SILENCE = b"\xff"
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
# Error types that the same request may get rid of.
_TRANSIENT = frozenset({"server_error", "rate_limit_error", "api_error", "overloaded_error"})

# What models are known not to take, by the beginning of their names; others are asked, and refuse
# by themselves what they do not take.
_WITHOUT_TURN_DETECTION = ("gpt-live-transcribe", "gpt-realtime-whisper")
_WITH_KEYWORDS = ("gpt-transcribe", "gpt-live-transcribe")
_WITHOUT_PROMPT = ("gpt-realtime-whisper",)


@dataclass(frozen=True, slots=True)
class TranscriptionSettings:
    """What the model is told.

    Attributes:
        model: its name.
        language: of the caller, ISO 639-1; None for any.
        prompt: what the talk may be about, or how it is written; not sent to models that take none.
        keywords: names and words that may come up; not sent to models that take none.
        turn_detection: who finds out when the caller has finished: the server by silence
            (`server`) or by what is said (`semantic`), we (`local`), or the server where the model
            can, else we (`auto`).
        noise_reduction: where the caller's microphone is; None for as it comes.
        confidence: ask how certain the model is; not all of them can tell.
    """

    model: str
    language: str | None = None
    prompt: str | None = None
    keywords: Sequence[str] = ()
    turn_detection: Literal["auto", "server", "semantic", "local"] = "auto"
    noise_reduction: Literal["near_field", "far_field"] | None = "near_field"
    confidence: bool = False

    @property
    def detects_turns(self) -> bool:
        """Whether the server is to find out when the caller has finished."""
        if self.turn_detection == "auto":
            return not self.model.startswith(_WITHOUT_TURN_DETECTION)
        return self.turn_detection != "local"


class OpenAISpeechToText:
    """The recogniser, shared by all calls; implements `ports.SpeechToText`.

    Args:
        account: whose.
        settings: what the model is told.
        clock: the time.
        rules: when speech counts as begun and as over. The server's own turn detection knows
            `start_probability` and `silence_ms` only.
        detector: makes a call's own voice activity detector, where turns are found here.
        limits: how long what may take.

    Raises:
        ConfigError: the model cannot do what is asked.
    """

    def __init__(
        self,
        account: Account,
        settings: TranscriptionSettings,
        *,
        clock: Clock,
        rules: Endpointing | None = None,
        detector: Callable[[], VoiceActivity] = default_detector,
        limits: Limits | None = None,
    ) -> None:
        if settings.detects_turns and settings.model.startswith(_WITHOUT_TURN_DETECTION):
            raise ConfigError(
                f"stt.openai.turnDetection: {settings.model} has none of its own; use local"
            )
        self._sockets = OpenAISockets(account, _SERVICE)
        self._settings = settings
        self._clock = clock
        self._rules = rules or Endpointing()
        self._detector = detector
        self._limits = limits
        self._detect_worker = ThreadPoolExecutor(1, thread_name_prefix="voicecall-vad")

    @property
    def input(self) -> AudioFormat:
        """Mu-law at 8 kHz, as most carriers code it."""
        return ULAW_8K

    async def prepare(self) -> None:
        """Load the packages.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: the account cannot be used.
        """
        await self._sockets.prepare()

    async def open(self) -> SttStream:
        """Begin a call; the socket is opened meanwhile. Raises as `prepare` does."""
        await self.prepare()
        gate = None if self._settings.detects_turns else await self._gate()
        remote = RemoteSttStream(
            self._connect, service=_SERVICE, audio=ULAW_8K, clock=self._clock, limits=self._limits
        )
        if gate is None:
            return remote
        return CommittedSttStream(remote, gate, worker=self._detect_worker, clock=self._clock)

    async def close(self) -> None:
        """Free the client; connections of open streams stay open."""
        await self._sockets.close()
        shutdown = partial(self._detect_worker.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(shutdown)

    async def _gate(self) -> TurnGate:
        try:
            loop = asyncio.get_running_loop()
            detector = await loop.run_in_executor(self._detect_worker, self._detector)
        except DependencyMissing:
            raise
        except Exception as error:
            # Detectors document no errors of their own.
            raise SpeechError("voice activity detection cannot start") from error
        return TurnGate(detector, self._rules)

    async def _connect(self) -> Channel:
        socket = await self._sockets.dial(_manager)
        dialect = TranscriptionDialect(self._settings, self._rules)
        try:
            await _await_event(socket, "session.created")
            await socket.send(dialect.configuration())
            await _await_event(socket, "session.updated")
        except BaseException:
            await socket.close()
            raise
        return SocketChannel(socket, dialect, self._clock)


def _manager(client: AsyncOpenAI, options: WebSocketConnectionOptions) -> Manager:
    # A model in the URL would make it a conversation.
    return client.realtime.connect(
        extra_query={"intent": "transcription"}, websocket_connection_options=options
    )


async def _await_event(socket: Socket[str], kind: str) -> None:
    """Wait for an event of the session's beginning.

    Raises:
        SpeechError: an error came instead, or the connection broke.
    """
    while True:
        try:
            event = orjson.loads(await socket.receive())
            received = event["type"]
            if received == "error":
                raise _refusal(event["error"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning(
                "a recogniser sent an unusable event", extra={"kind": type(error).__name__}
            )
        else:
            if received == kind:
                return


def _refusal(error: Mapping[str, Any]) -> SpeechError:
    code = error.get("code") or error["type"]
    return SpeechError(
        f"{_SERVICE} refused the session: {code}",
        retryable=error["type"] in _TRANSIENT,
        status=code,
    )


class TranscriptionDialect:
    """One transcription session without I/O; implements `channel.Dialect`.

    Args:
        settings: what the model is told.
        rules: when speech counts as begun and as over.
    """

    def __init__(self, settings: TranscriptionSettings, rules: Endpointing) -> None:
        self._settings = settings
        self._rules = rules
        self._by_silence = settings.turn_detection in ("auto", "server")
        self._positions = Positions(ULAW_8K)
        self._order = TranscriptOrder()
        self._uncommitted_octets = 0

    @property
    def deadline_ns(self) -> int | None:
        """When a transcript that waits for an earlier one is told without it."""
        return self._order.deadline_ns

    # --- sending ------------------------------------------------------------------------------

    def configuration(self) -> str:
        """The message that configures the session."""
        noise = self._settings.noise_reduction
        session: dict[str, Any] = {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "noise_reduction": None if noise is None else {"type": noise},
                    "transcription": self._transcription(),
                    "turn_detection": self._turn_detection(),
                }
            },
        }
        if self._settings.confidence:
            session["include"] = ["item.input_audio_transcription.logprobs"]
        return orjson.dumps({"type": "session.update", "session": session}).decode()

    def _transcription(self) -> dict[str, Any]:
        settings = self._settings
        told: dict[str, Any] = {"model": settings.model}
        if settings.language is not None:
            told["language"] = settings.language
        if settings.prompt is not None and not settings.model.startswith(_WITHOUT_PROMPT):
            told["prompt"] = settings.prompt
        if settings.keywords and settings.model.startswith(_WITH_KEYWORDS):
            told["keywords"] = list(settings.keywords)
        return told

    def _turn_detection(self) -> dict[str, Any] | None:
        if not self._settings.detects_turns:
            return None
        if not self._by_silence:
            return {"type": "semantic_vad"}
        return {
            "type": "server_vad",
            "threshold": self._rules.start_probability,
            "prefix_padding_ms": _PREFIX_PADDING_MS,
            "silence_duration_ms": self._rules.silence_ms,
        }

    def audio(self, piece: Piece) -> Sequence[str]:
        """The audio, and the request for the transcript where the turn ends with it."""
        if not piece.ends_turn:
            self._uncommitted_octets += len(piece.audio)
            return (self._append(piece),) if piece.audio else ()
        missing_octets = _LEAST_TURN_OCTETS - self._uncommitted_octets - len(piece.audio)
        messages = [self._append(piece)] if piece.audio else []
        if missing_octets > 0:
            # Most of the turn was lost with the last connection; the rest is asked for anyway.
            messages.append(_appending(_SILENCE * missing_octets))
        self._uncommitted_octets = 0
        return (*messages, '{"type":"input_audio_buffer.commit"}')

    def _append(self, piece: Piece) -> str:
        self._positions.sent(piece)
        return _appending(piece.audio)

    def rest(self) -> None:
        """Nothing: the socket's pings are enough."""

    def farewell(self) -> None:
        """Nothing: closing the socket is enough."""

    # --- receiving ----------------------------------------------------------------------------

    def receive(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        """What an event means."""
        handle = self._HANDLERS.get(event["type"])
        return () if handle is None else handle(self, event, now_ns)

    def tick(self, now_ns: int) -> Sequence[SttEvent]:
        """Tell what has waited for too long."""
        return self._order.release(now_ns)

    def _on_started(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        start_ms = event["audio_start_ms"] + (_PREFIX_PADDING_MS if self._by_silence else 0)
        return (SpeechStarted(self._positions.date(start_ms, now_ns)),)

    def _on_stopped(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        end_ms = event["audio_end_ms"] - (self._rules.silence_ms if self._by_silence else 0)
        return (SpeechStopped(self._positions.date(end_ms, now_ns)),)

    def _on_committed(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        self._order.begin(str(event["item_id"]), event.get("previous_item_id"))
        return self._order.release(now_ns)

    def _on_delta(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        del now_ns
        text = self._order.add(str(event["item_id"]), event.get("delta") or "")
        return (PartialTranscript(text),) if text else ()

    def _on_completed(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        final = FinalTranscript(str(event["transcript"]).strip(), _confidence(event))
        self._order.finish(str(event["item_id"]), final)
        return self._order.release(now_ns)

    def _on_failed(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        error = event.get("error") or {}
        _log.warning(
            "a recogniser could not make out what was said",
            extra={"status": error.get("code") or error.get("type")},
        )
        self._order.finish(str(event["item_id"]), FinalTranscript(""))
        return self._order.release(now_ns)

    def _on_error(self, event: Mapping[str, Any], now_ns: int) -> Sequence[SttEvent]:
        """Most errors concern one message only; the session goes on, or is closed by the server."""
        del now_ns
        error = event["error"]
        code = error.get("code") or error["type"]
        _log.warning("a recogniser reported an error", extra={"status": code})
        return ()

    _HANDLERS: Final = {
        "input_audio_buffer.speech_started": _on_started,
        "input_audio_buffer.speech_stopped": _on_stopped,
        "input_audio_buffer.committed": _on_committed,
        f"{_TRANSCRIPTION}.delta": _on_delta,
        f"{_TRANSCRIPTION}.completed": _on_completed,
        f"{_TRANSCRIPTION}.failed": _on_failed,
        "error": _on_error,
    }


def _appending(audio: bytes) -> str:
    coded = binascii.b2a_base64(audio, newline=False).decode()
    return f'{{"type":"input_audio_buffer.append","audio":"{coded}"}}'


def _confidence(event: Mapping[str, Any]) -> float | None:
    """The mean probability of the words' tokens, where the server told them."""
    tokens = event.get("logprobs")
    if not tokens:
        return None
    mean = math.fsum(float(token["logprob"]) for token in tokens) / len(tokens)
    return min(1.0, math.exp(mean))
