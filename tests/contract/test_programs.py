"""Calls that a program holds itself, whoever the carrier, with media or without."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.people import Person
from tests.contract.site import SPOKEN, contract, site, words
from tests.hosting import until
from voicecall.call.record import CallState
from voicecall.errors import NotConnected

if TYPE_CHECKING:
    from tests.contract.site import Way
    from voicecall import Call
    from voicecall.ports import Playback

pytestmark = pytest.mark.socket

LONG = "This is a rather long text that will certainly not be heard to its very end. " * 3


@contract()
async def test_a_program_asks_and_hangs_up(way: Way) -> None:
    answers = []

    async def hold(call: Call) -> None:
        answers.append(await call.ask("Tea or coffee?"))
        answers.append(await call.ask("Black or with milk?"))
        await call.say("It comes.")

    person = Person("Tea.", "Black.")
    async with site(way, person, on_call=hold) as it:
        record = await it.call("")
        await it.over(record)
        assert answers == ["Tea.", "Black."]
        assert record.end_reason is CallState.HANGUP_BOT
        assert person.heard == ["Tea or coffee?", "Black or with milk?", "It comes."]


@contract()
async def test_a_program_takes_who_calls_without_our_greeting(way: Way) -> None:
    async def hold(call: Call) -> None:
        await call.say("We are closed.")

    person = Person()
    greeting: dict[str, Any] = {"inboundPolicy": "open", "inboundGreeting": "Welcome."}
    async with site(way, person, on_call=hold, **greeting) as it:
        await it.be_called()
        record = await it.taken_on()
        await it.over(record)
        assert words(record) == person.heard == ["We are closed."]


@contract()
async def test_what_a_program_says_can_be_cut(way: Way) -> None:
    playbacks: list[Playback] = []

    async def hold(call: Call) -> None:
        saying = asyncio.create_task(call.say(LONG))
        await until(lambda: call.record.state is CallState.SPEAKING)
        call.clear()
        playbacks.append(await saying)

    async with site(way, Person(), on_call=hold) as it:
        await it.over(await it.call(""))
        (playback,) = playbacks
        assert playback.interrupted


@contract(SPOKEN)
async def test_where_the_carrier_speaks_there_is_no_raw_audio(way: Way) -> None:
    refused = []

    async def hold(call: Call) -> None:
        with pytest.raises(NotConnected, match=r"streaming\.enabled"):
            call.audio()
        with pytest.raises(NotConnected, match=r"streaming\.enabled"):
            await call.play(bytes(320), 8000)
        refused.append(call.id)

    async with site(way, Person(), on_call=hold) as it:
        record = await it.call("")
        await it.over(record)
        assert refused == [record.call_id]
