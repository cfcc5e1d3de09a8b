"""What can happen to a call, in one vocabulary for all carriers and for our own session."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (dataclass fields)
from dataclasses import dataclass, field
from typing import ClassVar, Final

from voicecall.call.record import CallState, Direction  # noqa: TC001  (dataclass fields)

NO_TURN: Final = ""
"""The turn token of words that were listened for outside of any turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """Common part of every event.

    Attributes:
        id: unique id of this event.
        dedupe_key: two events with the same key are the same fact; it is applied once per call.
        timestamp: ms since the epoch, when it happened.
        call_id: our id, where the source knows it.
        provider_call_id: the carrier's id, where the source knows it.
        provider_alias: what the carrier calls the call besides, where it has two names for it.
        direction: only on events that may open a call.
        from_number: likewise.
        to_number: likewise.
    """

    type: ClassVar[str] = "call"

    id: str
    dedupe_key: str
    timestamp: int
    call_id: str | None = None
    provider_call_id: str | None = None
    provider_alias: str | None = None
    direction: Direction | None = None
    from_number: str | None = None
    to_number: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInitiated(CallEvent):
    """The carrier knows of the call."""

    type: ClassVar[str] = "call.initiated"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRinging(CallEvent):
    """The callee's phone rings."""

    type: ClassVar[str] = "call.ringing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswered(CallEvent):
    """Somebody or something picked up."""

    type: ClassVar[str] = "call.answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallActive(CallEvent):
    """Audio can flow."""

    type: ClassVar[str] = "call.active"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpeaking(CallEvent):
    """The bot says something.

    Attributes:
        text: what is being said.
    """

    type: ClassVar[str] = "call.speaking"

    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpoken(CallEvent):
    """The bot has finished saying something, or was cut short.

    Attributes:
        text: what was to be said.
        heard: as much of it as the caller heard; this is what the transcript keeps.
        interrupted: whether it was cut short.
        timing: what the session measured of the turn, in milliseconds by name. `latencyMs`, from
            the caller's last word to the first audio of the answer, is kept as the turn's latency.
    """

    type: ClassVar[str] = "call.spoken"

    text: str
    heard: str
    interrupted: bool = False
    timing: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTurn(CallEvent):
    """A new turn begins: from now on only speech of this turn is an answer.

    Attributes:
        turn_token: what carriers that report speech by webhook have to bring back with it.
    """

    type: ClassVar[str] = "call.turn"

    turn_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpeech(CallEvent):
    """The caller said something.

    Attributes:
        text: the transcript.
        is_final: False for a partial transcript.
        confidence: 0 to 1, where the recogniser gives one.
        turn_token: the turn this result belongs to, `NO_TURN` for none; None where the carrier
            does not carry it.
    """

    type: ClassVar[str] = "call.speech"

    text: str
    is_final: bool = True
    confidence: float | None = None
    turn_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSilence(CallEvent):
    """The caller was silent for `duration_ms`."""

    type: ClassVar[str] = "call.silence"

    duration_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDtmf(CallEvent):
    """The caller pressed keys.

    Attributes:
        digits: 0-9, A-D, * and #.
    """

    type: ClassVar[str] = "call.dtmf"

    digits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(CallEvent):
    """The call is over.

    Attributes:
        reason: a terminal state.
        transferred_to: whom the carrier has connected the other side with instead of us, if so.
    """

    type: ClassVar[str] = "call.ended"

    reason: CallState
    transferred_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallErrored(CallEvent):
    """Something failed.

    Attributes:
        message: what, for people.
        retryable: False ends the call.
    """

    type: ClassVar[str] = "call.error"

    message: str
    retryable: bool = True
