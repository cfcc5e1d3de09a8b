"""What holds for calls that are handed on, whoever the carrier."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.people import Person
from tests.contract.site import EVERY_WAY, REAL, Site, Way, contract, site, words
from tests.contract.test_talk import greeted
from tests.hosting import until
from voicecall.call.record import CallRecord, CallState
from voicecall.errors import CallHasEnded, CarrierError, InvalidRequest, NotConnected, UnknownCall
from voicecall.ports import Transfer
from voicecall.simulator.exchange import Fault

pytestmark = pytest.mark.socket

DESK = "+13125550009"
BY_REST = tuple(way for way in EVERY_WAY if way.carrier in REAL)
# Where a fault of a transfer happens; Plivo's is one of all its changes of a call.
PLACE = {"twilio": "transfer", "telnyx": "transfer", "plivo": "update"}
# What a hang-up looks like in REST.
HANG_UPS = ("DELETE ", "/hangup")


async def connected(it: Site) -> None:
    """Wait until the person talks to the desk, and nothing is left of the call here."""
    if it.way.carrier == "mock":
        # Nobody is there to talk to.
        await until(it.line.ended.is_set)
    else:
        await until(lambda: it.line.handed_on == [DESK])
        assert not it.line.ended.is_set()
    await until(lambda: not it.server.manager.live_count)


def over_here(record: CallRecord) -> None:
    assert (record.state, record.end_reason) == (CallState.COMPLETED, CallState.COMPLETED)
    assert record.metadata["transferredTo"] == DESK


async def bridge_over(it: Site) -> None:
    """The person hangs up on the desk, and everything is told that there is to tell."""
    it.line.hang_up("party")
    webhooks = getattr(it.exchange, "webhooks", None)
    if webhooks is not None:
        await webhooks.idle(5)


def hang_ups(it: Site) -> list[str]:
    asked = [f"{method} {path}" for method, path, _ in it.exchange.requests]
    return [each for each in asked if any(mark in each for mark in HANG_UPS)]


@contract()
async def test_a_call_is_handed_on_and_over_for_us_and_not_hung_up(way: Way) -> None:
    person = Person()
    async with site(way, person) as it:
        record = await greeted(it)
        await it.server.manager.transfer(record.call_id, DESK)
        over_here(record)
        await connected(it)
        before = record.to_json()
        await bridge_over(it)
        assert record.to_json() == before
        assert hang_ups(it) == []
        assert person.heard == ["Good day."]


@contract()
async def test_the_responder_hands_a_call_on_after_its_words_were_heard(way: Way) -> None:
    person = Person("Somebody real, please.")
    answers = {"Somebody real, please.": ("One moment.", Transfer(DESK))}
    async with site(way, person, answers=answers) as it:
        record = await it.call("Good day.")
        await until(lambda: record.state.terminal, 15)
        over_here(record)
        await connected(it)
        assert person.heard == ["Good day.", "One moment."]
        assert words(record) == ["Good day.", "Somebody real, please.", "One moment."]
        await bridge_over(it)


@contract()
async def test_a_call_is_handed_on_over_rpc(way: Way) -> None:
    async with site(way, Person()) as it:
        record = await greeted(it)
        assert await it.rpc("transfer", callId=record.call_id, to=DESK) == {"success": True}
        over_here(record)
        await connected(it)
        await bridge_over(it)


@contract(BY_REST)
async def test_somebody_who_calls_us_is_handed_on(way: Way) -> None:
    async with site(way, Person(), inboundPolicy="open", inboundGreeting="Hello.") as it:
        await it.be_called()
        record = await it.taken_on()
        await it.transcript(record, "Hello.")
        await it.server.manager.transfer(record.call_id, DESK)
        over_here(record)
        await connected(it)
        await bridge_over(it)
        assert len(await it.server.manager.recent()) == 1


@contract(BY_REST)
async def test_a_call_that_nobody_takes_over_ends(way: Way) -> None:
    async with site(way, Person()) as it:
        record = await greeted(it)
        it.line.far_end = "no-answer"
        await it.server.manager.transfer(record.call_id, DESK)
        over_here(record)
        await until(it.line.ended.is_set)
        assert it.line.handed_on == [DESK]


@contract(BY_REST)
async def test_a_call_that_the_carrier_does_not_hand_on_goes_on(way: Way) -> None:
    person = Person()
    async with site(way, person) as it:
        record = await greeted(it)
        it.exchange.faults.add(PLACE[way.carrier], Fault("status"))
        with pytest.raises(CarrierError) as refused:
            await it.server.manager.transfer(record.call_id, DESK)
        assert refused.value.code == "carrier_refused"
        assert not refused.value.retryable
        assert "transferredTo" not in record.metadata
        await it.server.manager.speak(record.call_id, "I am sorry.")
        await until(lambda: person.heard == ["Good day.", "I am sorry."])
        assert it.line.handed_on == []
        assert not record.state.terminal


@contract(BY_REST)
async def test_a_second_transfer_while_one_is_under_way_is_refused(way: Way) -> None:
    async with site(way, Person()) as it:
        record = await greeted(it)
        it.exchange.faults.add(PLACE[way.carrier], Fault("slow", delay_s=0.3))
        first = asyncio.create_task(it.server.manager.transfer(record.call_id, DESK))
        await asyncio.sleep(0)
        with pytest.raises(InvalidRequest, match="already"):
            await it.server.manager.transfer(record.call_id, DESK)
        await first
        await connected(it)
        assert it.line.handed_on == [DESK]
        await bridge_over(it)


@contract(BY_REST)
async def test_media_that_end_long_before_the_carrier_answers_do_not_end_the_call(way: Way) -> None:
    # Longer than a media socket may be gone.
    slow = Fault("slow", delay_s=2.6)
    async with site(way, Person()) as it:
        record = await greeted(it)
        it.exchange.faults.add(PLACE[way.carrier], slow)
        await it.server.manager.transfer(record.call_id, DESK)
        over_here(record)
        await connected(it)
        assert hang_ups(it) == []
        await bridge_over(it)


@contract()
async def test_a_call_that_is_not_up_is_not_handed_on(way: Way) -> None:
    async with site(way, Person(ring_s=None)) as it:
        record = await it.call("Good day.")
        with pytest.raises(NotConnected):
            await it.server.manager.transfer(record.call_id, DESK)
        await it.server.manager.end(record.call_id)
        await it.over(record)
        with pytest.raises(CallHasEnded):
            await it.server.manager.transfer(record.call_id, DESK)
        with pytest.raises(UnknownCall):
            await it.server.manager.transfer("nobody", DESK)
