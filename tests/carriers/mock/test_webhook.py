from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.call import events
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers.mock.webhook import MAX_EVENTS_PER_BODY, MockWebhook
from voicecall.clock import ManualClock
from voicecall.errors import CodecError
from voicecall.ports import WebhookAnswer, WebhookRequest

pytestmark = pytest.mark.unit

SPECIFIED = {
    f"call.{name}"
    for name in (
        "initiated", "ringing", "answered", "active", "speaking",
        "speech", "silence", "dtmf", "ended", "error",
    )
}  # fmt: skip


def parse(body: object) -> list[events.CallEvent]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    webhook = MockWebhook(ManualClock(wall_ms=42_000))
    request = WebhookRequest("POST", "https://example.com/", {}, raw, "127.0.0.1")
    return list(webhook.parse(webhook.verify(request)))


def one(**fields: Any) -> events.CallEvent:
    return parse({"event": {"callId": "c-1"} | fields})[0]


def test_every_event_has_a_wire_form() -> None:
    needed: dict[str, dict[str, Any]] = {
        "call.speech": {"transcript": "hi"},
        "call.dtmf": {"digits": "1"},
        "call.ended": {"reason": "busy"},
        "call.error": {"message": "oh"},
    }
    # What only our own session reports has no wire form.
    kinds = [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.CallEvent) and kind.type in SPECIFIED
    ]
    assert len(kinds) == len(SPECIFIED)
    for kind in kinds:
        assert type(one(type=kind.type, **needed.get(kind.type, {}))) is kind


def test_all_fields_are_read() -> None:
    event = one(
        type="call.speech",
        id="e-1",
        dedupeKey="k-1",
        timestamp=7,
        providerCallId="p-1",
        direction="inbound",
        to="+15550002222",
        transcript="hello",
        isFinal=False,
        confidence=1,
        turnToken="t",
        **{"from": "+15550001111"},
    )
    assert event == events.CallSpeech(
        id="e-1",
        dedupe_key="k-1",
        timestamp=7,
        call_id="c-1",
        provider_call_id="p-1",
        direction=Direction.INBOUND,
        from_number="+15550001111",
        to_number="+15550002222",
        text="hello",
        is_final=False,
        confidence=1.0,
        turn_token="t",
    )


def test_what_is_left_out_is_made_up() -> None:
    first, second = parse({"events": [{"type": "call.active", "callId": "c-1"}] * 2})
    assert first.id != second.id
    assert first.dedupe_key == first.id
    assert first.timestamp == 42_000
    assert one(type="call.active", id="e-1").dedupe_key == "e-1"


def test_a_reason_is_read_as_a_state() -> None:
    event = one(type="call.ended", reason="hangup-user")
    assert isinstance(event, events.CallEnded)
    assert event.reason is CallState.HANGUP_USER


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (7, "must be an object"),
        ({}, "no known type"),
        ({"type": ["x"]}, "no known type"),
        ({"type": "call.fly"}, "no known type"),
        ({"type": "call.active"}, "callId or providerCallId is missing"),
        ({"type": "call.ended", "callId": "c"}, "call.ended: reason is missing"),
        ({"type": "call.ended", "callId": "c", "reason": "active"}, "reason is no reason"),
        ({"type": "call.ended", "callId": "c", "reason": "fun"}, "reason is no reason"),
        ({"type": "call.active", "callId": 7}, "callId must be a string"),
        ({"type": "call.active", "callId": "c", "timestamp": -1}, "timestamp must be a whole"),
        ({"type": "call.active", "callId": "c", "timestamp": True}, "timestamp must be a whole"),
        ({"type": "call.active", "callId": "c", "direction": "up"}, "direction must be inbound"),
        (
            {"type": "call.speech", "callId": "c", "transcript": "x", "confidence": 2},
            "confidence must be a number from 0 to 1",
        ),
        (
            {"type": "call.speech", "callId": "c", "transcript": "x", "isFinal": 1},
            "isFinal must be true or false",
        ),
    ],
)
def test_what_makes_no_sense_is_named(event: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        parse({"event": event})


@pytest.mark.parametrize(
    "body", [b"", b"{", {}, [], {"event": {}, "events": []}, {"events": []}, {"events": {}}]
)
def test_a_body_of_another_shape_is_refused(body: object) -> None:
    with pytest.raises(CodecError, match=r"body|events"):
        parse(body)


def test_one_wrong_event_refuses_the_whole_body() -> None:
    with pytest.raises(CodecError):
        parse({"events": [{"type": "call.active", "callId": "c"}, {"type": "call.fly"}]})
    too_many = [{"type": "call.active", "callId": "c"}] * (MAX_EVENTS_PER_BODY + 1)
    with pytest.raises(CodecError, match="1 to 100"):
        parse({"events": too_many})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["event", "events", "type", "callId", "reason"])
                | st.text(max_size=3),
                inner | st.sampled_from(["call.active", "call.ended", "busy"]),
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_nothing_but_a_codec_error_is_raised(body: object) -> None:
    try:
        found = parse(body)
    except CodecError:
        return
    assert found


def test_nothing_is_signed_and_nothing_is_asked_of_the_carrier() -> None:
    webhook = MockWebhook(ManualClock())
    verified = webhook.verify(WebhookRequest("POST", "", {}, b"", ""))
    assert webhook.signature_headers == ()
    assert verified.replay_key == ""
    assert webhook.answer(verified, None) == WebhookAnswer()


class Urls:
    def issue(self, call_id: str) -> str:
        return f"ws://127.0.0.1/stream/of-{call_id}"

    def revoke(self, call_id: str) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("state", list(CallState))
def test_an_answered_call_without_media_is_told_where_they_go(state: CallState) -> None:
    webhook = MockWebhook(ManualClock(), Urls())
    verified = webhook.verify(WebhookRequest("POST", "", {}, b"", ""))
    record = CallRecord("c-1", "mock", Direction.INBOUND, state, "", "", "", 0)
    answer = webhook.answer(verified, record)
    if state is CallState.ANSWERED:
        assert answer.content_type == "application/json"
        assert orjson.loads(answer.body) == {"streamUrl": "ws://127.0.0.1/stream/of-c-1"}
    else:
        assert answer == WebhookAnswer()
