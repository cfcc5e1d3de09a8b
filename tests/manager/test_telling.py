"""What a call's conversation is told of what carriers report."""

from __future__ import annotations

import asyncio

import pytest

from tests.call.calls import record as earlier_record
from tests.manager.fakes import World, run, until
from voicecall.call.events import NO_TURN, CallActive, CallAnswered, CallDtmf, CallEnded
from voicecall.call.record import CallState

pytestmark = pytest.mark.unit


def test_an_answer_is_told_once() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        conversation = world.conversations.opened[0]
        assert conversation.told == []
        for kind in (CallAnswered, CallAnswered, CallActive):
            await world.tell(kind, record)
        assert conversation.told == [("answered",)]

    run(case)


def test_words_and_keys_are_told_after_the_answer_that_they_prove() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        await world.tell(CallDtmf, record, digits="12#")
        await world.hear(record, "Hello?")
        await world.hear(record, "Hel", is_final=False)
        assert world.conversations.opened[0].told == [
            ("answered",),
            ("pressed", "12#"),
            ("heard", "Hello?", False),
        ]

    run(case)


def test_words_that_somebody_waits_for_are_told_as_such() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Your name?"))
        await until(lambda: world.conversations.opened[0].said)
        await world.hear(record, "Bond.")
        await world.hear(record, "James Bond.")
        assert await asking == "Bond."
        told = world.conversations.opened[0].told
        assert told[1:] == [("heard", "Bond.", True), ("heard", "James Bond.", False)]

    run(case)


def test_words_listened_for_before_the_question_are_no_answer_to_it() -> None:
    async def case(world: World) -> None:
        record = await world.answered()
        await world.hear(record, "Before.", turn_token=NO_TURN)
        asking = asyncio.ensure_future(world.manager.ask(record.call_id, "Well?"))
        await until(lambda: "turnToken" in record.metadata)
        token = record.metadata["turnToken"]
        await world.hear(record, "Late.", turn_token=NO_TURN)
        await world.hear(record, "Answer.", turn_token=token)
        assert await asking == "Answer."
        await world.hear(record, "Again.", turn_token=token)
        await world.hear(record, "After.", turn_token=NO_TURN)
        heard = [text for _, text, *_ in world.conversations.opened[0].told[1:]]
        assert heard == ["Before.", "Answer.", "After."]
        assert world.manager.ignored["stale"] == 2

    run(case)


def test_nothing_is_told_of_a_call_that_is_over() -> None:
    async def case(world: World) -> None:
        record = await world.dialled()
        await world.tell(CallEnded, record, reason=CallState.NO_ANSWER)
        await world.tell(CallAnswered, record)
        await world.until_idle()
        await world.hear(record, "Hello?")
        assert world.conversations.opened[0].told == []

    run(case)


def test_the_conversation_of_an_answered_call_taken_up_again_is_told_of_the_answer() -> None:
    async def case(world: World) -> None:
        for state in (CallState.LISTENING, CallState.RINGING):
            earlier = earlier_record(state)
            earlier.call_id = state.value
            earlier.answered_at = 1_000 if state is CallState.LISTENING else None
            world.manager._calls.resume(earlier)
        told = [conversation.told for conversation in world.conversations.opened]
        assert told == [[("answered",)], []]

    run(case)
