"""The life of one call as a table: which event does what in which state.

No I/O and no clock: events carry their own times. The machine is the only code that changes a
`CallRecord`, and the call's actor is the only one that runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from voicecall.call.events import (
    NO_TURN,
    CallDtmf,
    CallEnded,
    CallErrored,
    CallEvent,
    CallSilence,
    CallSpeaking,
    CallSpeech,
    CallSpoken,
    CallTurn,
)
from voicecall.call.record import LIVE_STATES, TERMINAL_STATES, CallState, Speaker, TranscriptEntry
from voicecall.errors import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.call.record import CallRecord


class Input(StrEnum):
    """What an event is to the machine: mostly its type, told apart further where that decides."""

    INITIATED = "call.initiated"
    RINGING = "call.ringing"
    ANSWERED = "call.answered"
    ACTIVE = "call.active"
    SPEAKING = "call.speaking"
    SPOKEN = "call.spoken"
    TURN = "call.turn"
    SPEECH = "call.speech"
    PARTIAL_SPEECH = "call.speech, partial or without words"
    STALE_SPEECH = "call.speech, of another turn"
    SILENCE = "call.silence"
    DTMF = "call.dtmf"
    ENDED = "call.ended"
    ERROR = "call.error, retryable"
    FAILURE = "call.error, final"


class NoOp(StrEnum):
    """Why an event changes nothing.

    Attributes:
        LATE: it would move the call backwards.
        REPEATED: the call is there already.
        OVER: the call has ended.
        PARTIAL: the words may still change, so there is nothing to keep.
        STALE: the words belong to another turn.
    """

    LATE = "late"
    REPEATED = "repeated"
    OVER = "over"
    PARTIAL = "partial"
    STALE = "stale"


class Ends(StrEnum):
    """A target that the event itself names."""

    BY_REASON = "by reason"


Outcome: TypeAlias = CallState | NoOp | Ends
_Row: TypeAlias = dict[CallState, Outcome]

_I, _R, _AN, _AC, _SP, _LI = (
    CallState.INITIATED,
    CallState.RINGING,
    CallState.ANSWERED,
    CallState.ACTIVE,
    CallState.SPEAKING,
    CallState.LISTENING,
)


def _everywhere(outcome: Outcome, but: Mapping[CallState, Outcome] | None = None) -> _Row:
    return {**dict.fromkeys(LIVE_STATES, outcome), **(but or {})}


def _stay(but: Mapping[CallState, Outcome] | None = None) -> _Row:
    return {**{state: state for state in LIVE_STATES}, **(but or {})}


# Rows of live states. A state that a row lacks is a move that only a bug of ours asks for: words
# cannot have been heard from a bot that never began to speak.
_LIVE_ROWS: dict[Input, _Row] = {
    Input.INITIATED: _everywhere(NoOp.LATE, {_I: NoOp.REPEATED}),
    Input.RINGING: _everywhere(NoOp.LATE, {_I: _R, _R: NoOp.REPEATED}),
    Input.ANSWERED: _everywhere(NoOp.LATE, {_I: _AN, _R: _AN, _AN: NoOp.REPEATED}),
    Input.ACTIVE: _everywhere(_AC, {_AC: NoOp.REPEATED, _SP: NoOp.LATE, _LI: NoOp.LATE}),
    Input.SPEAKING: _everywhere(_SP),
    Input.SPOKEN: {_SP: _LI, _LI: _LI},
    Input.TURN: _stay(),
    # A word in passing does not stop the bot: whoever stops it says so with call.spoken.
    Input.SPEECH: _everywhere(_LI, {_SP: _SP}),
    Input.PARTIAL_SPEECH: _everywhere(NoOp.PARTIAL),
    Input.STALE_SPEECH: _everywhere(NoOp.STALE),
    Input.SILENCE: _stay(),
    # A pressed key proves that the call was answered.
    Input.DTMF: _stay({_I: _AN, _R: _AN}),
    Input.ENDED: _everywhere(Ends.BY_REASON),
    Input.ERROR: _stay(),
    Input.FAILURE: _everywhere(CallState.ERROR),
}

# Words said just before the end are recognised, and heard words counted, just after it: they
# complete the transcript, the state stays.
_WORDS = frozenset({Input.SPOKEN, Input.SPEECH})

ALIAS = "providerAlias"
"""What a record's metadata has the carrier's other name of the call under."""

TRANSFERRED_TO = "transferredTo"
"""What a record's metadata has under whom the call was handed on to."""

TURNS = "turns"
"""What a record's metadata has each turn's measurements under, in ms by name, the newest last."""

MAX_TURNS = 100
"""Of how many turns they are kept."""

NAMED = "call.named"
"""Type of the change by which a call gets the carrier's id from an event that came too late."""

TRANSITIONS: dict[tuple[CallState, Input], Outcome] = {
    (state, kind): outcome for kind, row in _LIVE_ROWS.items() for state, outcome in row.items()
} | {
    (state, kind): state if kind in _WORDS else NoOp.OVER
    for state in TERMINAL_STATES
    for kind in Input
}
"""What every input does in every state: the state after it, or why it changes nothing."""


@dataclass(frozen=True, slots=True)
class StopRing:
    """The call no longer waits for an answer."""


@dataclass(frozen=True, slots=True)
class StartMaxDuration:
    """The call was answered: from now on its length is limited."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The caller's words are final.

    Attributes:
        text: the transcript.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """The caller has pressed keys.

    Attributes:
        digits: 0-9, A-D, * and #.
    """

    digits: str


@dataclass(frozen=True, slots=True)
class Release:
    """The call has just ended: free what it holds.

    Attributes:
        reason: the terminal state.
    """

    reason: CallState


Effect: TypeAlias = StopRing | StartMaxDuration | Heard | Pressed | Release


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying an event did.

    Attributes:
        change: what changed, in JSON types and with camelCase keys: at least `type`, `timestamp`,
            `callId` and `state`; None when nothing did.
        effects: what has to be done about it, in order.
        ignored: why the state did not move, for events that change nothing.
    """

    change: dict[str, Any] | None
    effects: tuple[Effect, ...] = ()
    ignored: NoOp | None = None


def apply(record: CallRecord, event: CallEvent) -> Applied:
    """Apply `event` to `record`, which is changed in place.

    An event that changes nothing else still teaches the record the carrier's names of the call.

    Raises:
        IllegalTransition: no carrier can cause this; it is a bug of ours. Nothing was changed.
    """
    kind = input_of(record, event)
    outcome = TRANSITIONS.get((record.state, kind))
    if outcome is None or (isinstance(event, CallEnded) and not event.reason.terminal):
        raise IllegalTransition(
            f"{kind.value} is impossible while a call is {record.state.value}",
            call_id=record.call_id,
        )
    learned = _learn(record, event)
    if isinstance(outcome, NoOp):
        # What only repeats the state may as well be told; anything else would be a second end, say.
        change = _change if outcome is NoOp.REPEATED else _named
        return Applied(change(record, event) if learned else None, ignored=outcome)
    effects = _move(record, event, outcome) + _note(record, event)
    return Applied(_change(record, event), effects)


def _learn(record: CallRecord, event: CallEvent) -> bool:
    """Take over what the carrier calls the call; whether any of it is new."""
    named = record.provider_call_id is None and event.provider_call_id is not None
    if named:
        record.provider_call_id = event.provider_call_id
    # Kept, as after a restart nothing else tells it.
    renamed = event.provider_alias is not None and ALIAS not in record.metadata
    if renamed:
        record.metadata[ALIAS] = event.provider_alias
    return named or renamed


def input_of(record: CallRecord, event: CallEvent) -> Input:
    """What `event` is to the machine, for a call that stands as `record` says."""
    if isinstance(event, CallErrored):
        return Input.ERROR if event.retryable else Input.FAILURE
    if isinstance(event, CallSpeech):
        token = event.turn_token
        if token is not None and token != record.metadata.get("turnToken", NO_TURN):
            return Input.STALE_SPEECH
        return Input.SPEECH if event.is_final and event.text.strip() else Input.PARTIAL_SPEECH
    return Input(event.type)


def _move(record: CallRecord, event: CallEvent, outcome: CallState | Ends) -> tuple[Effect, ...]:
    # Carriers date events by clocks of their own; no call ends before it was answered.
    before = record.state
    after = event.reason if isinstance(event, CallEnded) else CallState(outcome)
    if before.terminal:
        return ()
    record.state = after
    if after.terminal:
        record.ended_at = max(event.timestamp, record.answered_at or record.started_at)
        record.end_reason = after
        return (StopRing(), Release(after))
    if record.answered_at is None and after not in {CallState.INITIATED, CallState.RINGING}:
        record.answered_at = max(event.timestamp, record.started_at)
        return (StopRing(), StartMaxDuration())
    return ()


def _note(record: CallRecord, event: CallEvent) -> tuple[Effect, ...]:
    """Keep what the event says beyond the state: words, and when each side fell silent.

    The latency of a turn is how long the caller waited for the bot's first word after his own
    last, the listen wait how long the bot waited for the caller.
    """
    notes = record.metadata
    match event:
        case CallTurn():
            notes["turnToken"] = event.turn_token
        case CallSpeaking():
            silent_since = notes.pop("callerSilentSince", None)
            if silent_since is not None:
                notes["lastTurnLatencyMs"] = max(0, event.timestamp - silent_since)
                _note_turn(notes, {"latencyMs": notes["lastTurnLatencyMs"]})
        case CallSpoken():
            _note_spoken(record, event)
        case CallSpeech():
            return _note_speech(record, event)
        case CallDtmf():
            return (Pressed(event.digits),)
        case CallErrored():
            notes["lastError"] = event.message
        case CallEnded(transferred_to=str(to)):
            notes[TRANSFERRED_TO] = to
        case _:
            pass
    return ()


def _note_spoken(record: CallRecord, event: CallSpoken) -> None:
    if event.heard:
        record.transcript.append(TranscriptEntry(event.timestamp, Speaker.BOT, event.heard))
    record.metadata["botSilentSince"] = event.timestamp
    if (latency_ms := event.timing.get("latencyMs")) is not None:
        record.metadata["lastTurnLatencyMs"] = round(latency_ms)
        _note_turn(record.metadata, event.timing)


def _note_speech(record: CallRecord, event: CallSpeech) -> tuple[Effect, ...]:
    notes = record.metadata
    record.transcript.append(TranscriptEntry(event.timestamp, Speaker.USER, event.text))
    notes["turnCount"] = notes.get("turnCount", 0) + 1
    notes["lastTurnCompletedAt"] = event.timestamp
    notes["callerSilentSince"] = event.timestamp
    # A turn is answered once: the same result cannot complete it again, nor a later one.
    notes.pop("turnToken", None)
    silent_since = notes.pop("botSilentSince", None)
    waited = {}
    if silent_since is not None:
        notes["lastTurnListenWaitMs"] = max(0, event.timestamp - silent_since)
        waited["listenWaitMs"] = notes["lastTurnListenWaitMs"]
    # A turn is the caller's words and what is said to them.
    notes[TURNS] = [*notes.get(TURNS, [])[1 - MAX_TURNS :], waited]
    return (Heard(event.text),)


def _note_turn(notes: dict[str, Any], measured_ms: Mapping[str, float]) -> None:
    """Add what was measured of the latest turn; before the caller's first words there is none."""
    if turns := notes.get(TURNS):
        notes[TURNS] = [*turns[:-1], {**turns[-1], **measured_ms}]


def _change(record: CallRecord, event: CallEvent) -> dict[str, Any]:
    return {**_named(record, event), "type": event.type, **_details(event)}


def _named(record: CallRecord, event: CallEvent) -> dict[str, Any]:
    """The change by which a call gets the carrier's id, whatever else the event says."""
    return {
        "type": NAMED,
        "timestamp": event.timestamp,
        "callId": record.call_id,
        "providerCallId": record.provider_call_id,
        "state": record.state.value,
    }


def _details(event: CallEvent) -> dict[str, Any]:
    details: dict[str, Any] = {}
    match event:
        case CallSpeaking():
            details = {"text": event.text}
        case CallSpoken():
            details = {
                "text": event.text,
                "heard": event.heard,
                "interrupted": event.interrupted,
                "timing": dict(event.timing),
            }
        case CallSpeech():
            details = {"transcript": event.text, "isFinal": event.is_final}
            details["confidence"] = event.confidence
        case CallSilence():
            details = {"durationMs": event.duration_ms}
        case CallDtmf():
            details = {"digits": event.digits}
        case CallEnded():
            details = {"reason": event.reason.value}
            if event.transferred_to is not None:
                details[TRANSFERRED_TO] = event.transferred_to
        case CallErrored():
            details = {"message": event.message, "retryable": event.retryable}
        case _:
            pass
    return details
