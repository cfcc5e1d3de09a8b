"""Twilio's webhooks: what they say happened, and what the call does next.

All are forms. Some report (status callbacks and those of streams and machine detection); the others
ask what to do and are answered with TwiML. Which is which is told by the query of our own URL, and
for numbers whose callbacks were set by hand, by the fields.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voicecall.call.events import (
    NO_TURN,
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
from voicecall.carriers._stream import remark
from voicecall.carriers.twilio import instructions as query
from voicecall.carriers.twilio.markup import CONTENT_TYPE
from voicecall.carriers.twilio.signature import SIGNATURE_HEADER, form_fields, query_of
from voicecall.errors import CodecError
from voicecall.ports import VerifiedRequest, WebhookAnswer

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord
    from voicecall.carriers.twilio.instructions import Instructions
    from voicecall.carriers.twilio.signature import SignatureVerifier
    from voicecall.clock import Clock
    from voicecall.ports import WebhookRequest

logger = logging.getLogger("voicecall.carriers.twilio")

END_REASONS: Mapping[str, CallState] = {
    # Twilio does not say who hung up; when it was us, the call manager knows.
    "completed": CallState.COMPLETED,
    "busy": CallState.BUSY,
    "no-answer": CallState.NO_ANSWER,
    "failed": CallState.FAILED,
    "canceled": CallState.COMPLETED,
}
"""What each status after which nothing comes means; `end_reason` knows who cancels."""

LIVE_STATUSES: Final = frozenset({"queued", "initiated", "ringing", "in-progress", "answered"})

_PROGRESS: Mapping[str, type[CallEvent]] = {
    "queued": CallInitiated,
    "initiated": CallInitiated,
    "ringing": CallRinging,
    "in-progress": CallAnswered,
    "answered": CallAnswered,
}

# Fields by which callbacks are known that say nothing about a call's state.
_IGNORED = frozenset(
    {
        "ConferenceSid",
        "PaymentSid",
        "QueueSid",
        "RecordingSid",
        "RecordingStatus",
        "SiprecSid",
        "StreamEvent",
        "TranscriptionEvent",
        "TranscriptionSid",
    }
)

_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}")
_DIGITS = re.compile(r"[0-9*#A-D]+")
_COUNT = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class _Report:
    """One callback as Twilio words it.

    Attributes:
        fields: of the form, one value each.
        query: of our own URL, one value each.
        at_ms: when it came. Twilio's own times are whole seconds, and would reorder what happens
            within one.
    """

    fields: Mapping[str, str]
    query: Mapping[str, str]
    at_ms: int

    @property
    def call_sid(self) -> str:
        """The call it is about. Raises CodecError when it does not say."""
        sid = self.fields.get("CallSid", "")
        if not _CALL_SID.fullmatch(sid):
            raise CodecError("CallSid is missing or no id of a call")
        return sid

    @property
    def status(self) -> str | None:
        """The call's status, one of those that Twilio documents; None when it is not told."""
        return self.fields.get("CallStatus")

    @property
    def asks(self) -> bool:
        """Whether Twilio asks what to do, instead of just reporting."""
        if query.KIND in self.query or "CallbackSource" in self.fields:
            return False
        return self.status in LIVE_STATUSES and not _IGNORED & self.fields.keys()

    def head(self, fact: str) -> dict[str, Any]:
        """The fields that every event has; the same `fact` about a call is one event."""
        key = f"{self.call_sid}:{fact}"
        return {
            "id": key,
            "dedupe_key": key,
            "timestamp": self.at_ms,
            "call_id": self.query.get(query.CALL_ID),
            "provider_call_id": self.call_sid,
        }

    def parties(self) -> dict[str, Any]:
        """The fields that an event which may open a call has besides."""
        return {
            "direction": direction(self.fields.get("Direction")),
            "from_number": self.fields.get("From") or None,
            "to_number": self.fields.get("To") or None,
        }


class TwilioWebhook:
    """`ports.Webhook` of Twilio's Programmable Voice.

    Args:
        verifier: proves where webhooks come from.
        instructions: makes what Twilio is answered.
        clock: dates the events.
    """

    def __init__(
        self, verifier: SignatureVerifier, instructions: Instructions, clock: Clock
    ) -> None:
        self._verifier = verifier
        self._instructions = instructions
        self._clock = clock

    @property
    def signature_headers(self) -> Sequence[str]:
        """The signature."""
        return (SIGNATURE_HEADER,)

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove that `request` comes from Twilio. Raises VerificationError, nothing else."""
        return self._verifier.verify(request)

    def parse(self, verified: VerifiedRequest) -> Sequence[CallEvent]:
        """What the callback reports; nothing for kinds that do not matter to a call.

        Raises:
            CodecError: it is not as Twilio documents it; says which field is wrong.
        """
        report = self._report(verified.request)
        if report.asks:
            self._instructions.prompts.asks(report.call_sid)
        for name, read in _READERS.items():
            if name in report.fields:
                return read(report)
        if _IGNORED & report.fields.keys():
            return ()
        raise CodecError("CallStatus is missing")

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        """What the call does next, where Twilio asks; else an empty 200.

        A call that is over, was refused, or is not known is hung up, or rejected if it still rings.
        """
        report = self._report(verified.request)
        prompts, call_sid = self._instructions.prompts, report.fields.get("CallSid", "")
        if (prompt_id := report.query.get(query.SAID)) is not None:
            prompts.said(call_sid, prompt_id)
        if report.status in END_REASONS:
            prompts.cut(call_sid)
        if not report.asks:
            return WebhookAnswer()
        streams = report.query.get(query.STREAM, "")
        markup = self._instructions.next(
            record,
            answered=report.status in {"in-progress", "answered"},
            streams=int(streams) if _COUNT.fullmatch(streams) else 0,
            prompt=prompts.next(call_sid),
        )
        return WebhookAnswer(content_type=CONTENT_TYPE, body=markup.encode())

    def _report(self, request: WebhookRequest) -> _Report:
        try:
            fields, parameters = form_fields(request), query_of(request.url)
        except ValueError as error:
            raise CodecError("the body is not a form") from error
        if not fields:
            raise CodecError("the body is not a form, or has no fields")
        status = fields.get("CallStatus", ["ringing"])[0]
        if status not in LIVE_STATUSES | END_REASONS.keys():
            raise CodecError("CallStatus is none that Twilio documents")
        return _Report(_single(fields), _single(parameters), self._clock.wall_ms())


def direction(value: str | None) -> Direction | None:
    """Who placed the call: Twilio has `inbound`, `outbound-api` and `outbound-dial`."""
    if value is None:
        return None
    if value == "inbound":
        return Direction.INBOUND
    return Direction.OUTBOUND if value.startswith("outbound") else None


def end_reason(status: str, placed_by: Direction | None) -> CallState | None:
    """Why a call with that status ended; None when it has not, or the status is unknown.

    Only who places a call can cancel it.
    """
    if status == "canceled" and placed_by is not None:
        inbound = placed_by is Direction.INBOUND
        return CallState.HANGUP_USER if inbound else CallState.HANGUP_BOT
    return END_REASONS.get(status)


# --- one reader for each kind of callback ----------------------------------------------------


def _stream(report: _Report) -> Sequence[CallEvent]:
    # The media socket itself tells when it comes and goes.
    if report.fields["StreamEvent"] != "stream-error":
        return ()
    stream_sid = remark(report.fields.get("StreamSid", ""))
    reason = remark(report.fields.get("StreamError", "")) or "no reason given"
    message = f"Twilio could not stream the call's media: {reason}"
    head = report.head(f"stream-error:{stream_sid}")
    return (CallErrored(**head, message=message, retryable=True),)


def _gathered(report: _Report) -> Sequence[CallEvent]:
    """Words and keys that a `<Gather>` collected."""
    fact = f"gathered:{report.query.get(query.ONCE, '')}"
    events: list[CallEvent] = []
    if words := report.fields.get("SpeechResult", "").strip():
        speech = CallSpeech(
            **report.head(f"{fact}:speech"),
            text=words,
            confidence=_confidence(report.fields.get("Confidence")),
            turn_token=report.query.get(query.TURN, NO_TURN),
        )
        events.append(speech)
    if digits := report.fields.get("Digits", ""):
        if not _DIGITS.fullmatch(digits):
            raise CodecError("Digits are no keys of a telephone")
        events.append(CallDtmf(**report.head(f"{fact}:digits"), digits=digits))
    return events or _progress(report)


def _progress(report: _Report) -> Sequence[CallEvent]:
    status = report.status
    if status is None:
        raise CodecError("CallStatus is missing")
    reason = end_reason(status, direction(report.fields.get("Direction")))
    if reason is not None:
        return (CallEnded(**report.head("ended"), reason=reason),)
    kind = _PROGRESS[status]
    return (kind(**report.head(kind.type), **report.parties()), *_machine(report))


def _machine(report: _Report) -> Sequence[CallEvent]:
    """A hint, no more: what to do about a machine is not for the carrier to say."""
    answered_by = report.fields.get("AnsweredBy", "")
    if not (answered_by == "fax" or answered_by.startswith("machine_")):
        return ()
    who = "a fax machine" if answered_by == "fax" else "an answering machine"
    message = f"{who} took the call"
    return (CallErrored(**report.head("machine"), message=message, retryable=True),)


def _confidence(value: str | None) -> float | None:
    if not value:
        return None
    try:
        confidence = float(value)
    except ValueError:
        confidence = -1.0
    if not 0 <= confidence <= 1:
        raise CodecError("Confidence is not a number from 0 to 1")
    return confidence


_Reader: TypeAlias = Callable[[_Report], Sequence[CallEvent]]

# By the field that tells a kind from the others; the first that is there decides. A status comes
# before what else may be reported with it.
_READERS: Mapping[str, _Reader] = {
    "StreamEvent": _stream,
    "SpeechResult": _gathered,
    "Digits": _gathered,
    "CallStatus": _progress,
    "AnsweredBy": _machine,
}


def _single(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: values[0] for name, values in fields.items()}
