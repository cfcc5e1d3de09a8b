"""What can be done with a call that is up, whoever the carrier."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.people import Person
from tests.contract.site import STREAMED, Site, Way, contract, site, words
from tests.hosting import until
from voicecall.call.record import CallRecord, CallState, Speaker
from voicecall.errors import CallHasEnded, TranscriptTimeout, TurnPending
from voicecall.simulator.exchange import Fault, Keys
from voicecall.simulator.exchange.faults import SOCKET

pytestmark = pytest.mark.socket


async def greeted(it: Site) -> CallRecord:
    """A call on which the greeting was said, and nothing else goes on."""
    record = await it.call("Good day.")
    await it.transcript(record, "Good day.")
    return record


@contract()
async def test_a_question_is_answered_and_a_text_said_on_request(way: Way) -> None:
    person = Person("Hello.", "Bond.")
    async with site(way, person, answers={"Bond.": ("Never said.",)}) as it:
        record = await it.call("Good day.")
        await it.transcript(record, "Good day.", "Hello.")
        asking = asyncio.create_task(it.server.manager.ask(record.call_id, "Your name, please?"))
        await asyncio.sleep(0)
        with pytest.raises(TurnPending):
            await it.server.manager.ask(record.call_id, "And your age?")
        assert await asking == "Bond."
        await it.server.manager.speak(record.call_id, "Thank you.")
        await until(lambda: person.heard == ["Good day.", "Your name, please?", "Thank you."])
        await it.transcript(
            record, "Good day.", "Hello.", "Your name, please?", "Bond.", "Thank you."
        )


@contract()
async def test_the_same_works_over_rpc(way: Way) -> None:
    person = Person("Hello.", "Tea.", "Black.")
    async with site(way, person) as it:
        it.placed += 1
        placed = await it.rpc(
            "initiate", message="Good day.", to="+13125550002", mode="conversation"
        )
        call_id = placed["callId"]
        record = await it.taken_on()
        await it.transcript(record, "Good day.", "Hello.")
        asked = await it.rpc("continue", callId=call_id, message="Tea or coffee?")
        assert asked == {"success": True, "transcript": "Tea."}
        began = await it.rpc("continue.start", callId=call_id, message="Black or with milk?")
        operation = began["operationId"]
        await until(lambda: it.server.manager.ask_result(operation).status == "done")
        result = await it.rpc("continue.result", operationId=operation)
        assert result == {"status": "done", "transcript": "Black."}
        assert await it.rpc("speak", callId=call_id, message="It comes.") == {"success": True}
        assert await it.rpc("end", callId=call_id) == {"success": True}
        await it.over(record)
        assert person.heard == [
            "Good day.",
            "Tea or coffee?",
            "Black or with milk?",
            "It comes.",
        ]


@contract()
async def test_a_question_that_is_not_answered_is_given_up(way: Way) -> None:
    async with site(way, Person(), transcriptTimeoutMs=100) as it:
        record = await greeted(it)
        with pytest.raises(TranscriptTimeout):
            await it.server.manager.ask(record.call_id, "Anybody there?")
        assert not record.state.terminal


@contract()
async def test_keys_travel_both_ways(way: Way) -> None:
    person = Person(Keys("5"))
    async with site(way, person, answers={"5": ("Five it is.",)}) as it:
        record = await it.call("Press a key.")
        await it.transcript(record, "Press a key.", "Five it is.")
        assert person.heard == ["Press a key.", "Five it is."]
        await it.server.manager.send_dtmf(record.call_id, "12#")
        await until(lambda: person.keys_heard == "12#")
        # The call goes on, whatever the carrier had to stop for the keys.
        await it.server.manager.speak(record.call_id, "Done.")
        await until(lambda: person.heard[-1] == "Done.")
        assert not record.state.terminal


@contract()
async def test_every_key_is_told_once(way: Way) -> None:
    person = Person(Keys("42"))
    async with site(way, person) as it:
        changes = it.server.manager.subscribe()
        record = await it.call("Press some keys.")
        pressed = ""
        async for change in changes:
            if change["type"] == "call.dtmf":
                pressed += change["digits"]
            if change["type"] == "call.ended":
                break
            if len(pressed) == 2 and change["type"] == "call.dtmf":
                # Time for it to be told again, as Telnyx does by webhook.
                await it.server.manager.speak(record.call_id, "Thank you.")
                await it.server.manager.end(record.call_id)
        assert pressed == "42"


@contract()
async def test_keys_are_sent_on_answer_before_anything_is_said(way: Way) -> None:
    person = Person()
    async with site(way, person) as it:
        it.placed += 1
        record = await it.server.manager.initiate(
            "Good day.", "+13125550002", "conversation", dtmf_sequence="42"
        )
        await until(lambda: person.keys_heard == "42")
        await it.transcript(record, "Good day.")


@contract()
async def test_we_hang_up_once_and_again_is_a_success(way: Way) -> None:
    async with site(way, Person()) as it:
        record = await greeted(it)
        await it.server.manager.end(record.call_id)
        await it.over(record)
        assert record.end_reason is CallState.HANGUP_BOT
        assert it.line.reason == "api"
        await it.server.manager.end(record.call_id)
        await it.server._provider.carrier.hang_up(it.line.provider_call_id)
        with pytest.raises(CallHasEnded):
            await it.server.manager.speak(record.call_id, "Hello?")
        with pytest.raises(CallHasEnded):
            await it.server.manager.send_dtmf(record.call_id, "1")


@contract()
async def test_a_call_is_hung_up_while_it_rings(way: Way) -> None:
    async with site(way, Person(ring_s=None)) as it:
        record = await it.call("Good day.")
        await it.server.manager.end(record.call_id)
        await it.over(record)
        assert (record.end_reason, record.answered_at) == (CallState.HANGUP_BOT, None)
        assert it.line.reason == "api"


@contract()
async def test_a_call_is_looked_up_while_it_lives_and_after_its_end(way: Way) -> None:
    async with site(way, Person()) as it:
        record = await greeted(it)
        carrier = it.server._provider.carrier
        provider_call_id = record.provider_call_id or ""
        assert (await carrier.status(provider_call_id)).alive
        for by in ({"callId": record.call_id}, {"sid": provider_call_id}):
            assert (await it.rpc("status", **by))["call"]["endedAt"] is None
        await it.server.manager.end(record.call_id)
        await it.over(record)
        # The line is dead at once, and the carrier's books are closed soon.
        while (status := await carrier.status(provider_call_id)).end_reason is None:  # noqa: ASYNC110  (as asked)
            await asyncio.sleep(0.01)
        assert not status.alive
        assert status.end_reason.terminal
        for by in ({"callId": record.call_id}, {"sid": provider_call_id}):
            assert (await it.rpc("status", **by))["call"]["endReason"] == "hangup-bot"


@contract()
async def test_a_call_does_not_last_longer_than_configured(way: Way) -> None:
    async with site(way, Person(), maxDurationSeconds=1) as it:
        record = await it.call("Good day.")
        await it.over(record)
        assert record.end_reason is CallState.TIMEOUT
        assert it.line.reason == "api"
        assert record.answered_at is not None
        assert record.ended_at is not None
        assert 900 <= record.ended_at - record.answered_at < 4000


@contract()
async def test_two_calls_with_the_same_person_share_a_memory(way: Way) -> None:
    person = Person("It is me.", "Me again.")
    async with site(way, person) as it:
        first = await it.call("Good day.")
        await it.transcript(first, "Good day.", "It is me.")
        await it.server.manager.end(first.call_id)
        await it.over(first)
        second = await it.call("Hello.")
        assert second.session_key == first.session_key
        await it.server.manager.end(second.call_id)


# --- media sockets -------------------------------------------------------------------------------


@contract(STREAMED)
async def test_a_socket_that_drops_and_comes_back_keeps_the_call(way: Way) -> None:
    person = Person("Still here.")
    async with site(way, person, answers={"Still here.": ("So am I.",)}) as it:
        it.exchange.faults.add(SOCKET, Fault("drop", delay_s=0.3))
        record = await it.call("")
        await until(lambda: it.exchange.calls)
        await it.line.await_socket(2)
        await it.server.manager.speak(record.call_id, "Are you there?")
        await it.transcript(record, "Are you there?", "Still here.", "So am I.")
        await until(lambda: person.heard == ["Are you there?", "So am I."])
        assert not record.state.terminal


@contract(STREAMED)
async def test_what_is_being_said_is_cut_when_the_caller_speaks(way: Way) -> None:
    long = "This is a rather long answer that will certainly not be heard to its very end."
    person = Person()
    async with site(way, person) as it:
        record = await it.call("")
        await until(lambda: record.state in {CallState.ACTIVE, CallState.LISTENING})
        saying = asyncio.create_task(it.server.manager.speak(record.call_id, long))
        assert it.line.phone is not None
        await it.line.phone.wait_talking(400)
        await it.line.phone.say("Stop it, please.")
        await saying
        await until(lambda: len(record.transcript) == 2)
        bot, user = record.transcript
        assert (bot.speaker, user.text) == (Speaker.BOT, "Stop it, please.")
        assert long.startswith(bot.text)
        assert 0 < len(bot.text) < len(long)
        assert it.line.phone.stats.playout.clears == 1
        assert it.line.phone.stats.protocol_errors == 0
        assert words(record)[1:] == ["Stop it, please."]
