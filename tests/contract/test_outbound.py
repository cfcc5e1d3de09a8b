"""What holds for calls we place, whoever the carrier."""

from __future__ import annotations

import pytest

from tests.contract.people import Person
from tests.contract.site import THEM, US, Way, contract, site, words
from voicecall.call.record import CallState, Direction, Speaker
from voicecall.ports import HangUp

pytestmark = pytest.mark.socket

# Twilio does not say who hung up.
CALLER_HUNG_UP = {"twilio": CallState.COMPLETED}


@contract()
async def test_a_notification_is_heard_and_hung_up_after_the_delay(way: Way) -> None:
    person = Person("Who is there?")
    async with site(way, person) as it:
        record = await it.call("Your car is ready.", "notify")
        await it.over(record)
        assert person.heard == ["Your car is ready."]
        assert (record.state, record.end_reason) == (CallState.HANGUP_BOT, CallState.HANGUP_BOT)
        assert it.line.reason == "api"
        # What the person says is nobody's business.
        assert [(entry.speaker, entry.text) for entry in record.transcript] == [
            (Speaker.BOT, "Your car is ready.")
        ]
        assert record.provider == way.carrier
        assert record.direction is Direction.OUTBOUND
        assert (record.from_number, record.to_number) == (US, THEM)
        assert record.metadata["mode"] == "notify"
        assert record.answered_at is not None
        assert record.ended_at is not None
        assert record.started_at <= record.answered_at
        assert record.ended_at - record.answered_at >= 200
        assert await it.rpc("status", callId=record.call_id) == {
            "found": True,
            "call": record.to_json(),
        }


@contract()
async def test_a_conversation_is_held_until_the_caller_hangs_up(way: Way) -> None:
    person = Person("What time is it?", stays=0.05)
    answers = {"What time is it?": ("It is ", "noon.")}
    async with site(way, person, answers=answers) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert person.heard == ["Good day.", "It is noon."]
        assert words(record) == ["Good day.", "What time is it?", "It is noon."]
        assert record.end_reason is CALLER_HUNG_UP.get(way.carrier, CallState.HANGUP_USER)
        assert it.line.reason == "party"
        assert record.metadata["turnCount"] == 1


@contract()
async def test_a_conversation_ends_when_the_responder_says_so(way: Way) -> None:
    person = Person("Good bye.")
    async with site(way, person, answers={"Good bye.": ("Bye then.", HangUp())}) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert person.heard == ["Good day.", "Bye then."]
        assert record.end_reason is CallState.HANGUP_BOT
        assert it.line.reason == "api"


@contract()
async def test_a_busy_line_is_reported_as_such(way: Way) -> None:
    async with site(way, Person(answer="busy")) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert (record.end_reason, record.answered_at) == (CallState.BUSY, None)
        assert words(record) == []


@contract()
async def test_who_declines_is_busy_to_us(way: Way) -> None:
    async with site(way, Person(answer="reject")) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert (record.end_reason, record.answered_at) == (CallState.BUSY, None)


@contract()
async def test_a_call_that_nobody_answers_ends_with_the_ring_timeout(way: Way) -> None:
    async with site(way, Person(ring_s=None), ringTimeoutMs=1000) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert (record.end_reason, record.answered_at) == (CallState.NO_ANSWER, None)
