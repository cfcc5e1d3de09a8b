from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.plivo.requests import (
    AUTH_TOKEN,
    CALL,
    CALL_ID,
    INBOUND,
    OUTBOUND,
    REQUEST,
    URL,
    believed,
    webhook,
)
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
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers._prompts import Prompt, Prompts
from voicecall.carriers.plivo.instructions import Instructions
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.signature import FORM, SignatureVerifier
from voicecall.carriers.plivo.webhook import IGNORED, PlivoWebhook
from voicecall.clock import ManualClock
from voicecall.errors import CodecError, VerificationError
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.unit

CLOCK = ManualClock()
OURS = f"{URL}?callId={CALL_ID}"
LISTENED = f"{OURS}&input=0123456789abcdef&turn=7u2n"
PARTIES: dict[str, Any] = {"from_number": "+15550001111", "to_number": "+15550002222"}


def plivo(names: CallNames | None = None, prompts: Prompts | None = None) -> PlivoWebhook:
    names = CallNames() if names is None else names
    prompts = Prompts() if prompts is None else prompts
    told = Instructions(lambda: URL, names=names, prompts=prompts)
    return PlivoWebhook(SignatureVerifier(AUTH_TOKEN), told, names=names, clock=CLOCK)


def parse(fields: Mapping[str, str], url: str = OURS) -> list[CallEvent]:
    return list(plivo().parse(believed(fields, url)))


def head(fact: str, known_as: str = REQUEST, call_id: str | None = CALL_ID) -> dict[str, Any]:
    key = f"plivo:{CALL}:{fact}"
    return {
        "id": key,
        "dedupe_key": key,
        "timestamp": CLOCK.wall_ms(),
        "call_id": call_id,
        "provider_call_id": known_as,
        "provider_alias": None if known_as == CALL else CALL,
    }


def record(state: CallState = CallState.ANSWERED, mode: str = "conversation") -> CallRecord:
    return CallRecord(
        call_id=CALL_ID,
        provider="plivo",
        direction=Direction.OUTBOUND,
        state=state,
        from_number="+15550001111",
        to_number="+15550002222",
        session_key="voice:15550002222",
        started_at=1,
        metadata={"mode": mode},
    )


# --- outbound --------------------------------------------------------------------------------


def test_it_rings() -> None:
    events = parse(OUTBOUND | {"Event": "Ring", "CallStatus": "ringing"})
    assert events == [
        CallRinging(**head("ringing"), direction=Direction.OUTBOUND, **PARTIES),
    ]


def test_somebody_answers() -> None:
    events = parse(OUTBOUND | {"Event": "StartApp", "CallStatus": "in-progress"})
    assert events == [
        CallAnswered(**head("answered"), direction=Direction.OUTBOUND, **PARTIES),
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"CallStatus": "completed", "HangupSource": "Callee"}, CallState.HANGUP_USER),
        ({"CallStatus": "completed", "HangupCauseCode": "3000"}, CallState.NO_ANSWER),
        ({"CallStatus": "busy", "HangupCause": "USER_BUSY"}, CallState.BUSY),
        ({"CallStatus": "no-answer"}, CallState.NO_ANSWER),
        ({"CallStatus": "timeout"}, CallState.NO_ANSWER),
        ({"CallStatus": "failed"}, CallState.FAILED),
        ({"CallStatus": "cancel"}, CallState.HANGUP_BOT),
        ({"CallStatus": "completed", "Machine": "true"}, CallState.VOICEMAIL),
        ({"HangupCauseName": "Busy Line", "HangupCause": "x"}, CallState.BUSY),
        ({"CallStatus": "completed", "Machine": ""}, CallState.COMPLETED),
    ],
)
@pytest.mark.parametrize("event", [{"Event": "Hangup"}, {}])
def test_it_ends(event: dict[str, str], fields: dict[str, str], reason: CallState) -> None:
    assert parse(OUTBOUND | event | fields) == [CallEnded(**head("ended"), reason=reason)]


def test_a_machine_is_a_hint() -> None:
    fields = {"Event": "MachineDetection", "CallStatus": "in-progress", "IfMachine": "continue"}
    assert parse(OUTBOUND | fields | {"Machine": "true"}) == [
        CallErrored(**head("machine"), message="an answering machine took the call")
    ]
    assert parse(OUTBOUND | fields | {"Machine": "false"}) == []


def test_a_machine_is_the_end_where_plivo_hangs_up_on_them() -> None:
    fields = {"Event": "MachineDetection", "Machine": "true", "IfMachine": "hangup"}
    assert parse(OUTBOUND | fields) == [CallEnded(**head("ended"), reason=CallState.VOICEMAIL)]


@pytest.mark.parametrize("event", ["Redirect", "Transfer"])
def test_a_call_that_asks_on_is_active(event: str) -> None:
    assert parse(OUTBOUND | {"Event": event}) == [CallActive(**head("active"))]


def test_a_call_placed_by_others_is_told_with_its_parties() -> None:
    (event,) = parse(OUTBOUND | {"Event": "StartApp"}, URL)
    assert (event.call_id, event.direction) == (None, Direction.OUTBOUND)


# --- inbound ---------------------------------------------------------------------------------


def test_a_call_comes_in_and_is_picked_up() -> None:
    parties: dict[str, Any] = {"from_number": "+15550003333", "to_number": "+15550001111"}
    events = parse(INBOUND | {"Event": "StartApp", "CallStatus": "ringing"}, URL)
    assert events == [
        CallInitiated(**head("initiated", CALL, None), direction=Direction.INBOUND, **parties),
        CallAnswered(**head("answered", CALL, None), direction=Direction.INBOUND, **parties),
    ]


def test_a_call_comes_in_without_an_event() -> None:
    assert len(parse(INBOUND | {"CallStatus": "ringing"}, URL)) == 2


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("15550003333", "+15550003333"),
        ("+15550003333", "+15550003333"),
        ("anonymous", "anonymous"),
        ("sip:somebody@phone.plivo.com", "sip:somebody@phone.plivo.com"),
        ("12345", "12345"),
        ("", None),
    ],
)
def test_numbers_are_written_as_everywhere_else(said: str, known: str | None) -> None:
    event, _ = parse(INBOUND | {"Event": "StartApp", "From": said}, URL)
    assert event.from_number == known


def test_a_caller_who_cancels_hung_up() -> None:
    (event,) = parse(INBOUND | {"Event": "Hangup", "CallStatus": "cancel"})
    assert event == CallEnded(**head("ended", CALL), reason=CallState.HANGUP_USER)


# --- what callers say and press --------------------------------------------------------------


def test_words_are_told_with_their_turn() -> None:
    fields = {"InputType": "speech", "Digits": "", "Speech": " Yes, please ", "Event": "Redirect"}
    score = {"SpeechConfidenceScore": "0.92", "BilledAmount": "0.02"}
    assert parse(OUTBOUND | fields | score, LISTENED) == [
        CallSpeech(
            **head("input:0123456789abcdef"),
            text="Yes, please",
            confidence=0.92,
            turn_token="7u2n",
        )
    ]


def test_words_listened_for_outside_of_a_turn_say_so() -> None:
    fields = {"InputType": "speech", "Digits": "", "Speech": "Hm"}
    (speech,) = parse(OUTBOUND | fields, LISTENED.replace("&turn=7u2n", ""))
    assert isinstance(speech, CallSpeech)
    assert speech.turn_token == NO_TURN


def test_a_call_that_asks_is_told_in_the_answer_what_is_said_meanwhile() -> None:
    async def refuse(_: Prompt) -> None:
        raise AssertionError

    async def case() -> None:
        prompts = Prompts()
        hook = plivo(prompts=prompts)
        started = believed(OUTBOUND | {"Event": "StartApp"}, OURS)
        hook.parse(started)
        saying = asyncio.create_task(prompts.say(REQUEST, "Hello", refuse))
        await asyncio.sleep(0)
        speak, redirect = told(hook.answer(started, record()))
        assert speak.text == "Hello"
        back = believed(OUTBOUND | {"Event": "Redirect"}, redirect.text or "")
        hook.answer(back, record())
        assert await saying is True

    asyncio.run(case())


def test_keys_are_told() -> None:
    fields = {"InputType": "dtmf", "Digits": "12*#", "Speech": ""}
    assert parse(OUTBOUND | fields, LISTENED) == [
        CallDtmf(**head("input:0123456789abcdef"), digits="12*#")
    ]


@pytest.mark.parametrize("kind", ["", "speech", "dtmf"])
def test_nothing_heard_is_silence(kind: str) -> None:
    fields = {"InputType": kind, "Digits": "", "Speech": " "}
    assert parse(OUTBOUND | fields, LISTENED) == [
        CallSilence(**head("input:0123456789abcdef"), duration_ms=60_000)
    ]


def test_words_that_may_change_are_partial() -> None:
    fields = {"StableSpeech": "Yes", "UnstableSpeech": "ple", "SequenceNumber": "3"}
    assert parse(OUTBOUND | fields | {"Stability": "0.5"}, LISTENED) == [
        CallSpeech(
            **head("interim:0123456789abcdef:3"), text="Yes ple", is_final=False, turn_token="7u2n"
        )
    ]


# --- everything else -------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["DroppedStream", "failed", "Failed"])
def test_a_stream_that_fails_is_told(event: str) -> None:
    fields = {"Event": event, "StreamID": "s-1", "StatusReason": "connection refused"}
    assert parse(OUTBOUND | fields) == [
        CallErrored(
            **head("stream:s-1"),
            message="Plivo could not stream the call's media: connection refused",
        )
    ]


@pytest.mark.parametrize("event", [*sorted(IGNORED), "StartStream", "Record", "NotInventedYet"])
def test_what_does_not_matter_says_nothing(event: str) -> None:
    assert parse(OUTBOUND | {"Event": event, "StreamID": "s-1"}) == []


@pytest.mark.parametrize("name", ["RecordUrl", "RecordingID"])
def test_recordings_are_known_by_their_fields(name: str) -> None:
    assert parse(OUTBOUND | {name: "x", "CallStatus": "completed"}) == []


@pytest.mark.parametrize(
    ("fields", "url", "named"),
    [
        ({"CallUUID": ""}, OURS, "CallUUID"),
        ({"CallUUID": "../.."}, OURS, "CallUUID"),
        ({"RequestUUID": "a b"}, OURS, "RequestUUID"),
        ({"Direction": "sideways"}, OURS, "Direction"),
        ({"Direction": ""}, OURS, "Direction"),
        ({"Event": "", "CallStatus": "humming"}, OURS, "Event nor CallStatus"),
        ({"Event": "MachineDetection", "Machine": "maybe"}, OURS, "Machine"),
        ({"InputType": "smell"}, LISTENED, "InputType"),
        ({"InputType": "dtmf", "Digits": "12x"}, LISTENED, "Digits"),
        ({"InputType": "dtmf", "Digits": "1"}, OURS, "input"),
        ({"InputType": "speech", "Speech": "a", "SpeechConfidenceScore": "x"}, LISTENED, "Score"),
        ({"InputType": "speech", "Speech": "a", "SpeechConfidenceScore": "2"}, LISTENED, "Score"),
        ({"InputType": "speech", "Speech": "a", "SpeechConfidenceScore": "nan"}, LISTENED, "Score"),
        ({"StableSpeech": "a"}, LISTENED, "SequenceNumber"),
        ({"Event": "failed"}, OURS, "StreamID"),
        ({}, f"{URL}?callId=%2F", "callId"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_names_the_field(
    fields: dict[str, str], url: str, named: str
) -> None:
    with pytest.raises(CodecError, match=named):
        parse(OUTBOUND | {"Event": "Ring"} | fields, url)


@pytest.mark.parametrize(
    ("body", "kind", "named"),
    [
        (b"", FORM, "no form"),
        (b"{}", "application/json", "no form"),
        (b"\xff\xfe", FORM, "no form"),
        (b"&".join([b"a=1"] * 300), FORM, "too many fields"),
        (b"CallUUID=a&CallUUID=b", FORM, "CallUUID is there more than once"),
        (b"Event=Ring", FORM, "CallUUID"),
    ],
)
def test_a_body_that_is_no_form_is_an_error(body: bytes, kind: str, named: str) -> None:
    request = WebhookRequest("POST", URL, {"content-type": kind}, body, "")
    with pytest.raises(CodecError, match=named):
        plivo().parse(VerifiedRequest(request, ""))


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *(*OUTBOUND, "Event", "CallStatus", "InputType", "Digits", "Speech"),
                *("StableSpeech", "SequenceNumber", "Machine", "StreamID", "HangupCause"),
            ]
        ),
        st.one_of(
            st.text(max_size=8),
            st.sampled_from([CALL, "inbound", "outbound", "Ring", "StartApp", "Hangup", "true"]),
            st.sampled_from(["MachineDetection", "completed", "dtmf", "speech", "Redirect"]),
        ),
    ),
    st.sampled_from([URL, OURS, LISTENED]),
)
def test_whatever_comes_is_understood_or_a_codec_error(fields: dict[str, str], url: str) -> None:
    seen = believed(fields, url)
    hook = plivo()
    try:
        events = hook.parse(seen)
    except CodecError:
        return
    assert all(event.provider_call_id for event in events)
    assert hook.answer(seen, None).status == 200


# --- names -----------------------------------------------------------------------------------


def test_a_call_keeps_the_name_it_was_placed_by() -> None:
    names = CallNames()
    hook = plivo(names)
    hook.parse(believed(OUTBOUND | {"Event": "Ring"}, OURS))
    assert names.call_uuid(REQUEST) == CALL
    bare = {"CallUUID": CALL, "Event": "Redirect", "Direction": "outbound"}
    (event,) = hook.parse(believed(bare, OURS))
    assert event.provider_call_id == REQUEST


def test_the_first_leg_names_the_request_too() -> None:
    fields = {key: value for key, value in OUTBOUND.items() if key != "RequestUUID"}
    (event,) = parse(fields | {"Event": "Ring"})
    assert event.provider_call_id == REQUEST


# --- verification ----------------------------------------------------------------------------


def test_a_signed_webhook_is_believed() -> None:
    hook = plivo()
    request = webhook(OUTBOUND, OURS)
    assert hook.verify(request).request is request
    assert set(hook.signature_headers) <= request.headers.keys()


def test_another_one_is_not() -> None:
    with pytest.raises(VerificationError):
        plivo().verify(webhook(OUTBOUND, OURS, {"x-plivo-signature-v3": "x"}))


def test_without_a_token_nothing_is_verified() -> None:
    names = CallNames()
    told = Instructions(lambda: URL, names=names, prompts=Prompts())
    hook = PlivoWebhook(None, told, names=names, clock=CLOCK)
    assert hook.signature_headers == ()
    with pytest.raises(VerificationError, match=r"plivo\.authToken"):
        hook.verify(webhook(OUTBOUND))


# --- answers ---------------------------------------------------------------------------------


def told(answer: WebhookAnswer) -> list[ET.Element]:
    assert (answer.status, answer.content_type) == (200, "application/xml")
    return list(ET.fromstring(answer.body))  # noqa: S314  (our own document)


@pytest.mark.parametrize("event", ["Ring", "Hangup", "MachineDetection", "StopStream", "New"])
def test_what_asks_nothing_gets_an_empty_answer(event: str) -> None:
    answer = plivo().answer(believed(OUTBOUND | {"Event": event}, OURS), record())
    assert answer == WebhookAnswer()


@pytest.mark.parametrize(
    "fields",
    [
        {"Event": "StartApp"},
        {"Event": "Redirect"},
        {"Event": "Transfer"},
        {"InputType": "speech", "Speech": "Yes", "Event": "Redirect"},
    ],
)
def test_what_asks_is_told_what_to_do(fields: dict[str, str]) -> None:
    answer = plivo().answer(believed(OUTBOUND | fields, LISTENED), record())
    assert [each.tag for each in told(answer)] == ["GetInput", "Redirect"]


def test_a_call_that_was_not_taken_is_rejected() -> None:
    answer = plivo().answer(believed(INBOUND | {"Event": "StartApp"}, URL), None)
    (hang_up,) = told(answer)
    assert (hang_up.tag, hang_up.attrib) == ("Hangup", {"reason": "rejected"})


@pytest.mark.parametrize("known", [None, record(CallState.TIMEOUT)])
def test_a_call_that_is_unknown_or_over_is_hung_up(known: CallRecord | None) -> None:
    answer = plivo().answer(believed(OUTBOUND | {"Event": "Redirect"}, OURS), known)
    (hang_up,) = told(answer)
    assert (hang_up.tag, hang_up.attrib) == ("Hangup", {})


def test_a_call_that_is_handed_on_is_told_to_whom() -> None:
    hook = plivo()
    transfer_id = hook._instructions.begin_transfer(CALL, "+15550003333")
    asking = OUTBOUND | {"Event": "Transfer"}
    url = hook._instructions.transfer_url(transfer_id)
    assert [type(event) for event in hook.parse(believed(asking, url))] == [CallActive]
    (dial,) = told(hook.answer(believed(asking, url), record(CallState.COMPLETED)))
    assert (dial.tag, dial[0].text) == ("Dial", "+15550003333")
    with pytest.raises(CodecError, match="transfer"):
        hook.parse(believed(asking, f"{URL}?transfer=%3Cx%3E"))


def test_what_was_spoken_is_settled_and_the_call_listened_to() -> None:
    async def case() -> None:
        prompts = Prompts()
        hook = plivo(prompts=prompts)
        prompt = prompts.put(REQUEST, "Hello")
        first = hook.answer(believed(OUTBOUND | {"Event": "StartApp"}, OURS), record())
        assert [each.tag for each in told(first)] == ["Speak", "Redirect"]
        back = believed(OUTBOUND | {"Event": "Redirect"}, f"{OURS}&spoken={prompt.id}")
        second = hook.answer(back, record())
        assert [each.tag for each in told(second)] == ["GetInput", "Redirect"]
        assert await prompt.outcome is True

    asyncio.run(case())


def test_the_end_of_a_call_cuts_what_is_said() -> None:
    async def case() -> None:
        prompts = Prompts()
        prompt = prompts.put(REQUEST, "Hello")
        ended = believed(OUTBOUND | {"Event": "Hangup"}, OURS)
        plivo(prompts=prompts).answer(ended, record(CallState.HANGUP_USER))
        assert await prompt.outcome is False

    asyncio.run(case())
