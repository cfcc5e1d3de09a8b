"""Telnyx's webhooks: what they say happened, and what is to be done about it.

A webhook is a JSON envelope around one event. Whatever a call needs next is a command sent by REST,
so the answer is always an empty 200; what has to follow from an event goes to a `Desk`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import orjson

from voicecall.call.events import (
    CallAnswered,
    CallDtmf,
    CallEnded,
    CallErrored,
    CallEvent,
    CallInitiated,
    CallRinging,
    CallSpeech,
)
from voicecall.call.record import CallState, Direction
from voicecall.carriers._stream import digit, mapping, remark, text
from voicecall.carriers.telnyx.markup import ClientState, FarEnd
from voicecall.carriers.telnyx.moment import milliseconds
from voicecall.carriers.telnyx.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from voicecall.errors import CodecError, VerificationError
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord
    from voicecall.carriers.telnyx.signature import SignatureVerifier

logger = logging.getLogger("voicecall.carriers.telnyx")

IGNORED: Final = frozenset(
    {
        "call.bridged",
        "call.conversation.created",
        "call.conversation.ended",
        "call.cost",
        "call.deepfake_detection.error",
        "call.deepfake_detection.result",
        "call.enqueued",
        "call.fork.started",
        "call.fork.stopped",
        # Keys come one by one as call.dtmf.received, gathered or not.
        "call.gather.ended",
        "call.hold",
        "call.leftqueue",
        "call.machine.greeting.ended",
        "call.machine.premium.greeting.ended",
        "call.machine.premium.call_screening.detected",
        "call.machine.premium.detection.started",
        "call.playback.ended",
        "call.playback.started",
        "call.recording.error",
        "call.recording.saved",
        "call.recording.transcription.saved",
        "call.refer.completed",
        "call.refer.failed",
        "call.refer.started",
        "call.siprec.failed",
        "call.siprec.started",
        "call.siprec.stopped",
        # Whoever speaks knows that; the end of it goes to the desk.
        "call.speak.ended",
        "call.speak.started",
        "call.unhold",
        # The media socket itself tells when it comes and goes.
        "streaming.started",
        "streaming.stopped",
    }
)
"""Kinds of webhooks that say nothing about a call's state."""

_SPEAK_ENDED = "call.speak.ended"
_INITIATED = "call.initiated"
_ANSWERED = "call.answered"
_HANGUP = "call.hangup"
_BRIDGED = "call.bridged"
# The one failure that leaves a call without any audio; others are noticed by the media plane, which
# lets a socket come back.
_NEVER_CONNECTED = "connection_failed"

_DIRECTIONS = {"incoming": Direction.INBOUND, "outgoing": Direction.OUTBOUND}

# Causes that do not depend on who ended the call. A callee who declines is busy to the caller.
_REASONS: Mapping[str, CallState] = {
    "call_rejected": CallState.BUSY,
    "user_busy": CallState.BUSY,
    "no_answer": CallState.NO_ANSWER,
    "timeout": CallState.NO_ANSWER,
    "time_limit": CallState.TIMEOUT,
    "not_found": CallState.FAILED,
}
_ORDERLY = frozenset({"normal_clearing", "originator_cancel"})
_SIP_OK = "200"

_MACHINES = frozenset({"machine", "fax_detected"})


class Desk(Protocol):
    """Acts on what webhooks report. Calls are quick, never raise, and may be repeated."""

    def pick_up(self, record: CallRecord) -> None:
        """An inbound call that was taken on is waiting to be answered."""
        ...

    def connect(self, record: CallRecord) -> None:
        """A call was answered that somebody else placed, so that nothing streams its media yet."""
        ...

    def spoken(self, provider_call_id: str, event_id: str, *, completed: bool) -> None:
        """Something said in Telnyx's own voice is over: said to its end, or cut."""
        ...

    def far_end_joined(self, provider_call_id: str) -> None:
        """Whom the call was handed on to talks with the other side."""
        ...

    def far_end_left(self, provider_call_id: str) -> None:
        """Whom the call was handed on to has hung up, or did not pick up."""
        ...


@dataclass(frozen=True, slots=True)
class _Report:
    """One event as Telnyx words it.

    Attributes:
        kind: `event_type`.
        id: Telnyx's id of the event; the same one when it is delivered again.
        at_ms: when it happened, in milliseconds since the epoch.
        payload: what happened.
        state: what we had Telnyx remember about the call.
        far_end: the same, where it is no call of ours, but whom one was handed on to.
    """

    kind: str
    id: str
    at_ms: int
    payload: Mapping[str, Any]
    state: ClientState | None
    far_end: FarEnd | None

    @property
    def provider_call_id(self) -> str:
        """The call it is about. Raises CodecError when it does not say."""
        return text(self.payload.get("call_control_id"), "data.payload.call_control_id")

    @property
    def direction(self) -> Direction | None:
        """Who placed the call, where that is known."""
        said = self.payload.get("direction")
        known = _DIRECTIONS.get(said) if isinstance(said, str) else None
        return known or (self.state.direction if self.state else None)

    def head(self) -> dict[str, Any]:
        """The fields that every event has."""
        return {
            "id": self.id,
            "dedupe_key": self.id,
            "timestamp": self.at_ms,
            "call_id": self.state.call_id if self.state else None,
            "provider_call_id": self.provider_call_id,
        }

    def parties(self) -> dict[str, Any]:
        """The fields that an event which may open a call has besides."""
        return {
            "direction": self.direction,
            "from_number": _optional_text(self.payload.get("from"), "data.payload.from"),
            "to_number": _optional_text(self.payload.get("to"), "data.payload.to"),
        }


class TelnyxWebhook:
    """`ports.Webhook` of Telnyx's Call Control.

    Args:
        verifier: proves where webhooks come from; None where signatures are not verified.
        desk: acts on what they report.
    """

    def __init__(self, verifier: SignatureVerifier | None, desk: Desk) -> None:
        self._verifier = verifier
        self._desk = desk

    @property
    def signature_headers(self) -> Sequence[str]:
        """The signature and the time it was made."""
        return (SIGNATURE_HEADER, TIMESTAMP_HEADER)

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove that `request` comes from Telnyx. Raises VerificationError, nothing else."""
        if self._verifier is None:
            raise VerificationError("telnyx.publicKey is not configured")
        return self._verifier.verify(request)

    def parse(self, verified: VerifiedRequest) -> Sequence[CallEvent]:
        """The event that the body reports, if it is of a kind that matters to a call.

        Raises:
            CodecError: the body is not as Telnyx documents it; says which field is wrong.
        """
        report = _report(verified.request.body)
        if report.far_end is not None:
            return ()
        read = _READERS.get(report.kind)
        if read is None:
            if report.kind not in IGNORED:
                logger.info("webhook of an unknown kind", extra={"kind": remark(report.kind)})
            return ()
        event = read(report)
        return () if event is None else (event,)

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        """An empty 200. What the event calls for is handed to the desk.

        An inbound call is picked up if it was taken on, that is, if `record` is there and live; an
        outbound one that was placed without us is connected.
        """
        report = _report(verified.request.body)
        if report.far_end is not None:
            self._note_far_end(report.kind, report.far_end.provider_call_id)
        elif report.kind == _SPEAK_ENDED:
            completed = report.payload.get("status") == "completed"
            self._desk.spoken(report.provider_call_id, report.id, completed=completed)
        elif report.kind == _INITIATED and record is not None and _waits(record):
            self._desk.pick_up(record)
        elif report.kind == _ANSWERED and record is not None and _unknown_to_us(report, record):
            self._desk.connect(record)
        return WebhookAnswer()

    def _note_far_end(self, kind: str, provider_call_id: str) -> None:
        if kind == _BRIDGED:
            self._desk.far_end_joined(provider_call_id)
        elif kind == _HANGUP:
            self._desk.far_end_left(provider_call_id)


def _waits(record: CallRecord) -> bool:
    return record.direction is Direction.INBOUND and record.state in {
        CallState.INITIATED,
        CallState.RINGING,
    }


def _unknown_to_us(report: _Report, record: CallRecord) -> bool:
    outbound = record.direction is Direction.OUTBOUND
    return report.state is None and outbound and not record.state.terminal


def _report(body: bytes) -> _Report:
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CodecError("the body is not JSON") from error
    data = mapping(mapping(envelope, "the body").get("data"), "data")
    payload = mapping(data.get("payload"), "data.payload")
    return _Report(
        kind=text(data.get("event_type"), "data.event_type"),
        id=text(data.get("id"), "data.id"),
        at_ms=milliseconds(data.get("occurred_at"), "data.occurred_at"),
        payload=payload,
        state=ClientState.decode(payload.get("client_state")),
        far_end=FarEnd.decode(payload.get("client_state")),
    )


# --- one reader for each kind of event -------------------------------------------------------


def _initiated(report: _Report) -> CallEvent:
    return CallInitiated(**report.head(), **report.parties())


def _ringing(report: _Report) -> CallEvent:
    return CallRinging(**report.head(), **report.parties())


def _answered(report: _Report) -> CallEvent:
    parties = report.parties()
    if report.state is None and parties["direction"] is None:
        # An inbound call is answered by us only, and then has our state: we did not place this
        # one, but somebody else on our side did.
        parties["direction"] = Direction.OUTBOUND
    return CallAnswered(**report.head(), **parties)


def _ended(report: _Report) -> CallEvent:
    return CallEnded(**report.head(), reason=_reason(report))


def _reason(report: _Report) -> CallState:
    cause = remark(report.payload.get("hangup_cause"))
    if cause in _REASONS:
        return _REASONS[cause]
    # A cause that is missing, unspecified or new says nothing; the SIP response may.
    if cause not in _ORDERLY and report.payload.get("sip_hangup_cause") != _SIP_OK:
        return CallState.FAILED
    source = report.payload.get("hangup_source")
    caller_ended = cause == "originator_cancel" or source == "caller"
    if report.state is None and cause == "originator_cancel":
        # Calls of our own have our state, so it is an inbound one that was not picked up yet.
        return CallState.HANGUP_USER
    if report.direction is None or not (caller_ended or source == "callee"):
        return CallState.COMPLETED
    by_us = caller_ended == (report.direction is Direction.OUTBOUND)
    return CallState.HANGUP_BOT if by_us else CallState.HANGUP_USER


def _dtmf(report: _Report) -> CallEvent | None:
    if report.state is not None and report.state.streams:
        # The media socket brings the same key.
        return None
    return CallDtmf(**report.head(), digits=digit(report.payload.get("digit")))


def _transcript(report: _Report) -> CallEvent | None:
    said = mapping(report.payload.get("transcription_data"), "data.payload.transcription_data")
    if said.get("transcription_track", "inbound") != "inbound":
        return None
    words = said.get("transcript")
    is_final = said.get("is_final", True)
    if not isinstance(words, str):
        raise CodecError("data.payload.transcription_data.transcript is not a string")
    if not isinstance(is_final, bool):
        raise CodecError("data.payload.transcription_data.is_final is not true or false")
    return CallSpeech(
        **report.head(),
        text=words.strip(),
        is_final=is_final,
        confidence=_confidence(said.get("confidence")),
    )


def _machine(report: _Report) -> CallEvent | None:
    """A hint, no more: what to do about a machine is not for the carrier to say."""
    result = remark(report.payload.get("result"))
    if result not in _MACHINES:
        return None
    who = "a fax machine" if result == "fax_detected" else "an answering machine"
    return CallErrored(**report.head(), message=f"{who} took the call", retryable=True)


def _stream_failed(report: _Report) -> CallEvent:
    reason = remark(report.payload.get("failure_reason")) or "no reason given"
    return CallErrored(
        **report.head(),
        message=f"Telnyx could not stream the call's media: {reason}",
        retryable=reason != _NEVER_CONNECTED,
    )


_Reader: TypeAlias = Callable[[_Report], CallEvent | None]

_READERS: Mapping[str, _Reader] = {
    _INITIATED: _initiated,
    "call.ringing": _ringing,
    _ANSWERED: _answered,
    _HANGUP: _ended,
    "call.dtmf.received": _dtmf,
    "call.transcription": _transcript,
    "call.machine.detection.ended": _machine,
    "call.machine.premium.detection.ended": _machine,
    "streaming.failed": _stream_failed,
}


def _optional_text(value: object, what: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise CodecError(f"{what} is not a string")
    return value or None


def _confidence(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise CodecError("data.payload.transcription_data.confidence is not a number from 0 to 1")
    return float(value)
