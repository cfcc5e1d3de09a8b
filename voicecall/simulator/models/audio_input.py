"""A Realtime session's input audio buffer: what the client appends, cut into utterances.

With server VAD utterances are found and committed by the server, without by the client. Positions
are milliseconds of audio since the session began, whenever it arrived.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from openai.types.realtime import (
    InputAudioBufferClearedEvent,
    InputAudioBufferSpeechStartedEvent,
    InputAudioBufferSpeechStoppedEvent,
)

from voicecall.audio import Transcoder
from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import SpeechError
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, SpeechStarted, SpeechStopped
from voicecall.simulator.models.engines import MODEL_AUDIO
from voicecall.simulator.models.vendor_types import Unacceptable, new_id
from voicecall.speech.vad import Endpointer, Endpointing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from voicecall.ports import AudioFormat, VoiceActivity
    from voicecall.simulator.models.engines import ModelEngines
    from voicecall.simulator.models.realtime import RealtimeConnection
    from voicecall.speech.vad import Endpoint

MAX_APPEND_OCTETS = 15 * 1024 * 1024
"""Of base64 in one event."""

FORMATS: dict[str, AudioFormat] = {
    "audio/pcm": MODEL_AUDIO,
    "audio/pcmu": ULAW_8K,
    "audio/pcma": ALAW_8K,
}
"""By their names in a session's configuration."""

DEFAULT_VAD: Mapping[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
}

_MIN_COMMIT_MS = 100
# What is not committed by then is a client's mistake; the oldest is forgotten.
_MAX_BUFFERED_OCTETS = 600 * PCM16_8K.octets_per_second
# The silence after which somebody is taken to have finished; by the model's own judgement it is
# between these, which nothing here has.
_SEMANTIC_SILENCE_MS = {"low": 1200, "medium": 800, "auto": 800, "high": 500}
_EARLY_MS = 250


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance that was committed.

    Attributes:
        item_id: of the item it becomes.
        pcm: PCM16 at 8 kHz.
        words: what was said, or why that is not known; begun already.
    """

    item_id: str
    pcm: bytes
    words: asyncio.Task[str | SpeechError]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / PCM16_8K.octets_per_second


class SpeechSink(Protocol):
    """The session's side of its audio input."""

    def speech_started(self, item_id: str) -> None:
        """The user began to speak; the client has been told."""
        ...

    def committed(self, spoken: Spoken) -> None:
        """An utterance is complete; the client has not been told yet."""
        ...


class AudioInput:
    """One session's input audio buffer.

    It sends `speech_started`, `speech_stopped` and `cleared` itself.

    Args:
        connection: of the session.
        sink: the session.
        detector: this connection's own.
    """

    def __init__(
        self, connection: RealtimeConnection, sink: SpeechSink, detector: VoiceActivity
    ) -> None:
        self._connection = connection
        self._sink = sink
        self._detector = detector
        self._engines: ModelEngines = connection.world.engines
        self._position_ns = 0
        self._buffered = bytearray()
        self._item_id = new_id("item")
        self._speaking = False
        # Recognised in advance: until when was spoken then, and the words.
        self._early: tuple[int, asyncio.Task[str | SpeechError]] | None = None
        self._format = MODEL_AUDIO
        self._transcoder = Transcoder(self._format, PCM16_8K)
        self._turn_detection: Mapping[str, Any] | None = None
        self._rules = Endpointing()
        self._endpointer: Endpointer | None = None

    @property
    def position_ms(self) -> int:
        """How much audio was appended since the session began."""
        return self._position_ns // NS_PER_MS

    def configure(self, audio: str, turn_detection: Mapping[str, Any] | None) -> None:
        """Take the session's configuration; what does not change goes on undisturbed.

        Args:
            audio: the format's name in `FORMATS`.
            turn_detection: None leaves commits to the client.
        """
        if FORMATS[audio] != self._format:
            self._format = FORMATS[audio]
            self._transcoder = Transcoder(self._format, PCM16_8K)
        if turn_detection != self._turn_detection:
            self._turn_detection = turn_detection
            self._endpointer = None
            self._speaking = False
            if turn_detection is not None:
                self._rules = _rules(turn_detection)
                self._endpointer = Endpointer(self._detector, self._rules)

    def append(self, audio: str) -> None:
        """Take more audio, base64.

        Raises:
            Unacceptable: it is too much, or not base64.
        """
        if len(audio) > MAX_APPEND_OCTETS:
            message = "Invalid 'audio': at most 15 MiB are taken at once."
            raise Unacceptable(message, param="audio", code="string_above_max_length")
        try:
            raw = base64.b64decode(audio, validate=True)
        except binascii.Error as error:
            message = "Invalid 'audio': base64 is expected."
            raise Unacceptable(message, param="audio", code="invalid_value") from error
        pcm = self._transcoder.convert(raw)
        self._position_ns += len(pcm) * NS_PER_S // PCM16_8K.octets_per_second
        self._buffered += pcm
        if self._endpointer is None:
            self._forget(_MAX_BUFFERED_OCTETS)
            return
        for endpoint in self._endpointer.push(pcm, self._position_ns):
            self._on_endpoint(endpoint)
        if not self._speaking:
            # Nobody commits silence by hand while the server finds the turns, but somebody could.
            self._forget(10 * PCM16_8K.octets_per_second)

    def commit(self) -> None:
        """Make an utterance of everything since the last one.

        Raises:
            Unacceptable: that is less than 100 ms.
        """
        buffered_ms = PCM16_8K.duration_ms(len(self._buffered))
        if buffered_ms < _MIN_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_MIN_COMMIT_MS}ms of audio, but buffer only has {buffered_ms:.2f}ms of audio."
            )
            raise Unacceptable(message, code="input_audio_buffer_commit_empty")
        self._commit(bytes(self._buffered), None)
        self._restart()

    def clear(self) -> None:
        """Forget everything since the last utterance."""
        self._buffered.clear()
        self._drop_early()
        self._restart()
        self._connection.send(InputAudioBufferClearedEvent)

    def _restart(self) -> None:
        """Look for the next utterance from here on."""
        if self._endpointer is not None:
            self._speaking = False
            self._endpointer = Endpointer(self._detector, self._rules)

    def _on_endpoint(self, endpoint: Endpoint) -> None:
        if isinstance(endpoint, SpeechStarted):
            self._speaking = True
            start_ms = endpoint.at_ns // NS_PER_MS - self._rules.preroll_ms
            self._connection.send(
                InputAudioBufferSpeechStartedEvent,
                audio_start_ms=max(0, start_ms),
                item_id=self._item_id,
            )
            self._sink.speech_started(self._item_id)
        elif isinstance(endpoint, SpeechStopped):
            self._speaking = False
            end_ms = endpoint.at_ns // NS_PER_MS + self._rules.silence_ms
            self._connection.send(
                InputAudioBufferSpeechStoppedEvent,
                audio_end_ms=min(end_ms, self.position_ms),
                item_id=self._item_id,
            )
        elif endpoint.complete:
            self._commit(endpoint.pcm, endpoint.until_ns)
        else:
            self._drop_early()
            self._early = endpoint.until_ns, self._recognise(endpoint.pcm)

    def _commit(self, pcm: bytes, until_ns: int | None) -> None:
        if self._early is not None and self._early[0] == until_ns:
            words, self._early = self._early[1], None
        else:
            words = self._recognise(pcm)
        self._drop_early()
        spoken = Spoken(self._item_id, pcm, words)
        self._item_id = new_id("item")
        self._buffered.clear()
        self._sink.committed(spoken)

    def _recognise(self, pcm: bytes) -> asyncio.Task[str | SpeechError]:
        return self._connection.start(_words(self._engines, pcm))

    def _drop_early(self) -> None:
        if self._early is not None:
            self._early[1].cancel()
            self._early = None

    def _forget(self, kept_octets: int) -> None:
        if len(self._buffered) > kept_octets:
            del self._buffered[: len(self._buffered) - kept_octets]


async def _words(engines: ModelEngines, pcm: bytes) -> str | SpeechError:
    try:
        return await engines.transcribe(pcm)
    except SpeechError as error:
        return error


def _rules(turn_detection: Mapping[str, Any]) -> Endpointing:
    if turn_detection["type"] == "semantic_vad":
        silence_ms = _SEMANTIC_SILENCE_MS[turn_detection.get("eagerness") or "auto"]
        return Endpointing(silence_ms=silence_ms, early_ms=_EARLY_MS)
    threshold = turn_detection.get("threshold", DEFAULT_VAD["threshold"])
    silence_ms = turn_detection.get("silence_duration_ms", DEFAULT_VAD["silence_duration_ms"])
    return Endpointing(
        start_probability=threshold,
        end_probability=max(0.0, threshold - 0.15),
        silence_ms=silence_ms,
        preroll_ms=turn_detection.get("prefix_padding_ms", DEFAULT_VAD["prefix_padding_ms"]),
        # Sooner than the end of the turn, or there is nothing to gain.
        early_ms=min(_EARLY_MS, silence_ms // 2),
    )
