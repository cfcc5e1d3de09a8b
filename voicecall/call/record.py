"""The call record: what is stored, shown and returned about one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Mode = Literal["notify", "conversation"]


class CallState(StrEnum):
    """Where a call stands. Everything from `COMPLETED` on is terminal and also an end reason."""

    INITIATED = "initiated"
    RINGING = "ringing"
    ANSWERED = "answered"
    ACTIVE = "active"
    SPEAKING = "speaking"
    LISTENING = "listening"
    COMPLETED = "completed"
    HANGUP_USER = "hangup-user"
    HANGUP_BOT = "hangup-bot"
    TIMEOUT = "timeout"
    ERROR = "error"
    FAILED = "failed"
    NO_ANSWER = "no-answer"
    BUSY = "busy"
    VOICEMAIL = "voicemail"

    @property
    def terminal(self) -> bool:
        """Whether the call is over."""
        return self in TERMINAL_STATES


LIVE_STATES = frozenset(
    {
        CallState.INITIATED,
        CallState.RINGING,
        CallState.ANSWERED,
        CallState.ACTIVE,
        CallState.SPEAKING,
        CallState.LISTENING,
    }
)
TERMINAL_STATES = frozenset(CallState) - LIVE_STATES


class Direction(StrEnum):
    """Who placed the call."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Speaker(StrEnum):
    """Whose words a transcript entry holds."""

    BOT = "bot"
    USER = "user"


@dataclass(slots=True)
class TranscriptEntry:
    """One utterance.

    Attributes:
        timestamp: milliseconds since the epoch.
        speaker: who said it.
        text: what was said; for the bot, what was heard of it.
        is_final: whether the text may still change.
    """

    timestamp: int
    speaker: Speaker
    text: str
    is_final: bool = True

    def to_json(self) -> dict[str, Any]:
        """The entry in the wire format."""
        return {
            "timestamp": self.timestamp,
            "speaker": self.speaker.value,
            "text": self.text,
            "isFinal": self.is_final,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TranscriptEntry:
        """The entry that `to_json` wrote as `data`. Raises KeyError or ValueError for others."""
        return cls(data["timestamp"], Speaker(data["speaker"]), data["text"], data["isFinal"])


@dataclass(slots=True)
class CallRecord:
    """Everything kept about one call. Owned and changed by that call's actor only.

    Attributes:
        call_id: our id, a uuid4.
        provider: carrier name.
        direction: who placed it.
        state: where it stands.
        from_number: caller, E.164 (or `sip:` where the carrier has it).
        to_number: callee, likewise.
        session_key: whose conversation memory the call continues.
        started_at: ms since the epoch, when the record was made.
        provider_call_id: the carrier's id, once known.
        answered_at: ms since the epoch.
        ended_at: ms since the epoch.
        end_reason: the terminal state, once ended.
        transcript: final utterances in order.
        metadata: `mode`, `turnCount`, `lastTurnLatencyMs` and whatever else is worth keeping.
    """

    call_id: str
    provider: str
    direction: Direction
    state: CallState
    from_number: str
    to_number: str
    session_key: str
    started_at: int
    provider_call_id: str | None = None
    answered_at: int | None = None
    ended_at: int | None = None
    end_reason: CallState | None = None
    transcript: list[TranscriptEntry] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record in the wire format: camelCase keys, JSON types only."""
        return {
            "callId": self.call_id,
            "providerCallId": self.provider_call_id,
            "provider": self.provider,
            "direction": self.direction.value,
            "state": self.state.value,
            "from": self.from_number,
            "to": self.to_number,
            "sessionKey": self.session_key,
            "startedAt": self.started_at,
            "answeredAt": self.answered_at,
            "endedAt": self.ended_at,
            "endReason": self.end_reason.value if self.end_reason else None,
            "transcript": [entry.to_json() for entry in self.transcript],
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CallRecord:
        """The record that `to_json` wrote as `data`. Raises KeyError or ValueError for others."""
        end_reason = data["endReason"]
        return cls(
            call_id=data["callId"],
            provider=data["provider"],
            direction=Direction(data["direction"]),
            state=CallState(data["state"]),
            from_number=data["from"],
            to_number=data["to"],
            session_key=data["sessionKey"],
            started_at=data["startedAt"],
            provider_call_id=data["providerCallId"],
            answered_at=data["answeredAt"],
            ended_at=data["endedAt"],
            end_reason=CallState(end_reason) if end_reason else None,
            transcript=[TranscriptEntry.from_json(entry) for entry in data["transcript"]],
            metadata=dict(data["metadata"]),
        )
