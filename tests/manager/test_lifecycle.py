from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.call.calls import event
from tests.manager.fakes import World, run, until
from voicecall.call.events import (
    CallActive,
    CallAnswered,
    CallEnded,
    CallErrored,
    CallRinging,
    CallSpeech,
)
from voicecall.call.record import CallState
from voicecall.clock import NS_PER_S
from voicecall.errors import CarrierError, VoicecallError
from voicecall.manager.lifecycle import REAPER_PERIOD_NS

pytestmark = pytest.mark.unit


def test_a_refused_dial_ends_the_call_as_failed_and_frees_its_slot() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_error = CarrierError("no credit", status=402)
        with pytest.raises(CarrierError, match="no credit"):
            await world.dialled()
        assert world.manager.live_count == 0
        await world.until_idle()
        (record,) = await world.manager.recent()
        assert record.end_reason is CallState.FAILED
        assert len(world.carrier.dials) == 1
        assert world.carrier.hung_up == []

    run(case)


def test_an_adapter_that_breaks_ends_the_call_as_failed() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_error = RuntimeError("a bug")
        with pytest.raises(RuntimeError):
            await world.dialled()
        assert world.manager.live_count == 0

    run(case)


def test_a_dial_without_an_answer_fails_and_its_late_id_is_hung_up() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        with pytest.raises(CarrierError) as failed:
            await world.dialled()
        assert failed.value.code == "carrier_unreachable"
        assert world.manager.live_count == 0
        assert world.carrier.hung_up == []
        world.carrier.dial_gate.set()
        await world.until_idle()
        assert world.carrier.hung_up == ["CA1"]
        assert len(world.carrier.dials) == 1
        record = world.manager.find("CA1")
        assert record is not None
        assert record.end_reason is CallState.FAILED

    run(case, dial_timeout_ms=20)


def test_an_event_that_shows_a_given_up_call_alive_has_it_hung_up() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        with pytest.raises(CarrierError):
            await world.dialled()
        (record,) = await world.manager.recent()
        ringing = event(CallRinging, call_id=record.call_id, provider_call_id="CA1")
        await world.manager.apply(ringing)
        await until(lambda: world.carrier.hung_up == ["CA1"])
        assert world.manager.live_count == 0

    run(case, dial_timeout_ms=20)


@pytest.mark.parametrize("error", [None, CarrierError("the connection was reset")])
def test_a_call_answered_meanwhile_goes_on_whatever_became_of_its_dial(
    error: CarrierError | None,
) -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        (record,) = world.manager.live()
        await world.tell(CallAnswered, record, provider_call_id="CA1")
        if error is not None:
            world.carrier.dial_error = error
            world.carrier.dial_gate.set()
        assert await dialling is record
        assert record.state is CallState.ANSWERED
        assert world.carrier.hung_up == []
        world.carrier.dial_gate.set()

    run(case, dial_timeout_ms=20)


def test_a_call_ended_while_it_is_dialled_is_hung_up_once_its_id_is_known() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        (record,) = world.manager.live()
        await world.manager.end(record.call_id)
        assert world.manager.live_count == 0
        assert world.carrier.hung_up == []
        world.carrier.dial_gate.set()
        assert (await dialling).end_reason is CallState.HANGUP_BOT
        await until(lambda: world.carrier.hung_up == ["CA1"])
        assert record.provider_call_id == "CA1"

    run(case)


def test_events_may_come_before_the_dials_own_answer() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        (record,) = world.manager.live()
        await world.tell(CallActive, record, provider_call_id="CA1")
        assert world.manager.find("CA1") is record
        world.carrier.dial_gate.set()
        await dialling
        assert record.state is CallState.ACTIVE
        await world.pass_ms(30_000)
        assert record.state is CallState.ACTIVE

    run(case)


def test_a_call_that_is_over_before_the_dials_own_answer_stays_over() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        (record,) = world.manager.live()
        await world.tell(CallEnded, record, reason=CallState.BUSY)
        world.carrier.dial_gate.set()
        assert (await dialling).end_reason is CallState.BUSY
        await world.until_idle()
        assert record.provider_call_id == "CA1"

    run(case)


def test_a_call_is_placed_even_if_nobody_waits_for_it_any_more() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        dialling.cancel()
        world.carrier.dial_gate.set()
        (record,) = world.manager.live()
        await until(lambda: record.provider_call_id == "CA1")

    run(case)


def test_a_call_nobody_answers_ends_as_no_answer() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        await world.pass_ms(29_999)
        assert record.state is CallState.INITIATED
        await world.pass_ms(1)
        await world.until_over(record, CallState.NO_ANSWER)
        assert world.carrier.hung_up == ["CA1"]

    run(case, ring_timeout_ms=30_000)


def test_an_inbound_call_nobody_answers_ends_too() -> None:
    async def case(world: World) -> None:
        await world.incoming("IN1")
        (record,) = world.manager.live()
        await world.pass_ms(30_000)
        await world.until_over(record, CallState.NO_ANSWER)

    run(case, inbound_policy="open")


def test_an_answered_call_ends_when_its_time_is_over_counted_from_the_answer() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        await world.pass_ms(20_000)
        await world.tell(CallAnswered, record)
        await world.pass_ms(59_999)
        await world.tell(CallActive, record)
        assert not record.state.terminal
        await world.pass_ms(1)
        await world.until_over(record, CallState.TIMEOUT)
        await world.until_idle()
        assert len(world.manager.timers) == 0

    run(case, max_duration_ms=60_000)


def test_the_reaper_ends_calls_whose_last_event_was_lost() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.pass_ms(90_000)
        await world.pass_ms(30_000)
        assert not record.state.terminal
        young = await world.answered()
        await world.pass_ms(30_000)
        await world.until_over(record, CallState.TIMEOUT)
        assert not young.state.terminal
        assert world.carrier.hung_up == ["CA1"]

    run(case, stale_after_ms=120_000, max_duration_ms=100_000_000 // 1000)


def test_the_reaper_leaves_answered_calls_to_their_own_limit_where_that_is_longer() -> None:
    async def case(world: World) -> None:
        answered = await world.answered()
        ringing = await world.dialled()
        await world.pass_ms(90_000)
        await world.until_over(ringing, CallState.TIMEOUT)
        assert not answered.state.terminal

    run(case, stale_after_ms=60_000, max_duration_ms=300_000, ring_timeout_ms=10_000_000)


def test_only_one_hang_up_is_in_flight_however_often_the_reaper_comes() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        world.carrier.hang_up_gate.clear()
        for _ in range(4):
            await world.pass_ms(REAPER_PERIOD_NS / NS_PER_S * 1000)
        await until(lambda: world.carrier.hung_up)
        assert world.carrier.hung_up == ["CA1"]
        world.carrier.hang_up_gate.set()
        await world.until_over(record, CallState.TIMEOUT)

    run(case, stale_after_ms=10_000, max_duration_ms=1_000, ring_timeout_ms=10_000_000)


def test_a_call_ends_for_us_even_if_the_carrier_refuses_to_hang_up() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.hang_up_error = CarrierError("not today", status=400)
        await world.manager.end(record.call_id)
        assert record.state is CallState.HANGUP_BOT
        assert world.manager.live_count == 0
        assert world.carrier.hung_up == ["CA1"]

    run(case)


def test_a_carrier_that_does_not_answer_a_hang_up_holds_nobody_up() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.hang_up_gate.clear()
        async with asyncio.timeout(2):
            await world.manager.end(record.call_id)
        assert record.state is CallState.HANGUP_BOT

    run(case, carrier_timeout_ms=20)


def test_a_call_that_breaks_on_our_side_is_hung_up() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.tell(CallErrored, record, message="engine gone", retryable=False)
        await until(lambda: world.carrier.hung_up == ["CA1"])
        assert record.state is CallState.ERROR

    run(case)


def test_a_conversation_that_cannot_be_closed_does_not_keep_the_call() -> None:
    async def case(world: World) -> None:
        record = await world.answered()

        async def broken() -> None:
            raise RuntimeError("stuck")

        world.conversations.opened[0].on_close = broken
        await world.manager.end(record.call_id)
        await world.until_idle()

    run(case)


ACTIONS = ("ringing", "answered", "speech", "busy", "end", "speak", "time", "dial", "tick")


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(st.sampled_from(ACTIONS), max_size=20),
    dial_fails=st.booleans(),
    told_to_end=st.booleans(),
)
def test_whatever_happens_a_call_ends_once_and_its_slot_is_free(
    script: list[str], *, dial_fails: bool, told_to_end: bool
) -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        if dial_fails:
            world.carrier.dial_error = CarrierError("refused", status=400)
        feed = world.manager.subscribe()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        (record,) = world.manager.live()
        work = [asyncio.ensure_future(act(world, record.call_id, name)) for name in script]
        for _ in range(3):
            await asyncio.sleep(0)
        if told_to_end:
            await world.manager.end(record.call_id, CallState.HANGUP_BOT)
            assert record.state.terminal
        world.carrier.dial_gate.set()
        await asyncio.gather(dialling, *work, return_exceptions=True)
        await world.manager.end(record.call_id)
        state = record.state
        assert state.terminal
        assert world.manager.live_count == 0
        await world.until_idle()
        await world.tell(CallEnded, record, reason=CallState.VOICEMAIL)
        assert record.state is record.end_reason is state
        await world.manager.close()
        told = [change["type"] async for change in feed]
        assert told.count("call.ended") == 1
        if not dial_fails and state is CallState.HANGUP_BOT:
            assert world.carrier.hung_up == ["CA1"]

    run(case)


async def act(world: World, call_id: str, name: str) -> None:
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "ringing": (CallRinging, {}),
        "answered": (CallAnswered, {}),
        "speech": (CallSpeech, {"text": "hello"}),
        "busy": (CallEnded, {"reason": CallState.BUSY}),
    }
    if name in kinds:
        kind, fields = kinds[name]
        await world.manager.apply(event(kind, call_id=call_id, **fields))
    elif name == "end":
        await world.manager.end(call_id)
    elif name == "speak":
        with pytest.raises(VoicecallError):
            await world.manager.speak("nobody", "Hello")
    elif name == "time":
        await world.pass_ms(20_000)
    elif name == "dial":
        world.carrier.dial_gate.set()
    else:
        await asyncio.sleep(0)
