"""The simulated Twilio, driven by the vendor's own SDK and validator."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException

from tests.simulator.exchange.twilio_customer import (
    EVENTS,
    FROM,
    HANG_UP,
    LISTEN,
    TO,
    WAIT,
    Answer,
    customer,
    dial,
    exchange,
    over,
    response,
    run,
    sdk,
    statuses,
)
from voicecall.clock import ManualClock
from voicecall.simulator.exchange import Fault, HttpResponse, SimpleParty
from voicecall.simulator.exchange.twilio_stage import APOLOGY

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.socket

# --- outbound calls ------------------------------------------------------------------------------


def test_a_call_goes_through_its_statuses_and_says_so() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer(voice=response("<Say>Good day.</Say>")) as there,
            exchange(party) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            assert (call.status, call.direction, call.to) == ("queued", "outbound-api", TO)
            assert call.sid.startswith("CA")
            assert len(call.sid) == 34
            await over(carrier)
            assert statuses(there) == ["initiated", "ringing", "in-progress", "completed"]
            assert party.heard == ["Good day."]
            (asked,) = there.at("/voice")
            assert asked.status == "in-progress"
            found = await client.calls(call.sid).fetch_async()
            assert (found.status, found.duration) == ("completed", "0")
            assert carrier.dials == 1

    run(case)


def test_reports_have_the_documented_fields() -> None:
    async def case() -> None:
        clock = ManualClock(wall_ms=1_700_000_000_000)
        party = SimpleParty(words=["yes"])
        async with (
            customer(voice=LISTEN, heard=HANG_UP) as there,
            exchange(party, clock=clock) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await over(carrier)
            reports = [asked.fields for asked in there.at("/status")]
            assert [report["SequenceNumber"] for report in reports] == ["0", "1", "2", "3"]
            assert {report["CallbackSource"] for report in reports} == {"call-progress-events"}
            assert {report["CallSid"] for report in reports} == {call.sid}
            assert {report["AccountSid"] for report in reports} == {carrier.account_sid}
            assert {(report["From"], report["To"]) for report in reports} == {(FROM, TO)}
            assert {report["Direction"] for report in reports} == {"outbound-api"}
            assert reports[0]["Timestamp"] == "Tue, 14 Nov 2023 22:13:20 +0000"
            assert parsedate_to_datetime(reports[0]["Timestamp"]).timestamp() == 1_700_000_000
            assert "CallDuration" not in reports[2]
            assert reports[3]["CallDuration"] == "0"
            assert reports[3]["SipResponseCode"] == "200"

    run(case)


def test_only_the_events_that_were_asked_for_are_reported() -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, status_callback_event=None)
            await over(carrier)
            assert statuses(there) == ["completed"]

    run(case)


def test_events_written_wrongly_are_taken_and_nothing_is_reported() -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, status_callback_event=["initiated ringing completed"])
            line = await over(carrier)
            assert statuses(there) == []
            assert line.log[0].startswith("21626")

    run(case)


@pytest.mark.parametrize(
    ("party", "status", "sip"),
    [
        (SimpleParty("busy"), "busy", "486"),
        (SimpleParty("reject"), "busy", "603"),
        (SimpleParty("no-answer"), "no-answer", "487"),
        (SimpleParty(ring_s=None), "no-answer", "487"),
    ],
)
def test_a_call_that_is_not_taken_says_why(party: SimpleParty, status: str, sip: str) -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange(party) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, timeout=1)
            await over(carrier)
            assert statuses(there) == ["initiated", "ringing", status]
            last = there.at("/status")[-1].fields
            assert (last["SipResponseCode"], last["CallDuration"]) == (sip, "0")
            assert there.at("/voice") == []

    run(case)


def test_a_call_ends_at_its_time_limit() -> None:
    async def case() -> None:
        async with (
            customer(voice=WAIT) as there,
            exchange(pace=1.0) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, time_limit=1)
            line = await over(carrier)
            assert statuses(there)[-1] == "completed"
            assert "time limit" in line.log[-1]

    run(case)


def test_a_document_can_come_with_the_request() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer() as there,
            exchange(party) as carrier,
            sdk(carrier) as client,
        ):
            twiml = response('<Say loop="2">Hello</Say>')
            await dial(client, there, url=None, twiml=twiml)
            await over(carrier)
            assert party.heard == ["Hello", "Hello"]

    run(case)


def test_keys_are_sent_when_the_call_is_answered_before_anything_else() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer(voice=response('<Play digits="9"/>')) as there,
            exchange(party) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, send_digits="1w2W#", machine_detection="Enable")
            await over(carrier)
            assert party.keys_heard == "12#9"
            assert "AnsweredBy" not in there.at("/voice")[0].fields

    run(case)


@pytest.mark.parametrize(
    ("answer", "detection", "verdict"),
    [
        ("answer", "Enable", "human"),
        ("machine", "Enable", "machine_start"),
        ("machine", "DetectMessageEnd", "machine_end_beep"),
    ],
)
def test_a_machine_is_detected_before_instructions_are_asked_for(
    answer: Any, detection: str, verdict: str
) -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange(SimpleParty(answer)) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, machine_detection=detection)
            await over(carrier)
            assert there.at("/voice")[0].fields["AnsweredBy"] == verdict

    run(case)


def test_a_machine_is_detected_beside_the_call() -> None:
    async def case() -> None:
        async with (
            customer(voice=WAIT) as there,
            exchange(SimpleParty("machine")) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(
                client,
                there,
                machine_detection="Enable",
                async_amd="true",
                async_amd_status_callback=f"{there.url}/machine",
            )
            (told,) = await there.until("/machine")
            assert told.fields["AnsweredBy"] == "machine_start"
            assert told.fields["CallSid"] == call.sid
            assert "CallStatus" not in told.fields
            assert "AnsweredBy" not in there.at("/voice")[0].fields

    run(case)


# --- the API -------------------------------------------------------------------------------------


def test_wrong_credentials_are_refused() -> None:
    async def case() -> None:
        async with (
            customer() as there,
            exchange() as carrier,
            sdk(carrier, "0" * 32) as client,
        ):
            with pytest.raises(TwilioRestException) as caught:
                await dial(client, there)
            assert (caught.value.status, caught.value.code) == (401, 20003)
            assert carrier.dials == 0
            async with httpx.AsyncClient(base_url=carrier.base_url, trust_env=False) as bare:
                refused = await bare.get("/2010-04-01/Accounts.json")
            assert refused.status_code == 401
            assert "Basic" in refused.headers["www-authenticate"]
            assert refused.json()["more_info"] == "https://www.twilio.com/docs/errors/20003"

    run(case)


def test_what_does_not_exist_is_not_found() -> None:
    async def case() -> None:
        async with exchange() as carrier, sdk(carrier) as client:
            for attempt in (
                client.calls("CA" + "0" * 32).fetch_async(),
                client.calls("CA" + "0" * 32).update_async(status="completed"),
                client.messages.create_async(to=TO, from_=FROM, body="hello"),
                client.api.accounts("AC" + "9" * 32).calls("CA" + "0" * 32).fetch_async(),
            ):
                with pytest.raises(TwilioRestException) as caught:
                    await attempt
                assert (caught.value.status, caught.value.code) == (404, 20404)

    run(case)


def test_a_call_that_cannot_be_placed_is_refused() -> None:
    async def case() -> None:
        async with customer() as there, exchange() as carrier, sdk(carrier) as client:
            with pytest.raises(TwilioRestException) as caught:
                await dial(client, there, to="5550001")
            assert (caught.value.status, caught.value.code) == (400, 21211)
            assert carrier.dials == 0

    run(case)


def test_too_many_requests_in_a_second_are_refused() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with (
            customer(voice=WAIT) as there,
            exchange(clock=clock, requests_per_s=2) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            await dial(client, there)
            with pytest.raises(TwilioRestException) as caught:
                await dial(client, there)
            assert (caught.value.status, caught.value.code) == (429, 20429)
            assert client.http_client.headers["retry-after"] == "1"
            assert carrier.dials == 2
            clock.advance_ms(1000)
            await dial(client, there)

    run(case)


def test_a_call_that_rings_can_be_canceled() -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange(SimpleParty(ring_s=None)) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await there.until("/status", 2)
            assert (await client.calls(call.sid).fetch_async()).status == "ringing"
            await client.calls(call.sid).update_async(status="canceled")
            await over(carrier)
            assert statuses(there) == ["initiated", "ringing", "canceled"]

    run(case)


def test_a_call_that_is_answered_is_ended_but_not_canceled() -> None:
    async def case() -> None:
        async with (
            customer(voice=WAIT) as there,
            exchange(pace=1.0) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await there.until("/voice")
            found = await client.calls(call.sid).update_async(status="canceled")
            assert found.status == "in-progress"
            await client.calls(call.sid).update_async(status="completed")
            line = await over(carrier)
            assert statuses(there)[-1] == "completed"
            assert line.reason == "api"

    run(case)


def test_calls_that_are_over_cannot_be_changed() -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await over(carrier)
            for change in ({"status": "completed"}, {"twiml": WAIT}, {"url": f"{there.url}/x"}):
                with pytest.raises(TwilioRestException) as caught:
                    await client.calls(call.sid).update_async(**change)
                assert (caught.value.status, caught.value.code) == (400, 21220)

    run(case)


def test_calls_that_ring_take_no_instructions() -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange(SimpleParty(ring_s=None)) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            with pytest.raises(TwilioRestException) as caught:
                await client.calls(call.sid).update_async(twiml=WAIT)
            assert caught.value.code == 21220

    run(case)


@pytest.mark.parametrize(
    ("change", "code"), [({"status": "paused"}, 20001), ({"method": "POST"}, 21205)]
)
def test_a_change_that_makes_no_sense_is_refused(change: dict[str, str], code: int) -> None:
    async def case() -> None:
        async with (
            customer(voice=WAIT) as there,
            exchange(pace=1.0) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            with pytest.raises(TwilioRestException) as caught:
                await client.calls(call.sid).update_async(**change)
            assert (caught.value.status, caught.value.code) == (400, code)

    run(case)


def test_new_instructions_replace_what_the_call_does() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer(voice=WAIT, next=HANG_UP) as there,
            exchange(party, pace=1.0) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await there.until("/voice")
            said = response("<Say>One moment.</Say>", '<Pause length="3600"/>')
            await client.calls(call.sid).update_async(twiml=said)
            await client.calls(call.sid).update_async(url=f"{there.url}/next", method="GET")
            await over(carrier)
            (asked,) = there.at("/next")
            assert (asked.method, asked.status) == ("GET", "in-progress")
            assert statuses(there)[-1] == "completed"

    run(case)


def test_instructions_that_come_before_the_first_ones_are_not_lost() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer(voice=WAIT) as there,
            exchange(party, pace=1.0) as carrier,
            sdk(carrier) as client,
        ):
            # Two seconds of keys first, which is time enough for new instructions.
            call = await dial(client, there, send_digits="WW")
            await there.until("/status", 3)
            await client.calls(call.sid).update_async(twiml=response("<Say>Instead.</Say>"))
            await over(carrier)
            assert party.heard == ["Instead."]
            assert there.at("/voice") == []

    run(case)


# --- instructions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HttpResponse(500), 11200),
        (HttpResponse(404), 11200),
        (HttpResponse(body=b"<Response/>", content_type="text/plain"), 12300),
        (HttpResponse(body=b"<Response>", content_type="text/xml"), 12100),
        (response("<Dance/>"), 12200),
    ],
)
def test_a_call_without_usable_instructions_hears_an_apology_and_ends(
    answer: str | HttpResponse, code: int
) -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer(voice=answer) as there,
            exchange(party) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            line = await over(carrier)
            assert line.log[-1].startswith(str(code))
            assert party.heard == [APOLOGY]
            assert statuses(there)[-1] == "completed"

    run(case)


def test_a_webhook_that_cannot_be_reached_is_tried_twice() -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there, url="http://127.0.0.1:9/voice")
            line = await over(carrier)
            assert line.log[-1].startswith("11205")
            tries = [
                delivery.attempt
                for delivery in carrier.webhooks.deliveries
                if delivery.name == "voice"
            ]
            assert tries == [1, 2]

    run(case)


def test_what_a_document_does_wrong_without_harm_is_noted() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with (
            customer(voice=response('<Say mood="merry">Hello</Say>')) as there,
            exchange(party) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            line = await over(carrier)
            assert party.heard == ["Hello"]
            assert list(line.log) == ["12200 <Say> has no attribute mood"]

    run(case)


# --- inbound calls -------------------------------------------------------------------------------


def test_an_inbound_call_rings_until_there_is_something_to_be_heard() -> None:
    async def case() -> None:
        documents: list[Answer] = [
            response('<Pause length="1"/>', "<Redirect>/voice</Redirect>"),
            response("<Say>Welcome.</Say>", "<Redirect>/voice</Redirect>"),
            HANG_UP,
        ]
        party = SimpleParty()
        async with customer(voice=documents) as there, exchange(party) as carrier:
            line = await carrier.call_in(FROM, TO, f"{there.url}/voice")
            assert line.status == "ringing"
            await over(carrier)
            asked = there.at("/voice")
            assert [each.status for each in asked] == [
                "ringing",
                "ringing",
                "in-progress",
                "completed",
            ]
            assert {each.fields["Direction"] for each in asked} == {"inbound"}
            assert asked[-1].fields["CallbackSource"] == "call-progress-events"
            assert (party.heard, carrier.dials) == (["Welcome."], 0)

    run(case)


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (response("<Reject/>"), "no-answer"),
        (response('<Reject reason="busy"/>'), "busy"),
        (HANG_UP, "completed"),
        (response("<Say>No.</Say>", "<Reject/>"), "completed"),
        (HttpResponse(500), "failed"),
    ],
)
def test_an_inbound_call_ends_as_the_first_document_says(
    document: str | HttpResponse, status: str
) -> None:
    async def case() -> None:
        async with customer(voice=document) as there, exchange() as carrier:
            await carrier.call_in(FROM, TO, f"{there.url}/voice", status_url=f"{there.url}/status")
            line = await over(carrier)
            assert line.status == status
            assert statuses(there) == [status]
            assert len(there.at("/voice")) == 1

    run(case)


def test_a_caller_who_gives_up_before_the_answer_has_canceled() -> None:
    async def case() -> None:
        async with customer(voice=WAIT) as there, exchange(pace=1.0) as carrier:
            line = await carrier.call_in(FROM, TO, f"{there.url}/voice", status_url="")
            await there.until("/voice")
            line.hang_up("party")
            await over(carrier)
            await asyncio.sleep(0)
            assert line.status == "canceled"
            assert len(there.asked) == 1

    run(case)


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "calls", "raised"),
    [
        ("status", 0, TwilioRestException),
        ("status-after", 1, TwilioRestException),
        ("reset", 0, OSError),
        ("reset-after", 1, OSError),
        ("hang", 0, TimeoutError),
        ("hang-after", 1, TimeoutError),
    ],
)
def test_a_request_can_fail_with_and_without_being_done(
    kind: Any, calls: int, raised: type[Exception]
) -> None:
    async def case() -> None:
        async with (
            customer(voice=WAIT) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            carrier.faults.add("dial", Fault(kind, status=503))
            with pytest.raises(raised) as caught:
                async with asyncio.timeout(0.5):
                    await dial(client, there)
            if isinstance(caught.value, TwilioRestException):
                assert (caught.value.status, caught.value.code) == (503, 20500)
            assert carrier.dials == calls
            await dial(client, there)
            assert carrier.dials == calls + 1

    run(case)


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("hang-up", {"status": "completed"}),
        ("keys", {"twiml": response('<Play digits="1"/>')}),
        ("update", {"twiml": response("<Say>Hello</Say>")}),
    ],
)
def test_faults_know_what_a_change_is_about(where: str, change: dict[str, str]) -> None:
    async def case() -> None:
        async with (
            customer(voice=WAIT) as there,
            exchange(pace=1.0) as carrier,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await there.until("/voice")
            carrier.faults.add(where, Fault("status", status=429))
            with pytest.raises(TwilioRestException) as caught:
                await client.calls(call.sid).update_async(**change)
            assert caught.value.code == 20429

    run(case)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("lose", ["initiated", "in-progress", "completed"]),
        ("repeat", ["initiated", "ringing", "ringing", "in-progress", "completed"]),
        ("hold", ["initiated", "in-progress", "ringing", "completed"]),
    ],
)
def test_reports_can_be_lost_repeated_and_reversed(kind: Any, expected: Sequence[str]) -> None:
    async def case() -> None:
        async with (
            customer(voice=HANG_UP) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            carrier.faults.add("webhook:ringing", Fault(kind))
            await dial(client, there, status_callback_event=EVENTS)
            await over(carrier)
            assert statuses(there) == expected

    run(case)
