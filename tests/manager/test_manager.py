from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.call.calls import event
from tests.manager.fakes import CALLEE, World, run, until
from voicecall.call.events import (
    CallActive,
    CallAnswered,
    CallDtmf,
    CallEnded,
    CallRinging,
    CallSpeaking,
    CallSpoken,
)
from voicecall.call.record import CallState, Direction
from voicecall.errors import (
    CallHasEnded,
    CapacityReached,
    CarrierError,
    InvalidRequest,
    NotConnected,
    StoreError,
    TranscriptTimeout,
    TurnPending,
    UnknownCall,
)

pytestmark = pytest.mark.unit

OPEN = {"inbound_policy": "open"}


def test_a_call_is_stored_before_it_is_dialled_and_carries_its_stream() -> None:
    async def case(world: World) -> None:
        record = await world.dialled(mode="conversation", dtmf_sequence="w1")
        (request,) = world.carrier.dials
        assert (request.to, request.mode, request.dtmf_sequence) == (CALLEE, "conversation", "w1")
        assert request.stream_url == f"wss://example.com/{record.call_id}"
        assert [change["type"] for change in world.store.stored] == [
            "call.created",
            "call.initiated",
        ]
        assert record.provider_call_id == "CA1"
        assert record.metadata["mode"] == "conversation"
        assert world.conversations.opened[0].opening == "Good day."
        assert world.manager.find("CA1") is world.manager.find(record.call_id) is record

    run(case)


def test_nobody_is_dialled_who_cannot_be() -> None:
    async def case(world: World) -> None:
        with pytest.raises(InvalidRequest, match="to required"):
            await world.manager.initiate("Hello")
        with pytest.raises(InvalidRequest, match=r"E\.164"):
            await world.dialled(to="12345")
        with pytest.raises(InvalidRequest, match="digits"):
            await world.dialled(dtmf_sequence="call me")
        assert world.carrier.dials == []
        assert world.manager.live_count == 0

    run(case)


def test_the_default_callee_is_called_when_nobody_is_named() -> None:
    async def case(world: World) -> None:
        assert (await world.manager.initiate("Hello")).to_number == CALLEE

    run(case, to_number=CALLEE)


def test_the_limit_counts_both_directions_and_says_what_it_is() -> None:
    async def case(world: World) -> None:
        await world.incoming("IN1")
        first = await world.dialled()
        with pytest.raises(CapacityReached, match="2"):
            await world.dialled()
        await world.incoming("IN2")
        await until(lambda: world.carrier.hung_up == ["IN2"])
        await world.manager.end(first.call_id)
        await world.dialled()
        assert world.manager.live_count == 2

    run(case, max_concurrent_calls=2, **OPEN)


def test_many_calls_asked_for_at_once_get_exactly_the_slots_there_are() -> None:
    async def case(world: World) -> None:
        asked = await asyncio.gather(*(world.dialled() for _ in range(10)), return_exceptions=True)
        refused = [result for result in asked if isinstance(result, CapacityReached)]
        assert len(refused) == 7
        assert len(world.carrier.dials) == world.manager.live_count == 3

    run(case, max_concurrent_calls=3)


def test_a_conversation_that_cannot_be_opened_costs_no_slot() -> None:
    async def case(world: World) -> None:
        world.conversations.error = RuntimeError("no engine")
        with pytest.raises(RuntimeError):
            await world.dialled()
        assert world.manager.live_count == 0
        assert world.carrier.dials == []

    run(case)


def test_a_call_that_cannot_be_stored_is_not_placed() -> None:
    async def case(world: World) -> None:
        world.store.broken = True
        with pytest.raises(Exception, match="disk"):
            await world.dialled()
        assert world.carrier.dials == []
        assert world.manager.live_count == 0

    run(case)


def test_a_store_that_fails_for_a_while_neither_stops_the_call_nor_loses_a_change() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        world.store.broken = True
        answered = event(CallAnswered, call_id=record.call_id)
        with pytest.raises(Exception, match="disk"):
            await world.manager.apply(answered)
        assert record.state is CallState.ANSWERED
        world.store.broken = False
        await world.manager.apply(answered)
        stored = await world.store.get(record.call_id)
        assert stored is not None
        assert stored["state"] == "answered"
        assert [change["type"] for change in world.store.stored][-1] == "call.answered"

    run(case)


def test_a_call_ends_and_frees_its_slot_while_the_store_fails() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.store.broken = True
        with pytest.raises(Exception, match="disk"):
            await world.manager.end(record.call_id)
        assert record.state is CallState.HANGUP_BOT
        assert world.manager.live_count == 0
        assert world.carrier.hung_up == ["CA1"]
        await world.manager.end(record.call_id)

    run(case)


def test_repeated_and_late_events_change_nothing_and_are_counted() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        ringing = event(CallRinging, call_id=record.call_id)
        await world.manager.apply(ringing)
        await world.tell(CallAnswered, record)
        saved = len(world.store.stored)
        await world.manager.apply(ringing)
        await world.tell(CallRinging, record)
        assert len(world.store.stored) == saved
        assert (world.manager.ignored["repeated"], world.manager.ignored["late"]) == (1, 1)
        await world.manager.end(record.call_id)
        await world.until_idle()
        await world.manager.apply(ringing)
        await world.tell(CallRinging, record)
        assert (world.manager.ignored["repeated"], world.manager.ignored["over"]) == (2, 1)

    run(case)


def test_events_of_one_call_are_applied_in_order() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        said = [str(n) for n in range(50)]
        await asyncio.gather(*(world.hear(record, text) for text in said))
        assert [entry.text for entry in record.transcript] == said

    run(case)


def test_more_events_than_a_mailbox_holds_are_refused_but_an_end_gets_through() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        flood = [asyncio.ensure_future(world.hear(record, "x")) for _ in range(400)]
        ending = asyncio.ensure_future(world.manager.end(record.call_id))
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert any(isinstance(result, CapacityReached) for result in results)
        assert sum(result is None for result in results) >= 256
        await ending
        assert record.state is CallState.HANGUP_BOT

    run(case)


def test_the_caller_hanging_up_ends_the_call_and_everything_it_holds() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.tell(CallEnded, record, reason=CallState.HANGUP_USER)
        assert world.manager.live_count == 0
        await world.until_idle()
        assert world.conversations.opened[0].closed
        assert not world.urls.valid
        assert world.carrier.hung_up == []
        assert world.manager.find("CA1") is record
        assert (await world.manager.lookup("CA1")) is record
        assert [call.call_id for call in await world.manager.recent()] == [record.call_id]

    run(case)


def test_words_counted_while_the_conversation_closes_reach_the_transcript() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.tell(CallSpeaking, record, text="Good day.")
        last_words: dict[str, Any] = {"text": "Good day.", "heard": "Good", "interrupted": True}
        world.conversations.opened[0].on_close = lambda: world.tell(
            CallSpoken, record, **last_words
        )
        await world.manager.end(record.call_id)
        await world.until_idle()
        assert [entry.text for entry in record.transcript] == ["Good"]
        stored = await world.store.get(record.call_id)
        assert stored == record.to_json()

    run(case)


def test_ending_twice_at_once_or_later_is_a_success_and_hangs_up_once() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await asyncio.gather(*(world.manager.end("CA1") for _ in range(3)))
        await world.manager.end(record.call_id)
        await world.until_idle()
        await world.manager.end(record.call_id)
        assert world.carrier.hung_up == ["CA1"]
        with pytest.raises(UnknownCall):
            await world.manager.end("nobody")

    run(case)


def test_the_reason_we_end_a_call_for_wins_over_the_carriers_report_of_it() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.hang_up_gate.clear()
        ending = asyncio.ensure_future(world.manager.end(record.call_id, CallState.TIMEOUT))
        await until(lambda: world.carrier.hung_up)
        await world.tell(CallEnded, record, reason=CallState.COMPLETED)
        assert record.end_reason is CallState.TIMEOUT
        world.carrier.hang_up_gate.set()
        await ending
        ends = [change for change in world.store.stored if change["type"] == "call.ended"]
        assert len(ends) == 1

    run(case)


def test_an_end_that_nobody_waits_for_any_more_still_happens() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.hang_up_gate.clear()
        ending = asyncio.ensure_future(world.manager.end(record.call_id))
        await until(lambda: world.carrier.hung_up)
        ending.cancel()
        world.carrier.hang_up_gate.set()
        await world.until_over(record, CallState.HANGUP_BOT)

    run(case)


def test_speech_goes_through_the_conversation_once_the_call_is_answered() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        with pytest.raises(NotConnected):
            await world.manager.speak(record.call_id, "Hello?")
        await world.tell(CallActive, record)
        await world.manager.speak("CA1", "Hello!")
        assert world.conversations.opened[0].said == ["Hello!"]
        await world.manager.end(record.call_id)
        with pytest.raises(CallHasEnded):
            await world.manager.speak(record.call_id, "Still there?")
        with pytest.raises(UnknownCall):
            await world.manager.speak("nobody", "Hello?")

    run(case)


def test_speaking_stops_when_the_call_ends() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.conversations.opened[0].gate.clear()
        speaking = asyncio.ensure_future(world.manager.speak(record.call_id, "A long story"))
        await until(lambda: world.conversations.opened[0].said)
        await world.tell(CallEnded, record, reason=CallState.HANGUP_USER)
        with pytest.raises(CallHasEnded):
            await speaking

    run(case)


def test_a_question_is_answered_by_the_callers_next_final_words() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Your name?"))
        await until(lambda: world.conversations.opened[0].said)
        assert world.manager.awaits_transcript(record.call_id)
        await world.hear(record, "My", is_final=False)
        with pytest.raises(TurnPending):
            await world.manager.ask(record.call_id, "And your age?")
        with pytest.raises(TurnPending):
            await world.manager.start_ask(record.call_id, "And your age?")
        await world.hear(record, "My name is Bond.")
        assert await asking == "My name is Bond."
        assert not world.manager.awaits_transcript(record.call_id)
        assert record.metadata["turnCount"] == 1

    run(case)


def test_an_answer_that_comes_while_the_question_is_spoken_counts() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        conversation = world.conversations.opened[0]
        conversation.gate.clear()
        asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Your name, please?"))
        await until(lambda: conversation.said)
        await world.hear(record, "Bond.")
        conversation.gate.set()
        assert await asking == "Bond."

    run(case)


def test_each_turn_has_a_fresh_token_and_results_of_other_turns_are_ignored() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        tokens = []
        for _ in range(2):
            asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Well?"))
            await until(lambda: "turnToken" in record.metadata)
            tokens.append(record.metadata["turnToken"])
            await world.hear(record, "old", turn_token=tokens[0] if len(tokens) > 1 else "guess")
            await world.hear(record, "new", turn_token=tokens[-1])
            assert await asking == "new"
        assert len(set(tokens)) == 2
        assert world.manager.ignored["stale"] == 2

    run(case)


def test_a_caller_who_says_nothing_in_time_leaves_room_for_the_next_question() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Well?"))
        await until(lambda: (record.call_id, "transcript") in world.manager.timers._set)
        await world.pass_ms(4_999)
        assert not asking.done()
        await world.pass_ms(1)
        with pytest.raises(TranscriptTimeout):
            await asking
        again = asyncio.ensure_future(world.manager.ask(record.call_id, "Hello?"))
        await until(lambda: len(world.conversations.opened[0].said) == 2)
        await world.hear(record, "Yes.")
        assert await again == "Yes."

    run(case, transcript_timeout_ms=5_000)


def test_a_question_fails_when_the_call_ends() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Well?"))
        await until(lambda: world.conversations.opened[0].said)
        await world.tell(CallEnded, record, reason=CallState.HANGUP_USER)
        with pytest.raises(CallHasEnded):
            await asking

    run(case)


def test_a_question_can_be_asked_without_waiting() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        operation = await world.manager.start_ask(record.call_id, "Your name?")
        assert world.manager.ask_result(operation).status == "pending"
        await until(lambda: world.conversations.opened[0].said)
        await world.hear(record, "Bond.")
        await until(lambda: world.manager.ask_result(operation).status == "done")
        assert world.manager.ask_result(operation).transcript == "Bond."
        failing = await world.manager.start_ask(record.call_id, "Again?")
        await world.manager.end(record.call_id)
        await until(lambda: world.manager.ask_result(failing).status == "failed")
        assert world.manager.ask_result(failing).error == "the call has ended"
        with pytest.raises(InvalidRequest):
            world.manager.ask_result("never")

    run(case)


def test_keys_are_sent_on_answered_calls_only() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        with pytest.raises(NotConnected):
            await world.manager.send_dtmf(record.call_id, "1")
        await world.tell(CallDtmf, record, digits="5")
        await world.manager.send_dtmf(record.call_id, "1w#")
        assert world.carrier.keys == [("CA1", "1w#")]
        with pytest.raises(InvalidRequest):
            await world.manager.send_dtmf(record.call_id, "one")

    run(case)


def test_keys_that_the_conversation_sounds_itself_are_not_sent_by_the_carrier() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        (conversation,) = world.conversations.opened
        conversation.sounds_keys = True
        await world.manager.send_dtmf(record.call_id, "1w#")
        assert ("press", "1w#") in conversation.told
        assert world.carrier.keys == []
        with pytest.raises(InvalidRequest):
            await world.manager.send_dtmf(record.call_id, "one")

    run(case)


def test_a_call_that_ends_while_keys_wait_to_be_heard_says_so() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        (conversation,) = world.conversations.opened
        conversation.gate.clear()
        sending = asyncio.create_task(world.manager.send_dtmf(record.call_id, "1"))
        await asyncio.sleep(0)
        await world.manager.end(record.call_id)
        with pytest.raises(CallHasEnded):
            await sending
        assert world.carrier.keys == []

    run(case)


def test_subscribers_are_told_of_every_change_in_order_until_the_end() -> None:
    async def case(world: World) -> None:
        changes = world.manager.subscribe()
        record = await world.answered()
        await world.manager.end(record.call_id)
        await world.manager.close()
        told = [change["type"] async for change in changes]
        assert told == ["call.initiated", "call.answered", "call.ended"]

    run(case)


def test_an_inbound_call_is_taken_on_with_the_greeting_of_the_dialled_number() -> None:
    async def case(world: World) -> None:
        await world.incoming("IN1")
        (record,) = world.manager.live()
        assert record.direction is Direction.INBOUND
        assert record.metadata["number"] == {"inboundGreeting": "Desk."}
        assert record.session_key == "voice:15550009999"
        assert world.conversations.opened[0].opening == "Desk."
        await world.incoming("IN2", to_number="+15550000003")
        assert world.conversations.opened[1].opening == "Hello."
        assert world.carrier.hung_up == []

    run(
        case,
        inbound_greeting="Hello.",
        numbers={"+15550000001": {"inboundGreeting": "Desk."}},
        **OPEN,
    )


def test_events_of_a_new_inbound_call_that_arrive_together_open_it_once() -> None:
    async def case(world: World) -> None:
        await asyncio.gather(*(world.incoming("IN1") for _ in range(5)))
        assert world.manager.live_count == 1
        assert len(world.conversations.opened) == 1

    run(case, **OPEN)


def test_a_refused_caller_is_hung_up_once_however_many_events_arrive() -> None:
    async def case(world: World) -> None:
        for _ in range(3):
            await world.incoming("IN1")
        await world.incoming("IN2", from_number="anonymous")
        await world.incoming("IN3", from_number="+15550009998")
        await until(lambda: len(world.carrier.hung_up) == 2)
        assert world.carrier.hung_up == ["IN1", "IN2"]
        assert [record.provider_call_id for record in world.manager.live()] == ["IN3"]
        assert world.manager.ignored["refused"] == 2

    run(case, inbound_policy="allowlist", allow_from=("+1 555 000 9998",))


def test_a_call_placed_at_the_carrier_is_taken_on_whatever_the_inbound_policy() -> None:
    async def case(world: World) -> None:
        await world.incoming("CX1", direction=Direction.OUTBOUND)
        (record,) = world.manager.live()
        assert record.direction is Direction.OUTBOUND
        assert record.session_key == "voice:15550000001"
        assert world.conversations.opened[0].opening is None

    run(case)


def test_events_of_unknown_calls_that_open_none_are_counted() -> None:
    async def case(world: World) -> None:
        gone = event(CallEnded, provider_call_id="CX1", reason=CallState.COMPLETED)
        await world.manager.apply(gone)
        await world.manager.apply(event(CallRinging, provider_call_id="CX1"))
        assert world.manager.ignored["unknown"] == 2
        assert world.manager.live_count == 0

    run(case, **OPEN)


def test_a_late_event_of_an_ended_call_does_not_open_it_again() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.manager.end(record.call_id)
        await world.until_idle()
        await world.incoming("CA1", direction=Direction.OUTBOUND)
        world.manager._calls.index._ended.clear()
        await world.incoming("CA1", direction=Direction.OUTBOUND)
        assert world.manager.live_count == 0
        assert len(world.conversations.opened) == 1

    run(case)


def test_draining_refuses_new_calls_and_leaves_old_ones_alone() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.manager.drain()
        assert world.manager.draining
        with pytest.raises(CapacityReached, match="shutting down"):
            await world.dialled()
        await world.incoming("IN1")
        await until(lambda: world.carrier.hung_up == ["IN1"])
        await world.manager.speak(record.call_id, "Hello")

    run(case, **OPEN)


def test_closing_hangs_up_every_call() -> None:
    async def case(world: World) -> None:
        records = [await world.answered() for _ in range(3)]
        await world.manager.close()
        assert {record.end_reason for record in records} == {CallState.HANGUP_BOT}
        assert sorted(world.carrier.hung_up) == ["CA1", "CA2", "CA3"]

    run(case)


def test_closing_does_not_wait_for_ever_for_a_carrier_that_hangs() -> None:
    async def case(world: World) -> None:
        await world.answered()
        world.carrier.hang_up_gate.clear()
        async with asyncio.timeout(2):
            await world.manager.close(within_s=0.05)

    async def whole() -> None:
        await case(World())

    asyncio.run(whole())


def test_the_carriers_id_can_be_learned_from_the_media_and_not_contradicted() -> None:
    async def case(world: World) -> None:
        world.carrier.dial_gate.clear()
        dialling = asyncio.ensure_future(world.dialled())
        await until(lambda: world.carrier.dials)
        (record,) = world.manager.live()
        assert world.manager.learn_provider_id(record.call_id, "CA1")
        assert world.manager.learn_provider_id(record.call_id, "CA1")
        assert not world.manager.learn_provider_id(record.call_id, "CA9")
        assert not world.manager.learn_provider_id("nobody", "CA9")
        await until(lambda: record.provider_call_id == "CA1")
        world.carrier.dial_gate.set()
        await dialling
        await world.tell(CallAnswered, record, provider_call_id="CA9")
        assert record.state is CallState.INITIATED
        assert world.manager.ignored["two ids"] == 1

    run(case)


# --- handing calls on ------------------------------------------------------------------------

DESK = "+15550000007"


def test_a_call_that_was_handed_on_is_over_here_and_not_hung_up() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        changes = world.manager.subscribe()
        await world.manager.transfer(record.call_id, DESK)
        assert world.carrier.handed_on == [("CA1", DESK)]
        assert (record.state, record.end_reason) == (CallState.COMPLETED, CallState.COMPLETED)
        assert record.metadata["transferredTo"] == DESK
        assert world.manager.live_count == 0
        await world.until_idle()
        assert world.conversations.opened[0].closed
        # What carriers and media say of it afterwards is nobody's business here.
        await world.tell(CallEnded, record, reason=CallState.HANGUP_USER)
        await world.manager.end(record.call_id, CallState.HANGUP_USER)
        assert record.end_reason is CallState.COMPLETED
        assert world.carrier.hung_up == []
        change = await anext(changes)
        assert (change["type"], change["transferredTo"]) == ("call.ended", DESK)
        stored = await world.store.get(record.call_id)
        assert stored == record.to_json()

    run(case)


@pytest.mark.parametrize(
    "error", [CarrierError("no", status=500), CarrierError("lost"), RuntimeError("a bug")]
)
def test_a_call_that_the_carrier_does_not_hand_on_goes_on(error: Exception) -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_error = error
        with pytest.raises(type(error)):
            await world.manager.transfer(record.call_id, DESK)
        assert not record.state.terminal
        assert "transferredTo" not in record.metadata
        await world.manager.speak(record.call_id, "I am still here.")
        world.carrier.transfer_error = None
        await world.manager.transfer(record.call_id, DESK)
        assert len(world.carrier.handed_on) == 2
        assert world.carrier.hung_up == []

    run(case)


def test_a_carrier_that_does_not_say_whether_it_did_is_not_asked_again() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        with pytest.raises(CarrierError, match="in time") as failed:
            await world.manager.transfer(record.call_id, DESK)
        assert not failed.value.retryable
        assert not record.state.terminal
        assert len(world.carrier.handed_on) == 1

    run(case, carrier_timeout_ms=20)


def test_a_second_transfer_while_one_is_under_way_is_refused() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        first = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        with pytest.raises(InvalidRequest, match="already"):
            await world.manager.transfer(record.call_id, CALLEE)
        world.carrier.transfer_gate.set()
        await first
        assert record.metadata["transferredTo"] == DESK
        with pytest.raises(CallHasEnded):
            await world.manager.transfer(record.call_id, CALLEE)
        assert len(world.carrier.handed_on) == 1

    run(case)


def test_who_gives_up_waiting_does_not_stop_a_transfer() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        asking = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        asking.cancel()
        world.carrier.transfer_gate.set()
        await world.until_over(record, CallState.COMPLETED)
        assert record.metadata["transferredTo"] == DESK

    run(case)


def test_only_answered_calls_are_handed_on_and_only_to_somebody() -> None:
    async def case(world: World) -> None:
        with pytest.raises(UnknownCall):
            await world.manager.transfer("nobody", DESK)
        record = await world.dialled()
        with pytest.raises(NotConnected):
            await world.manager.transfer(record.call_id, DESK)
        await world.tell(CallAnswered, record)
        for to in ("", "12345", "sip:desk@example.com"):
            with pytest.raises(InvalidRequest, match=r"E\.164"):
                await world.manager.transfer(record.call_id, to)
        await world.manager.end(record.call_id)
        with pytest.raises(CallHasEnded):
            await world.manager.transfer(record.call_id, DESK)
        assert world.carrier.handed_on == []

    run(case)


def test_an_address_is_taken_where_the_carrier_connects_it() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.manager.transfer(record.call_id, "sip:desk@example.com")
        assert record.metadata["transferredTo"] == "sip:desk@example.com"

    run(case, transfer_sip=True)


def test_a_carrier_that_cannot_hand_calls_on_is_not_asked_to() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.manager._transfer = None
        with pytest.raises(InvalidRequest, match="cannot hand calls on"):
            await world.manager.transfer(record.call_id, DESK)
        assert not record.state.terminal

    run(case)


def test_media_that_end_while_a_call_is_being_handed_on_do_not_end_it_first() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        handing = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        lost = asyncio.create_task(world.manager.end(record.call_id, CallState.HANGUP_USER))
        await asyncio.sleep(0)
        assert not record.state.terminal
        world.carrier.transfer_gate.set()
        await asyncio.gather(handing, lost)
        assert record.end_reason is CallState.COMPLETED
        assert world.carrier.hung_up == []

    run(case)


def test_media_that_end_before_the_carrier_refuses_to_hand_on_end_the_call() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        world.carrier.transfer_error = CarrierError("no", status=500)
        handing = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        lost = asyncio.create_task(world.manager.end(record.call_id, CallState.HANGUP_USER))
        world.carrier.transfer_gate.set()
        with pytest.raises(CarrierError):
            await handing
        await lost
        assert record.end_reason is CallState.HANGUP_USER
        assert world.carrier.hung_up == ["CA1"]

    run(case)


def test_a_call_is_hung_up_when_somebody_says_so_though_it_is_being_handed_on() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        handing = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        await world.manager.end(record.call_id)
        assert record.end_reason is CallState.HANGUP_BOT
        assert world.carrier.hung_up == ["CA1"]
        world.carrier.transfer_gate.set()
        with pytest.raises(CallHasEnded):
            await handing
        assert "transferredTo" not in record.metadata

    run(case)


def test_a_call_that_is_being_hung_up_is_not_recorded_as_handed_on() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        world.carrier.hang_up_gate.clear()
        handing = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        ending = asyncio.create_task(world.manager.end(record.call_id))
        await until(lambda: world.carrier.hung_up)
        world.carrier.transfer_gate.set()
        with pytest.raises(CallHasEnded):
            await handing
        assert not record.state.terminal
        world.carrier.hang_up_gate.set()
        await ending
        assert record.end_reason is CallState.HANGUP_BOT
        assert "transferredTo" not in record.metadata

    run(case)


def test_a_call_that_ends_while_it_is_being_handed_on_is_over() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.carrier.transfer_gate.clear()
        handing = asyncio.create_task(world.manager.transfer(record.call_id, DESK))
        await until(lambda: world.carrier.handed_on)
        await world.tell(CallEnded, record, reason=CallState.HANGUP_USER)
        world.carrier.transfer_gate.set()
        with pytest.raises(CallHasEnded):
            await handing
        assert record.end_reason is CallState.HANGUP_USER

    run(case)


def test_a_call_is_handed_on_though_that_cannot_be_stored_yet() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        world.store.broken = True
        with pytest.raises(StoreError):
            await world.manager.transfer(record.call_id, DESK)
        assert record.end_reason is CallState.COMPLETED
        assert world.manager.live_count == 0
        assert world.carrier.hung_up == []
        world.store.broken = False

    run(case)
