from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.carriers.json_values import altered, values
from tests.carriers.telnyx.signed import AT_MS, CALL, PUBLIC_KEY, event, octets, request, sign
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
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers.telnyx.markup import ClientState, FarEnd
from voicecall.carriers.telnyx.signature import SignatureVerifier
from voicecall.carriers.telnyx.webhook import IGNORED, TelnyxWebhook
from voicecall.clock import ManualClock
from voicecall.errors import CodecError, VerificationError
from voicecall.ports import VerifiedRequest, WebhookAnswer

pytestmark = pytest.mark.unit

OURS = ClientState("c-1", Direction.OUTBOUND)
TAKEN = ClientState("c-2", Direction.INBOUND)
HEAD = {"timestamp": AT_MS, "provider_call_id": CALL}
PARTIES: dict[str, Any] = {"from_number": "+13125550001", "to_number": "+13125550002"}


class Desk:
    def __init__(self) -> None:
        self.picked_up: list[str] = []
        self.connected: list[str] = []
        self.over: list[tuple[str, str, bool]] = []
        self.far_end: list[tuple[str, str]] = []

    def pick_up(self, record: CallRecord) -> None:
        self.picked_up.append(record.call_id)

    def connect(self, record: CallRecord) -> None:
        self.connected.append(record.call_id)

    def spoken(self, provider_call_id: str, event_id: str, *, completed: bool) -> None:
        self.over.append((provider_call_id, event_id, completed))

    def far_end_joined(self, provider_call_id: str) -> None:
        self.far_end.append(("joined", provider_call_id))

    def far_end_left(self, provider_call_id: str) -> None:
        self.far_end.append(("left", provider_call_id))


def received(body: object) -> VerifiedRequest:
    return VerifiedRequest(request(octets(body), {}), replay_key="")


def parsed(body: object) -> list[CallEvent]:
    return list(TelnyxWebhook(None, Desk()).parse(received(body)))


def said(kind: str, **payload: Any) -> CallEvent:
    (only,) = parsed(event(kind, **payload))
    return only


def head(kind: str, call_id: str | None = None) -> dict[str, Any]:
    key = f"id-of-{kind}"
    return {"id": key, "dedupe_key": key, "call_id": call_id, **HEAD}


def record(state: CallState, direction: Direction = Direction.INBOUND) -> CallRecord:
    return CallRecord("c-2", "telnyx", direction, state, "+1", "+2", "s", 0, provider_call_id=CALL)


# --- proof -----------------------------------------------------------------------------------


def test_only_signed_webhooks_are_believed() -> None:
    webhook = TelnyxWebhook(
        SignatureVerifier(PUBLIC_KEY, ManualClock(wall_ms=1_700_000_000_000)), Desk()
    )
    body = octets(event("call.answered"))
    assert webhook.verify(request(body, sign(body, 1_700_000_000))).replay_key
    with pytest.raises(VerificationError):
        webhook.verify(request(body + b" ", sign(body, 1_700_000_000)))
    assert set(webhook.signature_headers) == set(sign(body, 0))


def test_without_a_key_nothing_is_proven() -> None:
    with pytest.raises(VerificationError, match=r"telnyx\.publicKey"):
        TelnyxWebhook(None, Desk()).verify(request(b"", {}))


# --- the course of a call --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "meaning"), [("incoming", Direction.INBOUND), ("outgoing", Direction.OUTBOUND)]
)
def test_a_call_that_begins_names_its_parties(direction: str, meaning: Direction) -> None:
    assert said("call.initiated", direction=direction, state="parked") == CallInitiated(
        **head("call.initiated"), direction=meaning, **PARTIES
    )


def test_ringing_and_answered_are_told_with_our_id_of_the_call() -> None:
    state = OURS.encode()
    assert said("call.ringing", client_state=state) == CallRinging(
        **head("call.ringing", "c-1"), direction=Direction.OUTBOUND, **PARTIES
    )
    assert said("call.answered", client_state=state) == CallAnswered(
        **head("call.answered", "c-1"), direction=Direction.OUTBOUND, **PARTIES
    )


def test_an_answered_call_of_nobodys_was_placed_at_telnyx_without_us() -> None:
    assert said("call.answered").direction is Direction.OUTBOUND
    inbound = said("call.answered", client_state=TAKEN.encode())
    assert inbound.direction is Direction.INBOUND


@pytest.mark.parametrize("state", ["", "?", "YWJj", "bnVsbA==", 7, ["x"], {"callId": "c-1"}])
def test_another_programs_client_state_is_not_ours(state: object) -> None:
    assert said("call.hangup", client_state=state).call_id is None


UNKNOWN, CALLER, CALLEE = "unknown", "caller", "callee"


@pytest.mark.parametrize(
    ("cause", "source", "sip", "state", "reason"),
    [
        ("normal_clearing", CALLEE, "200", OURS, CallState.HANGUP_USER),
        ("normal_clearing", CALLER, "200", OURS, CallState.HANGUP_BOT),
        ("normal_clearing", CALLER, "200", TAKEN, CallState.HANGUP_USER),
        ("normal_clearing", CALLEE, "200", TAKEN, CallState.HANGUP_BOT),
        ("normal_clearing", UNKNOWN, "200", OURS, CallState.COMPLETED),
        ("normal_clearing", CALLER, "200", None, CallState.COMPLETED),
        ("originator_cancel", CALLER, "487", OURS, CallState.HANGUP_BOT),
        ("originator_cancel", UNKNOWN, "487", OURS, CallState.HANGUP_BOT),
        ("originator_cancel", CALLER, "487", None, CallState.HANGUP_USER),
        ("user_busy", CALLEE, "486", OURS, CallState.BUSY),
        ("call_rejected", CALLEE, "603", OURS, CallState.BUSY),
        ("no_answer", UNKNOWN, "480", OURS, CallState.NO_ANSWER),
        ("timeout", UNKNOWN, "408", OURS, CallState.NO_ANSWER),
        ("time_limit", UNKNOWN, "200", OURS, CallState.TIMEOUT),
        ("not_found", UNKNOWN, "404", OURS, CallState.FAILED),
        ("unspecified", UNKNOWN, "503", OURS, CallState.FAILED),
        ("unspecified", UNKNOWN, "unspecified", OURS, CallState.FAILED),
        ("unspecified", CALLEE, "200", OURS, CallState.HANGUP_USER),
        ("not_invented_yet", UNKNOWN, "200", OURS, CallState.COMPLETED),
        (None, None, None, OURS, CallState.FAILED),
    ],
)
def test_every_cause_of_an_end_has_its_reason(
    cause: str | None,
    source: str | None,
    sip: str | None,
    state: ClientState | None,
    reason: CallState,
) -> None:
    ended = said(
        "call.hangup",
        hangup_cause=cause,
        hangup_source=source,
        sip_hangup_cause=sip,
        client_state=state.encode() if state else None,
    )
    assert ended == CallEnded(
        **head("call.hangup", state.call_id if state else None), reason=reason
    )


# --- keys and words --------------------------------------------------------------------------


def test_a_key_is_told_unless_the_media_socket_brings_it_too() -> None:
    assert said("call.dtmf.received", digit="#", client_state=OURS.encode()) == CallDtmf(
        **head("call.dtmf.received", "c-1"), digits="#"
    )
    streams = ClientState("c-1", Direction.OUTBOUND, streams=True).encode()
    assert parsed(event("call.dtmf.received", digit="#", client_state=streams)) == []


def test_words_are_told() -> None:
    data = {"transcript": " Good day. ", "is_final": True, "confidence": 0.9}
    event = said("call.transcription", client_state=OURS.encode(), transcription_data=data)
    assert event == CallSpeech(
        **head("call.transcription", "c-1"), text="Good day.", confidence=0.9
    )


def test_words_may_be_partial_and_need_no_confidence() -> None:
    data = {"transcript": "Goo", "is_final": False, "confidence": None}
    speech = said("call.transcription", transcription_data=data)
    assert isinstance(speech, CallSpeech)
    assert (speech.is_final, speech.confidence, speech.turn_token) == (False, None, None)


def test_our_own_words_are_not_the_callers() -> None:
    data = {"transcript": "Hello", "transcription_track": "outbound"}
    assert parsed(event("call.transcription", transcription_data=data)) == []


# --- what else may happen --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "result", "who"),
    [
        ("call.machine.detection.ended", "machine", "an answering machine took the call"),
        ("call.machine.premium.detection.ended", "fax_detected", "a fax machine took the call"),
    ],
)
def test_a_machine_that_answers_is_a_hint_and_no_end(kind: str, result: str, who: str) -> None:
    assert said(kind, result=result) == CallErrored(**head(kind), message=who, retryable=True)


@pytest.mark.parametrize("result", ["human", "human_residence", "not_sure", "silence", None])
def test_a_person_that_answers_is_nothing_special(result: str | None) -> None:
    assert parsed(event("call.machine.detection.ended", result=result)) == []


@pytest.mark.parametrize(
    ("reason", "retryable"), [("connection_failed", False), ("stopped_by_user", True), (None, True)]
)
def test_a_stream_that_never_connected_ends_the_call_and_others_do_not(
    reason: str | None, retryable: bool
) -> None:
    failed = said("streaming.failed", failure_reason=reason, stream_id="s")
    assert isinstance(failed, CallErrored)
    assert failed.retryable is retryable
    assert (reason or "no reason given") in failed.message


@pytest.mark.parametrize("kind", [*sorted(IGNORED), "call.not.invented.yet"])
def test_kinds_that_do_not_concern_a_calls_state_say_nothing(kind: str) -> None:
    assert parsed(event(kind)) == []


# --- malformed -------------------------------------------------------------------------------

FULL = event(
    "call.transcription",
    transcription_data={"transcript": "x", "is_final": True, "confidence": 0.5},
)


def without(path: str, value: object) -> dict[str, Any]:
    changed: dict[str, Any] = {**FULL, "data": {**FULL["data"]}}
    changed["data"]["payload"] = {**FULL["data"]["payload"]}
    *parents, name = path.split(".")
    place: Any = changed
    for parent in parents:
        place[parent] = {**place[parent]}
        place = place[parent]
    place[name] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data", None),
        ("data.payload", []),
        ("data.event_type", 5),
        ("data.id", ""),
        ("data.occurred_at", "never"),
        ("data.payload.call_control_id", None),
        ("data.payload.transcription_data", "x"),
        ("data.payload.transcription_data.transcript", None),
        ("data.payload.transcription_data.is_final", "yes"),
        ("data.payload.transcription_data.confidence", 2),
        ("data.payload.transcription_data.confidence", True),
    ],
)
def test_a_wrong_field_is_named(path: str, value: object) -> None:
    with pytest.raises(CodecError, match=path.replace(".", r"\.")):
        parsed(without(path, value))


@pytest.mark.parametrize("digit", [None, "", "12", "x", 1])
def test_what_is_no_key_is_refused(digit: object) -> None:
    with pytest.raises(CodecError, match="key"):
        parsed(event("call.dtmf.received", digit=digit))


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(CodecError, match=r"data\.payload\.from"):
        parsed(event("call.initiated", direction="incoming", **{"from": 5}))


def test_a_body_that_is_no_json_is_malformed() -> None:
    webhook = TelnyxWebhook(None, Desk())
    form = VerifiedRequest(request(b"CallSid=v3%3Ax&CallStatus=ringing", {}), "")
    with pytest.raises(CodecError, match="not JSON"):
        webhook.parse(form)


@given(
    st.one_of(
        altered(
            FULL,
            event("call.initiated", direction="incoming"),
            event("call.hangup", hangup_cause="user_busy"),
            event("call.dtmf.received", digit="1"),
            event("streaming.failed", failure_reason="x"),
            event("call.speak.ended", status="completed"),
        ),
        values,
    ),
    st.sampled_from([None, *CallState]),
)
def test_whatever_else_comes_is_understood_or_a_codec_error(
    body: object, state: CallState | None
) -> None:
    webhook = TelnyxWebhook(None, Desk())
    with contextlib.suppress(CodecError):
        webhook.parse(received(body))
        assert webhook.answer(received(body), record(state) if state else None) == WebhookAnswer()


@given(st.binary())
def test_octets_of_any_kind_are_a_codec_error(body: bytes) -> None:
    with pytest.raises(CodecError):
        TelnyxWebhook(None, Desk()).parse(VerifiedRequest(request(body, {}), ""))


# --- the answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call.initiated", "call.hangup", "call.cost"])
def test_the_answer_is_an_empty_200(kind: str) -> None:
    webhook = TelnyxWebhook(None, Desk())
    answer = webhook.answer(received(event(kind)), record(CallState.INITIATED))
    assert (answer.status, answer.body) == (200, b"")


def test_an_inbound_call_that_was_taken_on_is_picked_up() -> None:
    desk = Desk()
    body = received(event("call.initiated", direction="incoming"))
    TelnyxWebhook(None, desk).answer(body, record(CallState.INITIATED))
    assert desk.picked_up == ["c-2"]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("call.initiated", None),
        ("call.initiated", record(CallState.FAILED)),
        ("call.initiated", record(CallState.ANSWERED)),
        ("call.initiated", record(CallState.INITIATED, Direction.OUTBOUND)),
        ("call.answered", record(CallState.INITIATED)),
    ],
)
def test_no_other_call_is_picked_up(kind: str, taken: CallRecord | None) -> None:
    desk = Desk()
    TelnyxWebhook(None, desk).answer(received(event(kind, direction="incoming")), taken)
    assert desk.picked_up == []


def test_a_call_that_somebody_else_placed_is_connected_when_it_is_answered() -> None:
    desk = Desk()
    body = received(event("call.answered", direction="outgoing"))
    TelnyxWebhook(None, desk).answer(body, record(CallState.ANSWERED, Direction.OUTBOUND))
    assert (desk.connected, desk.picked_up) == (["c-2"], [])


@pytest.mark.parametrize(
    ("kind", "state", "taken"),
    [
        ("call.answered", None, None),
        ("call.answered", None, record(CallState.COMPLETED, Direction.OUTBOUND)),
        ("call.answered", None, record(CallState.ANSWERED)),
        ("call.answered", OURS, record(CallState.ANSWERED, Direction.OUTBOUND)),
        ("call.initiated", None, record(CallState.INITIATED, Direction.OUTBOUND)),
    ],
)
def test_no_other_call_is_connected(
    kind: str, state: ClientState | None, taken: CallRecord | None
) -> None:
    desk = Desk()
    payload = {} if state is None else {"client_state": state.encode()}
    TelnyxWebhook(None, desk).answer(received(event(kind, **payload)), taken)
    assert desk.connected == []


@pytest.mark.parametrize(("status", "completed"), [("completed", True), ("call_hangup", False)])
def test_the_end_of_speech_reaches_the_desk(status: str, completed: bool) -> None:
    desk = Desk()
    TelnyxWebhook(None, desk).answer(received(event("call.speak.ended", status=status)), None)
    assert desk.over == [(CALL, "id-of-call.speak.ended", completed)]


# --- calls that were handed on ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "noted"),
    [
        ("call.initiated", []),
        ("call.answered", []),
        ("call.bridged", [("joined", "v3:handed-on")]),
        ("call.speak.ended", []),
        ("call.hangup", [("left", "v3:handed-on")]),
    ],
)
def test_of_the_far_end_only_its_coming_and_going_matter(
    kind: str, noted: list[tuple[str, str]]
) -> None:
    desk = Desk()
    webhook = TelnyxWebhook(None, desk)
    state = FarEnd("v3:handed-on").encode()
    body = received(event(kind, client_state=state, direction="outgoing", status="completed"))
    assert webhook.parse(body) == ()
    assert webhook.answer(body, record(CallState.INITIATED)) == WebhookAnswer()
    assert desk.far_end == noted
    assert desk.picked_up == desk.connected == []
    assert desk.over == []
