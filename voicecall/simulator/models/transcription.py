"""Realtime transcription sessions: audio in, transcripts out, nothing is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai.types.realtime import (
    ConversationItemAdded,
    ConversationItemDone,
    InputAudioBufferCommittedEvent,
    RealtimeConversationItemUserMessage,
    RealtimeTranscriptionSessionCreateResponse,
    SessionCreatedEvent,
    SessionUpdatedEvent,
)
from openai.types.realtime.realtime_conversation_item_user_message import Content

from voicecall.simulator.models.audio_input import DEFAULT_VAD, AudioInput
from voicecall.simulator.models.realtime import merged
from voicecall.simulator.models.transcripts import transcript
from voicecall.simulator.models.vendor_types import Unacceptable, made, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.simulator.models.audio_input import Spoken
    from voicecall.simulator.models.realtime import RealtimeConnection

LIFETIME_S = 3600
_MS_PER_S = 1000

# What models can do is told by how their names begin.
_WITHOUT_VAD = ("gpt-live-transcribe", "gpt-realtime-whisper")
_WITH_KEYWORDS = ("gpt-transcribe", "gpt-live-transcribe")
_WITHOUT_PROMPT = ("gpt-realtime-whisper",)
_WITH_DELAY = ("gpt-realtime-whisper", "gpt-live-transcribe")

_SPOKEN = made(Content, type="input_audio", transcript=None)


class TranscriptionSession:
    """One transcription session.

    Args:
        connection: its client.
    """

    def __init__(self, connection: RealtimeConnection) -> None:
        self._connection = connection
        self._id = new_id("sess")
        self._expires_s = connection.world.clock.wall_ms() // _MS_PER_S + LIFETIME_S
        self._input: dict[str, Any] = {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": dict(DEFAULT_VAD),
        }
        self._include: list[str] | None = None
        # Whether the client has said what it wants of it; else it follows from the model.
        self._detection_chosen = False
        self._audio: AudioInput | None = None
        self._last_item_id: str | None = None

    async def opened(self) -> None:
        """Say `session.created`, with the defaults."""
        detector = await self._connection.world.engines.detector()
        self._audio = AudioInput(self._connection, self, detector)
        self._configure()
        self._connection.send(SessionCreatedEvent, session=self._session())

    async def handle(self, event: Mapping[str, Any]) -> None:
        """Do what the client asks.

        Raises:
            Unacceptable: this kind of session does not do that, or it makes no sense.
        """
        if self._audio is None:
            return
        match event["type"]:
            case "input_audio_buffer.append":
                self._audio.append(event["audio"])
            case "input_audio_buffer.commit":
                self._audio.commit()
            case "input_audio_buffer.clear":
                self._audio.clear()
            case "session.update":
                self._update(event["session"])
            case other:
                message = f"Transcription sessions do not take '{other}'."
                raise Unacceptable(message, param="type", code="invalid_value")

    def speech_started(self, item_id: str) -> None:
        """Nothing has to be interrupted."""

    def committed(self, spoken: Spoken) -> None:
        """Announce the item and have its transcript told."""
        previous = self._last_item_id
        self._last_item_id = spoken.item_id
        item = made(
            RealtimeConversationItemUserMessage,
            id=spoken.item_id,
            object="realtime.item",
            role="user",
            status="completed",
            content=[_SPOKEN],
        )
        self._connection.send(
            InputAudioBufferCommittedEvent, item_id=spoken.item_id, previous_item_id=previous
        )
        self._connection.send(ConversationItemAdded, item=item, previous_item_id=previous)
        self._connection.send(ConversationItemDone, item=item, previous_item_id=previous)
        model = (self._input["transcription"] or {}).get("model")
        if model:
            logprobs = bool(self._include)
            _ = self._connection.start(
                transcript(self._connection, spoken, model, logprobs=logprobs)
            )

    def _update(self, session: Mapping[str, Any]) -> None:
        if session["type"] != "transcription":
            message = "This is a transcription session: session.type has to be 'transcription'."
            raise Unacceptable(message, param="session.type", code="invalid_value")
        update = (session.get("audio") or {}).get("input") or {}
        new = merged(self._input, update)
        chosen = self._detection_chosen or "turn_detection" in update
        model = (new["transcription"] or {}).get("model", "")
        if not chosen:
            new["turn_detection"] = None if model.startswith(_WITHOUT_VAD) else dict(DEFAULT_VAD)
        _refuse_what_the_model_cannot(model, new)
        self._input = new
        self._detection_chosen = chosen
        self._include = session.get("include", self._include)
        self._configure()
        self._connection.send(SessionUpdatedEvent, session=self._session())

    def _configure(self) -> None:
        if self._audio is not None:
            self._audio.configure(self._input["format"]["type"], self._input["turn_detection"])

    def _session(self) -> dict[str, Any]:
        session = made(
            RealtimeTranscriptionSessionCreateResponse,
            id=self._id,
            object="realtime.transcription_session",
            expires_at=self._expires_s,
            audio={"input": self._input},
            include=self._include,
        )
        return session.model_dump(exclude_unset=True)


def _refuse_what_the_model_cannot(model: str, audio: Mapping[str, Any]) -> None:
    wrong: list[tuple[bool, str]] = []
    if model:
        transcription = audio["transcription"]
        wrong = [
            (
                audio["turn_detection"] is not None and model.startswith(_WITHOUT_VAD),
                "turn_detection",
            ),
            (
                "keywords" in transcription and not model.startswith(_WITH_KEYWORDS),
                "transcription.keywords",
            ),
            (
                "languages" in transcription and not model.startswith(_WITH_KEYWORDS),
                "transcription.languages",
            ),
            (
                "prompt" in transcription and model.startswith(_WITHOUT_PROMPT),
                "transcription.prompt",
            ),
            (
                "delay" in transcription and not model.startswith(_WITH_DELAY),
                "transcription.delay",
            ),
        ]
    for is_wrong, place in wrong:
        if is_wrong:
            param = f"session.audio.input.{place}"
            message = f"'{param}' is not supported with the model '{model}'."
            raise Unacceptable(message, param=param, code="unsupported_parameter")
