"""Webhooks of the mock carrier: normalised events as plain JSON, unsigned.

A body is `{"event": {...}}` or `{"events": [...]}`. Each event has a `type` of
`voicecall.call.events` and its fields in camelCase; `id`, `dedupeKey` and `timestamp` may be
left out.

The answer about a call that is answered, and has no media yet, says where they go:
`{"streamUrl": "ws://..."}`. All others are empty.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from voicecall.call import events
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.errors import CodecError
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.ports import StreamUrls

MAX_EVENTS_PER_BODY = 100


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise CodecError("must be a string")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise CodecError("must be true or false")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CodecError("must be a whole number of at least 0")
    return value


def _confidence(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise CodecError("must be a number from 0 to 1")
    return float(value)


def _direction(value: object) -> Direction:
    try:
        return Direction(_text(value))
    except ValueError as error:
        raise CodecError("must be inbound or outbound") from error


def _reason(value: object) -> CallState:
    try:
        reason = CallState(_text(value))
    except ValueError as error:
        raise CodecError("is no reason a call ends for") from error
    if not reason.terminal:
        raise CodecError("is no reason a call ends for")
    return reason


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of an event: the attribute it fills and how its value is read."""

    attribute: str
    read: Callable[[object], Any]
    required: bool = False


_COMMON = {
    "id": _Field("id", _text),
    "dedupeKey": _Field("dedupe_key", _text),
    "timestamp": _Field("timestamp", _whole),
    "callId": _Field("call_id", _text),
    "providerCallId": _Field("provider_call_id", _text),
    "direction": _Field("direction", _direction),
    "from": _Field("from_number", _text),
    "to": _Field("to_number", _text),
}

_EVENTS: dict[str, tuple[type[events.CallEvent], dict[str, _Field]]] = {
    kind.type: (kind, _COMMON | fields)
    for kind, fields in (
        (events.CallInitiated, {}),
        (events.CallRinging, {}),
        (events.CallAnswered, {}),
        (events.CallActive, {}),
        (events.CallSpeaking, {"text": _Field("text", _text)}),
        (
            events.CallSpeech,
            {
                "transcript": _Field("text", _text, required=True),
                "isFinal": _Field("is_final", _flag),
                "confidence": _Field("confidence", _confidence),
                "turnToken": _Field("turn_token", _text),
            },
        ),
        (events.CallSilence, {"durationMs": _Field("duration_ms", _whole)}),
        (events.CallDtmf, {"digits": _Field("digits", _text, required=True)}),
        (events.CallEnded, {"reason": _Field("reason", _reason, required=True)}),
        (
            events.CallErrored,
            {
                "message": _Field("message", _text, required=True),
                "retryable": _Field("retryable", _flag),
            },
        ),
    )
}


class MockWebhook:
    """`ports.Webhook` of the mock carrier. Nothing is signed, so everything is believed.

    Args:
        clock: stamps events that carry no timestamp.
        urls: where media are streamed; None without media streaming.
    """

    def __init__(self, clock: Clock, urls: StreamUrls | None = None) -> None:
        self._clock = clock
        self._urls = urls

    @property
    def signature_headers(self) -> Sequence[str]:
        """None: the mock carrier signs nothing."""
        return ()

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Believe `request`. Without a signature nothing can be replayed: the key is empty."""
        return VerifiedRequest(request, replay_key="")

    def parse(self, verified: VerifiedRequest) -> Sequence[events.CallEvent]:
        """The events in the body, in order; all of them or none.

        Raises:
            CodecError: the body is not JSON of the described shape; says which field is wrong.
        """
        try:
            body = orjson.loads(verified.request.body)
        except orjson.JSONDecodeError as error:
            raise CodecError("the body is not JSON") from error
        return [self._event(entry) for entry in _entries(body)]

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        """Where the call's media go, once it is answered and until they are there; else nothing."""
        del verified
        if self._urls is None or record is None or record.state is not CallState.ANSWERED:
            return WebhookAnswer()
        body = orjson.dumps({"streamUrl": self._urls.issue(record.call_id)})
        return WebhookAnswer(content_type="application/json", body=body)

    def _event(self, entry: object) -> events.CallEvent:
        if not isinstance(entry, Mapping):
            raise CodecError("an event must be an object")
        name = entry.get("type")
        known = _EVENTS.get(name) if isinstance(name, str) else None
        if known is None:
            raise CodecError("an event has no known type")
        kind, fields = known
        values = _values(entry, fields)
        if "call_id" not in values and "provider_call_id" not in values:
            raise CodecError(f"{kind.type}: callId or providerCallId is missing")
        values.setdefault("id", uuid.uuid4().hex)
        values.setdefault("dedupe_key", values["id"])
        values.setdefault("timestamp", self._clock.wall_ms())
        return kind(**values)


def _entries(body: object) -> Sequence[object]:
    if not isinstance(body, Mapping) or ("event" in body) == ("events" in body):
        raise CodecError("the body must hold either event or events")
    entries = [body["event"]] if "event" in body else body["events"]
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_EVENTS_PER_BODY:
        raise CodecError(f"events must be a list of 1 to {MAX_EVENTS_PER_BODY}")
    return entries


def _values(entry: Mapping[str, object], fields: Mapping[str, _Field]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in fields.items():
        value = entry.get(name)
        if value is None:
            if field.required:
                raise CodecError(f"{entry['type']}: {name} is missing")
            continue
        try:
            values[field.attribute] = field.read(value)
        except CodecError as error:
            raise CodecError(f"{entry['type']}: {name} {error}") from error
    return values
