"""Plivo's webhooks: what they say happened, and the answers.

All come to one URL as forms. Those that ask what to do next are answered in Plivo XML, the others
with an empty 200. Our own fields travel in the URL's query, which Plivo signs with the rest:
`callId`, the `input` a result belongs to, its `turn`, the prompt that was `spoken`, and the
`transfer` that is asked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from voicecall.call.events import (
    NO_TURN,
    CallActive,
    CallAnswered,
    CallDtmf,
    CallEnded,
    CallErrored,
    CallEvent,
    CallInitiated,
    CallRinging,
    CallSilence,
    CallSpeech,
)
from voicecall.call.record import CallState, Direction
from voicecall.carriers._stream import remark
from voicecall.carriers.plivo import markup
from voicecall.carriers.plivo.instructions import TRANSFER
from voicecall.carriers.plivo.reasons import TERMINAL_STATUSES, Ending
from voicecall.carriers.plivo.signature import form_fields
from voicecall.errors import CodecError, VerificationError
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord
    from voicecall.carriers.plivo.instructions import Instructions
    from voicecall.carriers.plivo.names import CallNames
    from voicecall.carriers.plivo.signature import SignatureVerifier
    from voicecall.clock import Clock

logger = logging.getLogger("voicecall.carriers.plivo")

IGNORED: Final = frozenset(
    {
        "bridge",
        "conferenceenter",
        "conferenceexit",
        "degradedstream",
        "dialanswer",
        "dialhangup",
        "dialring",
        # Plivo says that it carries out an element of ours; its effect is told otherwise.
        "dtmf",
        "play",
        "playedstream",
        "record",
        "recordstop",
        "speak",
        # The media socket itself tells when it comes and goes.
        "startstream",
        "started",
        "stopstream",
        "stopped",
        "transcription",
    }
)
"""Events, in lower case, that say nothing about a call's state."""

_ASKING = frozenset({"input", "redirect", "startapp", "transfer"})
_RECORDING_FIELDS = frozenset({"RecordUrl", "RecordingID", "RecordingUUID"})

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_KEYS = re.compile(r"[0-9A-D*#]{1,99}")
_NUMBER = re.compile(r"[0-9]{7,15}")
_SILENCE_MS = markup.MAX_INPUT_S * 1000


@dataclass(frozen=True, slots=True)
class _Report:
    """One webhook as Plivo words it.

    Attributes:
        kind: what it is about, in lower case.
        fields: of the form.
        query: our own fields.
        call_uuid: what Plivo calls the call.
        known_as: what the call is known by otherwise.
        direction: who placed the call, where it says so.
        at_ms: when it came; Plivo's own times have no zone.
    """

    kind: str
    fields: Mapping[str, str]
    query: Mapping[str, str]
    call_uuid: str
    known_as: str
    direction: Direction | None
    at_ms: int

    def head(self, fact: str) -> dict[str, Any]:
        """The fields that every event has; `fact` happens once in a call."""
        event_id = f"plivo:{self.call_uuid}:{fact}"
        return {
            "id": event_id,
            "dedupe_key": event_id,
            "timestamp": self.at_ms,
            "call_id": self.query.get("callId"),
            "provider_call_id": self.known_as,
            "provider_alias": None if self.call_uuid == self.known_as else self.call_uuid,
        }

    def parties(self) -> dict[str, Any]:
        """The fields that an event which may open a call has besides."""
        if self.direction is None:
            raise CodecError("Direction is missing")
        return {
            "direction": self.direction,
            "from_number": _number(self.fields.get("From")),
            "to_number": _number(self.fields.get("To")),
        }


class PlivoWebhook:
    """`ports.Webhook` of Plivo.

    Args:
        verifier: proves where webhooks come from; None where signatures are not verified.
        instructions: what calls are told to do.
        names: learns what calls are known by.
        clock: stamps events.
    """

    def __init__(
        self,
        verifier: SignatureVerifier | None,
        instructions: Instructions,
        *,
        names: CallNames,
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._instructions = instructions
        self._names = names
        self._clock = clock

    @property
    def signature_headers(self) -> Sequence[str]:
        """The signature and the nonce it was made with."""
        return self._verifier.headers if self._verifier is not None else ()

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove that `request` comes from Plivo. Raises VerificationError, nothing else."""
        if self._verifier is None:
            raise VerificationError("plivo.authToken is not configured")
        return self._verifier.verify(request)

    def parse(self, verified: VerifiedRequest) -> Sequence[CallEvent]:
        """The events that the form reports; none for what does not matter to a call.

        Raises:
            CodecError: the form is not as Plivo documents it; says which field is wrong.
        """
        report = self._report(verified.request)
        if report.kind in _ASKING:
            self._instructions.prompts.asks(report.known_as)
        read = _READERS.get(report.kind)
        if read is None:
            if report.kind not in IGNORED:
                logger.info("webhook of an unknown kind", extra={"kind": remark(report.kind)})
            return ()
        return read(report)

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        """What the call shall do next, if Plivo asks; a call nobody has taken is hung up."""
        report = self._report(verified.request)
        if record is not None and record.state.terminal:
            self._instructions.prompts.cut(report.known_as)
        if report.kind not in _ASKING:
            return WebhookAnswer()
        if record is None:
            arriving = report.kind == "startapp" and report.direction is Direction.INBOUND
            refusal = markup.hang_up("rejected" if arriving else None)
            return WebhookAnswer(200, markup.CONTENT_TYPE, markup.document(refusal))
        spoken = report.query.get("spoken")
        if spoken is not None:
            self._instructions.prompts.said(report.known_as, spoken)
        told = self._instructions.next(
            record, report.call_uuid, transfer_id=report.query.get(TRANSFER)
        )
        return WebhookAnswer(200, markup.CONTENT_TYPE, told)

    def _report(self, request: WebhookRequest) -> _Report:
        fields = _single(request)
        direction = _direction(fields.get("Direction"))
        call_uuid = _identity(fields.get("CallUUID"), "CallUUID")
        return _Report(
            kind=_kind(fields),
            fields=fields,
            query=_query(request.url),
            call_uuid=call_uuid,
            known_as=self._known_as(call_uuid, fields, direction),
            direction=direction,
            at_ms=self._clock.wall_ms(),
        )

    def _known_as(
        self, call_uuid: str, fields: Mapping[str, str], direction: Direction | None
    ) -> str:
        if direction is Direction.OUTBOUND:
            for name in ("RequestUUID", "ALegRequestUUID"):
                if fields.get(name):
                    return self._names.learn(_identity(fields[name], name), call_uuid)
        return self._names.known_as(call_uuid)


# --- reading the form ------------------------------------------------------------------------


def _single(request: WebhookRequest) -> dict[str, str]:
    try:
        fields = form_fields(request)
    except ValueError as error:
        raise CodecError("the body is no form, or has too many fields") from error
    if not fields:
        raise CodecError("the body holds no form")
    for name, values in fields.items():
        if len(values) > 1:
            raise CodecError(f"{remark(name)} is there more than once")
    return {name: values[0] for name, values in fields.items()}


def _query(url: str) -> dict[str, str]:
    query = dict(parse_qsl(urlsplit(url).query))
    for name in ("callId", "input", "turn", "spoken", TRANSFER):
        if name in query:
            _identity(query[name], name)
    return query


def _kind(fields: Mapping[str, str]) -> str:
    if "InputType" in fields:
        return "input"
    if "StableSpeech" in fields or "UnstableSpeech" in fields:
        return "interim"
    if fields.get("Event"):
        return fields["Event"].lower()
    if _RECORDING_FIELDS & fields.keys():
        return "record"
    # The hang-up URL of an application tells no event.
    status = fields.get("CallStatus", "").lower()
    if status in TERMINAL_STATUSES or fields.get("HangupCause"):
        return "hangup"
    if status in {"in-progress", "ringing"}:
        return "startapp"
    raise CodecError("neither Event nor CallStatus says what happened")


def _identity(value: str | None, name: str) -> str:
    if value is None or not _ID.fullmatch(value):
        raise CodecError(f"{name} is missing or not an id")
    return value


def _direction(value: str | None) -> Direction | None:
    if not value:
        return None
    try:
        return Direction(value.lower())
    except ValueError as error:
        raise CodecError("Direction is neither inbound nor outbound") from error


def _number(value: str | None) -> str | None:
    """A number as E.164; Plivo leaves the plus out. What is no number stays as it is."""
    if not value:
        return None
    return f"+{value}" if _NUMBER.fullmatch(value) else value


def _flag(report: _Report, name: str) -> bool:
    value = report.fields.get(name, "").lower()
    if value not in {"", "true", "false"}:
        raise CodecError(f"{name} is neither true nor false")
    return value == "true"


# --- one reader for each kind ----------------------------------------------------------------


def _started(report: _Report) -> Sequence[CallEvent]:
    answered = CallAnswered(**report.head("answered"), **report.parties())
    if report.direction is Direction.OUTBOUND:
        return (answered,)
    # It rings here, and our answer picks it up.
    return (CallInitiated(**report.head("initiated"), **report.parties()), answered)


def _ringing(report: _Report) -> Sequence[CallEvent]:
    return (CallRinging(**report.head("ringing"), **report.parties()),)


def _ended(report: _Report) -> Sequence[CallEvent]:
    fields = report.fields
    ending = Ending(
        status=fields.get("CallStatus", ""),
        code=fields.get("HangupCauseCode", ""),
        cause=fields.get("HangupCauseName") or fields.get("HangupCause", ""),
        source=fields.get("HangupSource", ""),
        direction=report.direction,
        machine=fields.get("Machine", "").lower() == "true",
    )
    return (CallEnded(**report.head("ended"), reason=ending.reason()),)


def _machine(report: _Report) -> Sequence[CallEvent]:
    """The end, where Plivo was told to hang up on machines; else a hint, and no more."""
    if not _flag(report, "Machine"):
        return ()
    if report.fields.get("IfMachine", "").lower() == "hangup":
        return (CallEnded(**report.head("ended"), reason=CallState.VOICEMAIL),)
    message = "an answering machine took the call"
    return (CallErrored(**report.head("machine"), message=message, retryable=True),)


def _asking(report: _Report) -> Sequence[CallEvent]:
    # Only a call that was answered carries out instructions.
    return (CallActive(**report.head("active")),)


def _input(report: _Report) -> Sequence[CallEvent]:
    fields = report.fields
    kind = fields["InputType"].lower()
    if kind not in {"", "dtmf", "speech"}:
        raise CodecError("InputType is neither dtmf nor speech")
    head = report.head(f"input:{_identity(report.query.get('input'), 'input')}")
    digits, words = fields.get("Digits", ""), fields.get("Speech", "").strip()
    if digits:
        if not _KEYS.fullmatch(digits):
            raise CodecError("Digits are no keys of a telephone")
        return (CallDtmf(**head, digits=digits),)
    if not words:
        return (CallSilence(**head, duration_ms=_SILENCE_MS),)
    return (
        CallSpeech(
            **head,
            text=words,
            confidence=_confidence(fields.get("SpeechConfidenceScore")),
            turn_token=report.query.get("turn", NO_TURN),
        ),
    )


def _interim(report: _Report) -> Sequence[CallEvent]:
    fields = report.fields
    listening = _identity(report.query.get("input"), "input")
    number = _identity(fields.get("SequenceNumber"), "SequenceNumber")
    words = f"{fields.get('StableSpeech', '')} {fields.get('UnstableSpeech', '')}".strip()
    head = report.head(f"interim:{listening}:{number}")
    turn = report.query.get("turn", NO_TURN)
    return (CallSpeech(**head, text=words, is_final=False, turn_token=turn),)


def _confidence(value: str | None) -> float | None:
    if not value:
        return None
    try:
        confidence = float(value)
    except ValueError as error:
        raise CodecError("SpeechConfidenceScore is no number") from error
    if not 0 <= confidence <= 1:
        raise CodecError("SpeechConfidenceScore is not between 0 and 1")
    return confidence


def _stream_failed(report: _Report) -> Sequence[CallEvent]:
    """The media plane decides what becomes of the call; it may get another socket."""
    stream_id = _identity(report.fields.get("StreamID"), "StreamID")
    reason = remark(report.fields.get("StatusReason")) or "no reason given"
    message = f"Plivo could not stream the call's media: {reason}"
    return (CallErrored(**report.head(f"stream:{stream_id}"), message=message),)


_Reader: TypeAlias = Callable[[_Report], Sequence[CallEvent]]

_READERS: Mapping[str, _Reader] = {
    "startapp": _started,
    "ring": _ringing,
    "hangup": _ended,
    "machinedetection": _machine,
    "redirect": _asking,
    "transfer": _asking,
    "input": _input,
    "interim": _interim,
    "droppedstream": _stream_failed,
    "failed": _stream_failed,
}
