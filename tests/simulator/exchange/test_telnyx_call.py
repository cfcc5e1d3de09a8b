from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.exchange.telnyx_customer import (
    STATE,
    THEM,
    US,
    Customer,
    customer,
    run,
)
from tests.simulator.mediaserver import media_server
from voicecall.simulator.exchange.party import Pickup, SimpleParty
from voicecall.simulator.exchange.telnyx import TelnyxHabits

if TYPE_CHECKING:
    from voicecall.simulator.exchange.line import Ending
    from voicecall.simulator.exchange.telnyx_call import TelnyxCall

pytestmark = pytest.mark.socket


async def ending(us: Customer) -> tuple[str, str, str]:
    payload = await us.until("call.hangup")
    assert payload["state"] == "hangup"
    return payload["hangup_cause"], payload["hangup_source"], payload["sip_hangup_cause"]


# --- outbound ----------------------------------------------------------------------------------


def test_a_call_is_initiated_answered_and_hung_up() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial_answered()
            assert call.status == "answered"
            await us.client.calls.actions.hangup(call.provider_call_id, client_state="Ynll")
            assert await ending(us) == ("normal_clearing", "caller", "200")
            assert us.kinds() == ["call.initiated", "call.answered", "call.hangup"]
            assert us.of("call.answered")[0]["state"] == "answered"
            assert [payload["client_state"] for payload in us.of("call.hangup")] == ["Ynll"]
            assert call.reason == "api"

    run(case)


@pytest.mark.parametrize(
    ("answer", "retry", "expected"),
    [
        ("busy", True, ("user_busy", "callee", "486")),
        ("reject", True, ("call_rejected", "callee", "603")),
        ("no-answer", True, ("timeout", "unknown", "487")),
        ("no-answer", False, ("no_answer", "unknown", "487")),
    ],
)
def test_a_call_that_is_not_answered_says_why(
    answer: Pickup, retry: bool, expected: tuple[str, str, str]
) -> None:
    async def case() -> None:
        async with customer(SimpleParty(answer)) as us:
            await us.dial(retry_on_timeout=retry)
            assert await ending(us) == expected
            assert us.kinds() == ["call.initiated", "call.hangup"]

    run(case)


def test_it_rings_for_as_long_as_was_asked_for() -> None:
    async def case() -> None:
        async with customer(SimpleParty(ring_s=None)) as us:
            await us.dial(timeout_secs=5, retry_on_timeout=False)
            assert await ending(us) == ("no_answer", "unknown", "487")

    run(case)


def test_hanging_up_while_it_rings_cancels_the_call() -> None:
    async def case() -> None:
        async with customer(SimpleParty(ring_s=None), TelnyxHabits()) as us:
            call = await us.dial()
            await us.client.calls.actions.hangup(call.provider_call_id)
            assert await ending(us) == ("originator_cancel", "caller", "487")

    run(case)


def test_the_party_hangs_up() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial_answered()
            call.hang_up("party")
            assert await ending(us) == ("normal_clearing", "callee", "200")

    run(case)


def test_a_call_lasts_no_longer_than_it_may() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial(time_limit_secs=60)
            assert await ending(us) == ("time_limit", "unknown", "200")
            assert call.reason == "carrier"

    run(case)


def test_keys_are_sent_once_the_call_is_answered() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with customer(party) as us:
            await us.dial_answered(send_digits_on_answer="1w2W#")
            assert party.keys_heard == "12#"

    run(case)


@pytest.mark.parametrize(
    ("how", "answer", "kind", "result"),
    [
        ("detect", "answer", "call.machine.detection.ended", "human"),
        ("detect", "machine", "call.machine.detection.ended", "machine"),
        ("premium", "answer", "call.machine.premium.detection.ended", "human_residence"),
        ("premium", "machine", "call.machine.premium.detection.ended", "machine"),
    ],
)
def test_machines_are_detected_where_that_was_asked_for(
    how: str, answer: Pickup, kind: str, result: str
) -> None:
    async def case() -> None:
        async with customer(SimpleParty(answer)) as us:
            await us.dial(answering_machine_detection=how)
            payload = await us.until(kind)
            assert (payload["result"], payload["from"], payload["to"]) == (result, US, THEM)

    run(case)


def test_nobody_listens_for_machines_unasked() -> None:
    async def case() -> None:
        async with customer(SimpleParty("machine")) as us:
            call = await us.dial_answered()
            call.hang_up("party")
            await us.until("call.hangup")
            assert us.kinds() == ["call.initiated", "call.answered", "call.hangup"]

    run(case)


# --- inbound -----------------------------------------------------------------------------------


def test_a_call_that_comes_in_waits_to_be_answered() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.call_in()
            initiated = us.of("call.initiated")[0]
            assert (initiated["direction"], initiated["state"]) == ("incoming", "parked")
            assert (initiated["from"], initiated["to"]) == (THEM, US)
            assert initiated["client_state"] is None
            assert us.kinds() == ["call.initiated"]
            await us.client.calls.actions.answer(call.provider_call_id, client_state=STATE)
            assert (await us.until("call.answered"))["client_state"] == STATE
            assert us.exchange.dials == 0

    run(case)


@pytest.mark.parametrize(
    ("by", "answered", "expected"),
    [
        ("api", True, ("normal_clearing", "callee", "unspecified")),
        ("party", True, ("normal_clearing", "caller", "unspecified")),
        ("api", False, ("call_rejected", "callee", "unspecified")),
        ("party", False, ("originator_cancel", "caller", "unspecified")),
    ],
)
def test_the_end_of_an_inbound_call_says_who_ended_it(
    by: Ending, answered: bool, expected: tuple[str, str, str]
) -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.call_in()
            if answered:
                await us.client.calls.actions.answer(call.provider_call_id)
                await us.until("call.answered")
            if by == "api":
                await us.client.calls.actions.hangup(call.provider_call_id)
            else:
                call.hang_up(by)
            assert await ending(us) == expected

    run(case)


@pytest.mark.parametrize(
    ("cause", "said"), [("CALL_REJECTED", "call_rejected"), ("USER_BUSY", "user_busy")]
)
def test_a_call_that_comes_in_can_be_rejected(cause: Any, said: str) -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.call_in()
            await us.client.calls.actions.reject(call.provider_call_id, cause=cause)
            assert await ending(us) == (said, "callee", "unspecified")

    run(case)


def test_a_rejection_without_a_cause_that_is_known_ends_nothing() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.call_in()
            cause: Any = "BORED"
            request = us.client.calls.actions.reject(call.provider_call_id, cause=cause)
            assert await us.refusal(request) == (422, "10032", "/cause")
            assert not call.ended.is_set()

    run(case)


def test_whoever_calls_gives_up_in_the_end() -> None:
    async def case() -> None:
        async with customer(habits=TelnyxHabits(patience_s=0.05)) as us:
            await us.call_in()
            assert await ending(us) == ("originator_cancel", "caller", "unspecified")

    run(case)


def test_an_answer_may_send_webhooks_elsewhere() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.call_in()
            elsewhere = us.webhook_url + "/elsewhere"
            await us.client.calls.actions.answer(call.provider_call_id, webhook_url=elsewhere)
            await us.until("call.answered")
            assert us.received[-1].path == "/voice/webhook/elsewhere"
            assert us.received[-1].json()["meta"]["delivered_to"] == elsewhere

    run(case)


# --- without media -----------------------------------------------------------------------------


def test_the_carrier_talks_and_listens_itself() -> None:
    async def case() -> None:
        party = SimpleParty(words=["Alice", "goodbye"])
        async with customer(party) as us:
            call = await us.dial_answered()
            actions = us.client.calls.actions
            await actions.speak(call.provider_call_id, payload="Your name?", voice="female")
            await us.until("call.speak.ended")
            await actions.start_transcription(
                call.provider_call_id, transcription_engine="Telnyx", client_state="dHVybjE="
            )
            first = await us.until("call.transcription")
            assert first["client_state"] == "dHVybjE="
            assert first["transcription_data"]["transcript"] == "Alice"
            assert first["transcription_data"]["is_final"] is True
            request = actions.start_transcription(call.provider_call_id)
            assert await us.refusal(request) == (422, "90054", None)
            await actions.update_client_state(call.provider_call_id, client_state="dHVybjI=")
            await actions.speak(call.provider_call_id, payload="Hello Alice", voice="female")
            second = await us.until("call.transcription", 2)
            assert second["client_state"] == "dHVybjI="
            assert second["transcription_data"]["transcript"] == "goodbye"
            assert party.heard == ["Your name?", "Hello Alice"]
            statuses = [payload["status"] for payload in us.of("call.speak.ended")]
            assert statuses == ["completed", "completed"]

    run(case)


def test_a_transcription_can_be_stopped_and_started_again() -> None:
    async def case() -> None:
        async with customer(SimpleParty(words=["one", "two"])) as us:
            call = await us.dial_answered()
            actions = us.client.calls.actions
            await actions.start_transcription(call.provider_call_id)
            await us.until("call.transcription")
            await actions.stop_transcription(call.provider_call_id)
            await actions.speak(call.provider_call_id, payload="well", voice="female")
            await us.until("call.speak.ended")
            assert len(us.of("call.transcription")) == 1
            await actions.start_transcription(call.provider_call_id)
            await us.until("call.transcription", 2)

    run(case)


class Patient(SimpleParty):
    """Listens until it is told to stop."""

    async def listen(self, text: str) -> None:
        await asyncio.Event().wait()


def test_speech_can_be_cut() -> None:
    async def case() -> None:
        async with customer(Patient()) as us:
            call = await us.dial_answered()
            actions = us.client.calls.actions
            for text in ("one", "two", "three"):
                await actions.speak(call.provider_call_id, payload=text, voice="female")
            await us.until("call.speak.started")
            await actions.stop_playback(call.provider_call_id)
            await us.until("call.speak.started", 2)
            await actions.stop_playback(call.provider_call_id, stop="all")
            await us.until("call.speak.ended", 2)
            await actions.speak(call.provider_call_id, payload="four", voice="female")
            await us.until("call.speak.started", 3)
            assert call.status == "answered"

    run(case)


def test_a_text_may_take_the_place_of_what_is_being_said() -> None:
    async def case() -> None:
        async with customer(Patient()) as us:
            call = await us.dial_answered()
            actions = us.client.calls.actions
            await actions.speak(call.provider_call_id, payload="one", voice="female")
            await us.until("call.speak.started")
            await actions.speak(call.provider_call_id, payload="two", voice="female", stop="all")
            await us.until("call.speak.started", 2)
            assert us.of("call.speak.ended")[0]["status"] == "cancelled"

    run(case)


def test_too_many_texts_are_refused() -> None:
    async def case() -> None:
        async with customer(Patient()) as us:
            call = await us.dial_answered()
            actions = us.client.calls.actions
            codes = []
            for _ in range(102):
                request = actions.speak(call.provider_call_id, payload="one", voice="female")
                try:
                    await request
                except Exception as error:  # noqa: BLE001  (looked at below)
                    codes.append(str(error))
            assert len(codes) == 1
            assert "90033" in codes[0]

    run(case)


def test_hanging_up_cuts_what_is_being_said() -> None:
    async def case() -> None:
        async with customer(Patient()) as us:
            call = await us.dial_answered()
            actions = us.client.calls.actions
            await actions.speak(call.provider_call_id, payload="one", voice="female")
            await us.until("call.speak.started")
            await actions.hangup(call.provider_call_id)
            await us.until("call.hangup")
            assert us.of("call.speak.ended")[0]["status"] == "call_hangup"
            assert us.kinds()[-2:] == ["call.speak.ended", "call.hangup"]

    run(case)


def test_the_party_presses_keys() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial_answered()
            call.press("4*")
            await us.until("call.dtmf.received", 2)
            assert [payload["digit"] for payload in us.of("call.dtmf.received")] == ["4", "*"]

    run(case)


def test_streamed_media_are_not_transcribed() -> None:
    async def case() -> None:
        party = SimpleParty(words=["never said"])
        async with customer(party) as us, media_server() as server:
            call = await us.dial(stream_url=server.url)
            await server.wait_for("start")
            await us.client.calls.actions.start_transcription(call.provider_call_id)
            assert list(call.log) == ["the simulation does not transcribe streamed media"]
            assert party.said == []

    run(case)


# --- somebody else -----------------------------------------------------------------------------

OTHER = "+13125550003"
THEIR_STATE = "dGhlaXJz"


async def handed_on(us: Customer, **changes: Any) -> TelnyxCall:
    call = await us.dial_answered()
    usual = {"to": OTHER, "target_leg_client_state": THEIR_STATE}
    await us.client.calls.actions.transfer(call.provider_call_id, **(usual | changes))
    return call


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("party", ("normal_clearing", "callee", "200")),
        ("far end", ("normal_clearing", "callee", "200")),
    ],
)
def test_a_call_that_is_handed_on_lasts_until_one_of_both_hangs_up(
    first: str, expected: tuple[str, str, str]
) -> None:
    async def case() -> None:
        async with customer() as us:
            call = await handed_on(us, from_=US)
            await us.until("call.bridged", 2)
            assert call.handed_on == [OTHER]
            assert not call.ended.is_set()
            theirs = us.of("call.initiated")[1]
            assert theirs["call_control_id"] != call.provider_call_id
            assert (theirs["direction"], theirs["client_state"]) == ("outgoing", THEIR_STATE)
            assert (theirs["from"], theirs["to"]) == (US, OTHER)
            if first == "party":
                call.hang_up("party")
            else:
                call.far_end_left.set()
            await us.until("call.hangup", 2)
            ends = {payload["client_state"]: payload for payload in us.of("call.hangup")}
            assert ends.keys() == {STATE, THEIR_STATE}
            end = ends[STATE]
            assert (end["hangup_cause"], end["hangup_source"], end["sip_hangup_cause"]) == expected

    run(case)


def test_whoever_does_not_pick_up_leaves_the_call_as_it_was() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial_answered()
            call.far_end = "busy"
            for count in (1, 2):
                await us.client.calls.actions.transfer(
                    call.provider_call_id, to="sip:desk@example.com"
                )
                payload = await us.until("call.hangup", count)
                assert payload["hangup_cause"] == "user_busy"
                assert payload["from"] == THEM
            assert not call.ended.is_set()

    run(case)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"to": "somebody"}, "10016", "/to"),
        ({"to": ""}, "10004", "/to"),
        ({"from_": "me"}, "10016", "/from"),
        ({"target_leg_client_state": "?"}, "10015", "/target_leg_client_state"),
        ({"timeout_secs": 1}, "10033", "/timeout_secs"),
    ],
)
def test_a_transfer_that_makes_no_sense_is_refused(
    changes: dict[str, Any], code: str, field: str
) -> None:
    async def case() -> None:
        async with customer() as us:
            assert await us.refusal(handed_on(us, **changes)) == (422, code, field)

    run(case)


def test_a_second_transfer_at_the_same_time_is_refused() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await handed_on(us)
            again = us.client.calls.actions.transfer(call.provider_call_id, to=OTHER)
            assert (await us.refusal(again))[1] == "90033"

    run(case)
