"""The order in which a carrier's news comes is nobody's promise."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from tests.call.calls import event
from tests.control.carriers import CARRIERS, Office, PlivoLine, run, until
from voicecall.call.events import CallActive
from voicecall.call.record import CallState
from voicecall.errors import CarrierError

pytestmark = pytest.mark.unit

each_carrier = pytest.mark.parametrize("carrier", CARRIERS)


@each_carrier
def test_a_status_that_comes_before_the_dials_answer_counts(carrier: str) -> None:
    async def case(office: Office) -> None:
        dialling, call = await office.dialling()
        await office.tell(call, "ringing")
        assert office.record(call).state is CallState.RINGING
        office.carrier.dial_gate.set()
        record = await dialling
        assert record.state is CallState.RINGING
        assert record.provider_call_id == call.dial_name
        assert office.manager.find(call.dial_name or "") is record
        assert office.carrier.hung_up == []

    run(carrier, case)


@each_carrier
def test_a_call_answered_before_the_dials_answer_is_connected(carrier: str) -> None:
    async def case(office: Office) -> None:
        dialling, call = await office.dialling()
        answer = await office.tell(call, "answered", "asking")
        assert office.line.connects(answer) in {True, None}
        assert office.record(call).answered_at is not None
        office.carrier.dial_gate.set()
        record = await dialling
        assert record.provider_call_id == call.dial_name
        # The ring is over: nothing ends the call at its limit.
        office.manager.timers.fire_due(office.clock.advance_ms(40_000))
        assert not record.state.terminal
        assert office.carrier.hung_up == []

    run(carrier, case, ring_timeout_ms=30_000)


@each_carrier
def test_media_that_connects_before_the_answer_is_told_makes_the_call_active(carrier: str) -> None:
    async def case(office: Office) -> None:
        dialling, call = await office.dialling()
        assert call.call_id is not None
        named = call.dial_name or call.name
        assert office.manager.learn_provider_id(call.call_id, named)
        active = event(CallActive, call_id=call.call_id, provider_call_id=named)
        await office.manager.apply(active)
        office.carrier.dial_gate.set()
        record = await dialling
        answered_at = record.answered_at
        assert answered_at is not None
        await office.tell(call, "ringing", "answered")
        assert (record.state, record.answered_at) == (CallState.ACTIVE, answered_at)
        assert office.manager.ignored["late"] >= 1
        await office.tell(call, "ended")
        assert record.state.terminal

    run(carrier, case)


@each_carrier
def test_a_call_given_up_while_it_is_dialled_is_hung_up_once_however_it_shows(
    carrier: str,
) -> None:
    async def case(office: Office) -> None:
        dialling, call = await office.dialling()
        await office.manager.end(call.call_id or "")
        answer = await office.tell(call, "ringing", "answered", "asking")
        assert office.line.hangs_up(answer) in {True, None}
        office.carrier.dial_gate.set()
        record = await dialling
        await until(lambda: office.carrier.hung_up)
        assert office.carrier.hung_up == [call.dial_name]
        await office.tell(call, "ended")
        assert record.end_reason is CallState.HANGUP_BOT
        assert record.answered_at is None

    run(carrier, case)


@each_carrier
def test_a_call_given_up_whose_dial_got_lost_is_hung_up_by_its_first_webhook(
    carrier: str,
) -> None:
    async def case(office: Office) -> None:
        dialling, call = await office.dialling()
        office.carrier.dial_error = CarrierError("the connection was reset")
        office.carrier.dial_gate.set()
        with pytest.raises(CarrierError):
            await dialling
        assert office.record(call).end_reason is CallState.FAILED
        assert office.manager.live_count == 0
        await office.tell(call, "answered", "asking")
        await until(lambda: office.carrier.hung_up)
        assert office.carrier.hung_up == [call.dial_name]
        assert len(office.carrier.dials) == 1
        assert office.manager.live_count == 0

    run(carrier, case)


@each_carrier
def test_a_name_learned_while_the_call_is_being_given_up_is_hung_up(carrier: str) -> None:
    async def case(office: Office) -> None:
        dialling, call = await office.dialling()
        # Whoever gives up, and the webhook with the name, in one turn of the loop.
        ending = asyncio.ensure_future(office.manager.end(call.call_id or ""))
        told = asyncio.ensure_future(office.tell(call, "ringing"))
        await asyncio.gather(ending, told)
        await until(lambda: office.carrier.hung_up)
        assert office.carrier.hung_up == [call.dial_name]
        office.carrier.dial_error = CarrierError("the connection was reset")
        office.carrier.dial_gate.set()
        with pytest.raises(CarrierError):
            await dialling
        assert office.record(call).end_reason is CallState.HANGUP_BOT

    run(carrier, case)


@each_carrier
def test_a_second_socket_may_carry_the_call_only_under_its_own_name(carrier: str) -> None:
    async def case(office: Office) -> None:
        call = await office.placed()
        other = await office.placed()
        call_id, named = call.call_id or "", call.dial_name or ""
        assert office.manager.learn_provider_id(call_id, named)
        assert office.manager.learn_provider_id(call_id, named)
        assert not office.manager.learn_provider_id(call_id, other.dial_name or "")
        assert not office.manager.learn_provider_id(other.call_id or "", named)
        await office.manager.end(call_id)
        assert not office.manager.learn_provider_id(call_id, named)

    run(carrier, case)


def test_plivos_call_goes_by_the_name_of_its_dial_whatever_comes_first() -> None:
    async def case(office: Office) -> None:
        assert isinstance(office.line, PlivoLine)
        dialling, early = await office.dialling()
        await office.tell(early, "ringing", "answered")
        office.carrier.dial_gate.set()
        late = await office.placed()
        for call in (early, late):
            assert call.name != call.dial_name
            await office.tell(call, "answered", "asking")
            record = office.record(call)
            assert record.provider_call_id == call.dial_name
            assert office.line.call_names.call_uuid(call.dial_name or "") == call.name
            await office.tell(call, "ended")
            assert record.state.terminal
        assert "two ids" not in office.manager.ignored
        assert (await dialling).call_id == early.call_id
        assert len(await office.manager.recent()) == 2

    run("plivo", case)


@each_carrier
@pytest.mark.parametrize(
    "order", list(permutations(("ringing", "answered", "ended"))), ids="-".join
)
def test_webhooks_in_any_order_and_repeated_make_one_call_that_ends(
    carrier: str, order: tuple[str, ...]
) -> None:
    async def case(office: Office) -> None:
        call = await office.placed()
        record = office.record(call)
        for fact in order:
            await office.tell(call, fact, fact)
        assert record.state.terminal
        told = order[: order.index("ended")]
        assert (record.answered_at is not None) == ("answered" in told)
        assert record.ended_at is not None
        assert record.started_at <= (record.answered_at or record.started_at) <= record.ended_at
        assert office.manager.live_count == 0
        await until(lambda: len(office.manager._calls.index) == 0)
        assert (await office.store.get(record.call_id)) == record.to_json()
        ends = [change for change in office.store.stored if change["type"] == "call.ended"]
        assert len(ends) == 1
        assert len(office.conversations.opened) == len(office.carrier.dials) == 1

    run(carrier, case)


@each_carrier
def test_the_same_request_again_is_answered_alike_and_has_no_effect(carrier: str) -> None:
    async def case(office: Office) -> None:
        call = await office.placed()
        asking = office.line.request(call, "answered")
        first = await office.send(asking)
        before = office.record(call).to_json()
        await office.tell(call, "ended")
        over = office.record(call).to_json()
        assert (await office.send(asking)).content == first.content
        assert office.record(call).to_json() == over
        assert before["state"] == "answered"

    run(carrier, case)


@each_carrier
def test_a_call_that_ended_before_it_was_heard_of_is_not_opened_by_older_news(
    carrier: str,
) -> None:
    async def case(office: Office) -> None:
        call = office.arriving()
        await office.tell(call, "ended")
        answer = await office.tell(call, "arriving")
        assert office.line.hangs_up(answer) in {True, None}
        assert office.manager.live_count == 0
        assert office.conversations.opened == []

    run(carrier, case, inbound_policy="open")
