from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import record
from tests.carriers.twilio.api import CALL, TOKEN, run
from tests.carriers.twilio.callbacks import COMMON, FORM, URL, form
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
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers._prompts import Prompt, Prompts
from voicecall.carriers.twilio.instructions import Instructions
from voicecall.carriers.twilio.signature import SignatureVerifier
from voicecall.carriers.twilio.webhook import TwilioWebhook
from voicecall.clock import ManualClock
from voicecall.errors import CodecError, VerificationError
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.unit

NOW_MS = 1_750_000_000_000
INSTRUCTIONS = Instructions(URL, urls=None, prompts=Prompts())
WEBHOOK = TwilioWebhook(SignatureVerifier(TOKEN), INSTRUCTIONS, ManualClock(wall_ms=NOW_MS))
PARTIES: dict[str, Any] = {
    "direction": Direction.OUTBOUND,
    "from_number": "+15550000001",
    "to_number": "+15550000002",
}


def callback(query: str = "", **fields: str) -> VerifiedRequest:
    url = f"{URL}?{query}" if query else URL
    return WEBHOOK.verify(form(COMMON | fields, url=url))


def events(query: str = "", **fields: str) -> Sequence[CallEvent]:
    return WEBHOOK.parse(callback(query, **fields))


def head(fact: str, **fields: Any) -> dict[str, Any]:
    key = f"{CALL}:{fact}"
    return {
        "id": key,
        "dedupe_key": key,
        "timestamp": NOW_MS,
        "provider_call_id": CALL,
        **fields,
    }


def answer(call: CallRecord | None, query: str = "", **fields: str) -> WebhookAnswer:
    return WEBHOOK.answer(callback(query, **fields), call)


def tags(answered: WebhookAnswer) -> list[str]:
    assert answered.status == 200
    assert answered.content_type == "application/xml"
    return [verb.tag for verb in ET.fromstring(answered.body)]  # noqa: S314  (our own)


def test_only_signed_requests_are_read_at_all() -> None:
    assert WEBHOOK.signature_headers == ("x-twilio-signature",)
    request = form(COMMON | {"CallStatus": "ringing"})
    with pytest.raises(VerificationError):
        WEBHOOK.verify(replace(request, body=request.body + b"0"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("queued", CallInitiated),
        ("initiated", CallInitiated),
        ("ringing", CallRinging),
        ("in-progress", CallAnswered),
        ("answered", CallAnswered),
    ],
)
def test_progress_may_open_a_call(status: str, kind: type[CallEvent]) -> None:
    expected = kind(**head(kind.type, call_id="call-1"), **PARTIES)
    assert list(events("callId=call-1&kind=status", CallStatus=status)) == [expected]


@pytest.mark.parametrize(
    ("status", "direction", "reason"),
    [
        ("completed", "outbound-api", CallState.COMPLETED),
        ("completed", "inbound", CallState.COMPLETED),
        ("busy", "outbound-api", CallState.BUSY),
        ("no-answer", "outbound-dial", CallState.NO_ANSWER),
        ("failed", "outbound-api", CallState.FAILED),
        ("canceled", "outbound-api", CallState.HANGUP_BOT),
        ("canceled", "inbound", CallState.HANGUP_USER),
        ("canceled", "sideways", CallState.COMPLETED),
    ],
)
def test_every_end_has_its_reason(status: str, direction: str, reason: CallState) -> None:
    assert list(events("kind=status", CallStatus=status, Direction=direction)) == [
        CallEnded(**head("ended"), reason=reason)
    ]


def test_the_same_fact_told_twice_has_the_same_key() -> None:
    (told,) = events("callId=call-1&kind=status", CallStatus="in-progress", SequenceNumber="2")
    (asked,) = events("callId=call-1", CallStatus="in-progress")
    assert told.dedupe_key == asked.dedupe_key


def test_an_inbound_call_names_its_caller_and_knows_no_id_of_ours() -> None:
    (event,) = events(CallStatus="ringing", Direction="inbound")
    assert event == CallRinging(
        **head("call.ringing"), **PARTIES | {"direction": Direction.INBOUND}
    )


def test_a_withheld_or_missing_party_is_none() -> None:
    (event,) = events(CallStatus="ringing", Direction="inbound", From="")
    assert event.from_number is None


def test_words_listened_for_outside_of_a_turn_say_so() -> None:
    (speech,) = events("once=abc", CallStatus="in-progress", SpeechResult="Hm")
    assert isinstance(speech, CallSpeech)
    assert speech.turn_token == NO_TURN


def test_a_call_that_asks_is_told_in_the_answer_what_is_said_meanwhile() -> None:
    async def refuse(_: Prompt) -> None:
        raise AssertionError

    async def case() -> None:
        events("callId=call-1", CallStatus="in-progress", Direction="outbound-api")
        saying = asyncio.create_task(INSTRUCTIONS.prompts.say(CALL, "Hello", refuse))
        await asyncio.sleep(0)
        told = answer(record(), CallStatus="in-progress").body.decode()
        prompt_id = told.partition("said=")[2].partition("<")[0]
        answer(record(), f"said={prompt_id}", CallStatus="in-progress")
        assert await saying is True

    asyncio.run(case())


def test_words_carry_their_turn_and_confidence() -> None:
    query = "callId=call-1&turn=t7&once=abc"
    fields = {"CallStatus": "in-progress", "SpeechResult": " Yes, please. ", "Confidence": "0.93"}
    assert list(events(query, **fields)) == [
        CallSpeech(
            **head("gathered:abc:speech", call_id="call-1"),
            text="Yes, please.",
            confidence=0.93,
            turn_token="t7",
        )
    ]


def test_keys_are_told_as_pressed_and_together_with_words() -> None:
    fields = {"CallStatus": "in-progress", "Digits": "12#", "SpeechResult": "one two"}
    speech, dtmf = events("once=abc", **fields)
    assert isinstance(speech, CallSpeech)
    assert speech.confidence is None
    assert dtmf == CallDtmf(**head("gathered:abc:digits"), digits="12#")


def test_a_gathering_without_result_still_finds_its_call() -> None:
    (event,) = events("once=abc", CallStatus="in-progress", SpeechResult="")
    assert isinstance(event, CallAnswered)


def test_words_of_two_questions_are_two_facts() -> None:
    first, second = (
        events(f"once={once}", CallStatus="in-progress", SpeechResult="yes")[0] for once in "ab"
    )
    assert first.dedupe_key != second.dedupe_key


@pytest.mark.parametrize(
    ("answered_by", "who"),
    [
        ("machine_start", "an answering machine"),
        ("machine_end_beep", "an answering machine"),
        ("machine_end_silence", "an answering machine"),
        ("machine_end_other", "an answering machine"),
        ("fax", "a fax machine"),
        ("human", None),
        ("unknown", None),
    ],
)
def test_machines_are_hinted_at_and_people_are_not(answered_by: str, who: str | None) -> None:
    fields = {"CallSid": CALL, "AccountSid": COMMON["AccountSid"], "AnsweredBy": answered_by}
    found = WEBHOOK.parse(WEBHOOK.verify(form(fields, url=f"{URL}?callId=call-1&kind=machine")))
    hint = CallErrored(
        **head("machine", call_id="call-1"), message=f"{who} took the call", retryable=True
    )
    assert list(found) == ([hint] if who else [])


def test_a_verdict_that_comes_with_the_answer_is_told_after_it() -> None:
    kinds = [type(each) for each in events(CallStatus="in-progress", AnsweredBy="machine_start")]
    assert kinds == [CallAnswered, CallErrored]
    (ended,) = events(CallStatus="completed", AnsweredBy="machine_start")
    assert isinstance(ended, CallEnded)


def test_a_stream_that_fails_is_an_error_and_others_are_no_news() -> None:
    fields = {"StreamSid": "MZ1", "StreamName": "s", "Timestamp": "2026-01-01T00:00:00Z"}
    failed = fields | {"StreamEvent": "stream-error", "StreamError": "31920 handshake"}
    assert list(events("callId=call-1&kind=stream", **failed)) == [
        CallErrored(
            **head("stream-error:MZ1", call_id="call-1"),
            message="Twilio could not stream the call's media: 31920 handshake",
            retryable=True,
        )
    ]
    for said in ("stream-started", "stream-stopped"):
        assert events("kind=stream", **fields, StreamEvent=said) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"RecordingSid": "RE1", "RecordingStatus": "completed"},
        {"TranscriptionSid": "TR1", "TranscriptionEvent": "transcription-stopped"},
        {"ConferenceSid": "CF1"},
    ],
)
def test_kinds_that_do_not_matter_are_ignored_and_answered_empty(fields: dict[str, str]) -> None:
    assert events("kind=status", **fields) == ()
    assert events(**fields) == ()
    assert answer(record(), **fields) == WebhookAnswer()


def test_a_recorded_call_ends_all_the_same() -> None:
    (event,) = events(CallStatus="completed", RecordingSid="RE1", RecordingUrl="https://x")
    assert isinstance(event, CallEnded)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "CallStatus"),
        ({"CallStatus": "exploded"}, "CallStatus"),
        ({"CallStatus": ""}, "CallStatus"),
        ({"CallStatus": "ringing", "CallSid": "CA1"}, "CallSid"),
        ({"CallStatus": "ringing", "CallSid": ""}, "CallSid"),
        ({"CallStatus": "in-progress", "Digits": "12a"}, "Digits"),
        ({"CallStatus": "in-progress", "SpeechResult": "x", "Confidence": "nan"}, "Confidence"),
        ({"CallStatus": "in-progress", "SpeechResult": "x", "Confidence": "sure"}, "Confidence"),
        ({"CallStatus": "in-progress", "SpeechResult": "x", "Confidence": "1.5"}, "Confidence"),
        ({"SpeechResult": ""}, "CallStatus"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_fields_name(
    fields: dict[str, str], named: str
) -> None:
    with pytest.raises(CodecError, match=named):
        events(**fields)


@pytest.mark.parametrize("body", [b"", b"\xff=1", b"a=1&" * 300, b"&&"])
def test_a_body_that_is_no_form_is_refused(body: bytes) -> None:
    request = WebhookRequest("POST", URL, {"content-type": FORM}, body, "")
    with pytest.raises(CodecError, match="form"):
        WEBHOOK.parse(VerifiedRequest(request, ""))


# Fields that mean something, with values that may mean nothing.
NAMES = (
    "CallSid",
    "CallStatus",
    "Direction",
    "From",
    "SpeechResult",
    "Digits",
    "Confidence",
    "AnsweredBy",
    "StreamEvent",
    "StreamSid",
    "RecordingSid",
    "CallbackSource",
)
FIELDS = st.sampled_from(NAMES)
VALUES = st.text(max_size=8) | st.sampled_from(
    [CALL, "in-progress", "completed", "ringing", "inbound", "machine_start", "stream-error", "1"]
)
QUERY = st.dictionaries(
    st.sampled_from(["callId", "kind", "turn", "said", "stream", "once"]), VALUES, max_size=4
)


@given(QUERY, st.dictionaries(FIELDS, VALUES))
def test_whatever_else_is_signed_is_understood_or_a_codec_error(
    query: dict[str, str], fields: dict[str, str]
) -> None:
    headers = {"content-type": FORM}
    body = urlencode(fields, errors="replace").encode()
    url = f"{URL}?{urlencode(query, errors='replace')}"
    verified = VerifiedRequest(WebhookRequest("POST", url, headers, body, ""), "")
    try:
        WEBHOOK.parse(verified)
    except CodecError:
        return
    for call in (None, record()):
        assert WEBHOOK.answer(verified, call).status == 200


@pytest.mark.parametrize("status", ["initiated", "ringing", "in-progress", "completed"])
def test_reports_are_answered_with_nothing(status: str) -> None:
    assert answer(record(), "callId=1&kind=status", CallStatus=status) == WebhookAnswer()
    by_hand = {"CallbackSource": "call-progress-events", "CallStatus": status}
    assert answer(record(), **by_hand) == WebhookAnswer()


def test_questions_are_answered_with_what_comes_next() -> None:
    assert tags(answer(record(), "callId=1", CallStatus="in-progress")) == ["Gather", "Redirect"]
    gathered = {"CallStatus": "in-progress", "SpeechResult": "yes"}
    assert tags(answer(record(), "turn=1&once=2", **gathered)) == ["Gather", "Redirect"]
    inbound = {"CallStatus": "ringing", "Direction": "inbound"}
    assert tags(answer(record(), **inbound)) == ["Play", "Redirect"]
    assert tags(answer(None, **inbound)) == ["Reject"]
    assert tags(answer(None, CallStatus="in-progress")) == ["Hangup"]


def test_a_call_that_ended_asks_for_nothing() -> None:
    assert answer(record(), CallStatus="completed") == WebhookAnswer()
    words = {"CallStatus": "completed", "SpeechResult": "bye"}
    assert answer(record(), "once=1", **words) == WebhookAnswer()


def test_the_number_of_streams_goes_on_from_what_the_url_says() -> None:
    class Urls:
        def issue(self, call_id: str) -> str:
            return f"wss://calls.example.com/voice/stream/{call_id}"

        def revoke(self, call_id: str) -> None:
            raise AssertionError(call_id)

    streaming = Instructions(URL, urls=Urls(), prompts=Prompts())
    webhook = TwilioWebhook(SignatureVerifier(TOKEN), streaming, ManualClock())
    for said, following in (("stream=3", b"stream=4"), ("stream=x", b"stream=1")):
        verified = callback(said, CallStatus="in-progress")
        assert following in webhook.answer(verified, record()).body


def test_what_was_said_is_settled_by_its_question_and_cut_by_the_end() -> None:
    async def case() -> None:
        said = INSTRUCTIONS.prompts.put(CALL, "Hello")
        spoken = answer(record(), CallStatus="in-progress")
        assert b"Hello" in spoken.body
        answer(record(), f"said={said.id}", CallStatus="in-progress")
        assert await said.outcome is True
        cut = INSTRUCTIONS.prompts.put(CALL, "Bye")
        answer(record(), "kind=status", CallStatus="completed")
        assert await cut.outcome is False

    run(case)
