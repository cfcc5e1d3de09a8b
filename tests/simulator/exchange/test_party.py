from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.mediaserver import MUTE, media_server, ulaw_tone
from voicecall.errors import NotConnected
from voicecall.simulator import EchoPhone, Engines, Phone, Script
from voicecall.simulator.exchange.line import Line
from voicecall.simulator.exchange.party import (
    EchoParty,
    Keys,
    Party,
    Pickup,
    ScriptedParty,
    SimpleParty,
)

if TYPE_CHECKING:
    from tests.simulator.mediaserver import MediaServer

pytestmark = pytest.mark.socket

PATIENCE_S = 5


def a_line() -> Line:
    return Line("CA1", direction="outbound", from_number="+1", to_number="+2")


def script(*steps: dict[str, Any]) -> Script:
    return Script.model_validate({"steps": steps})


def failure_of(party: ScriptedParty) -> str | None:
    return party.failure


def make(kind: type[Phone], engines: Engines) -> Phone:
    return kind("ws://127.0.0.1:9", call_sid="CA1", engines=engines)


@pytest.mark.parametrize("answer", ["answer", "busy", "no-answer", "reject", "machine"])
def test_ringing_comes_to_what_was_told(answer: Pickup) -> None:
    async def case() -> None:
        party, line = SimpleParty(answer), a_line()
        assert await party.ring(line) == answer
        assert party.line is line

    asyncio.run(case())


def test_who_does_not_answer_rings_until_the_caller_gives_up() -> None:
    async def case() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await SimpleParty(ring_s=None).ring(a_line())

    asyncio.run(case())


def test_a_simple_party_says_its_words_one_by_one_and_is_silent_then() -> None:
    async def case() -> None:
        party, line = SimpleParty(words=["one", "two"]), a_line()
        await party.ring(line)
        assert [await party.speak() for _ in range(3)] == ["one", "two", None]
        assert party.said == ["one", "two"]
        assert not line.ended.is_set()

    asyncio.run(case())


def test_a_simple_party_that_does_not_stay_hangs_up_after_its_words() -> None:
    async def case() -> None:
        party, line = SimpleParty(words=["one"], stays=0.0), a_line()
        await party.ring(line)
        assert await party.speak() == "one"
        assert not line.ended.is_set()
        assert await party.speak() is None
        assert line.reason == "party"

    asyncio.run(case())


def test_what_is_said_and_pressed_is_taken_note_of() -> None:
    async def case() -> None:
        party = SimpleParty()
        await party.listen("Hello.")
        party.keys("12")
        party.pick_up(make)
        party.keys("34")
        assert (party.heard, party.keys_heard) == (["Hello."], "1234")

    asyncio.run(case())


def test_hearing_takes_longer_the_more_is_said() -> None:
    async def case() -> None:
        party, loop = SimpleParty(pace=0.1), asyncio.get_running_loop()
        began = loop.time()
        await party.listen("x" * 10)
        assert loop.time() - began >= 0.06

    asyncio.run(case())


def test_a_simple_party_stays_on_the_phone_as_long_as_told() -> None:
    async def case() -> None:
        party = SimpleParty(stays=0.0)
        phone = party.pick_up(make)
        assert party.phone is phone
        async with asyncio.timeout(PATIENCE_S):
            await party.talk(phone)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await SimpleParty().talk(phone)

    asyncio.run(case())


def test_an_echo_party_says_back_what_it_hears() -> None:
    async def case() -> None:
        party = EchoParty()
        async with media_server() as server:
            phone = party.pick_up(
                lambda kind, engines: kind(server.url, call_sid="CA1", engines=engines)
            )
            assert isinstance(phone, EchoPhone)
            async with phone:
                await server.wait_for("start")
                await server.send_media(ulaw_tone(40))
                async with asyncio.timeout(PATIENCE_S):
                    while not loud(server):
                        await server.wait_for("media", len(server.of("media")) + 1)

    asyncio.run(case())


def loud(server: MediaServer) -> bool:
    silence = server.of("media")[0]["media"]["payload"] if server.of("media") else ""
    return any(message["media"]["payload"] != silence for message in server.of("media"))


# --- by script, without media ------------------------------------------------------------------


def test_without_media_a_script_is_followed_in_turn_with_the_carrier() -> None:
    async def case() -> None:
        begun: list[str] = []
        party = ScriptedParty(
            script(
                {"do": "listen"},
                {"do": "say", "text": "Hello."},
                {"do": "listen"},
                {"do": "interrupt", "text": "Stop."},
                {"do": "press", "digits": "5#"},
            ),
            MUTE,
            ring_s=0.0,
            on_step=lambda step: begun.append(step.do),
        )
        line = a_line()
        assert await party.ring(line) == "answer"
        await party.listen("Good morning.")
        assert await party.speak() == "Hello."
        assert await party.speak() == "Stop."
        keys = await party.speak()
        assert (type(keys), keys) == (Keys, "5#")
        assert not line.ended.is_set()
        assert await party.speak() is None
        assert line.reason == "party"
        assert (party.heard, party.said) == (["Good morning."], ["Hello.", "Stop."])
        assert begun == ["listen", "say", "listen", "interrupt", "press"]

    asyncio.run(case())


def test_without_media_a_script_hangs_up_where_it_says_so() -> None:
    async def case() -> None:
        party = ScriptedParty(
            script({"do": "hangUp"}, {"do": "say", "text": "never"}), MUTE, ring_s=0.0
        )
        line = a_line()
        await party.ring(line)
        assert await party.speak() is None
        assert line.reason == "party"

    asyncio.run(case())


def test_without_media_a_script_may_wait_for_the_other_side_to_hang_up() -> None:
    async def case() -> None:
        party, line = ScriptedParty(script({"do": "awaitHangUp"}), MUTE, ring_s=0.0), a_line()
        await party.ring(line)
        assert [await party.speak(), await party.speak()] == [None, None]
        assert not line.ended.is_set()

    asyncio.run(case())


# --- by script, over media ---------------------------------------------------------------------


async def talk(party: ScriptedParty, line: Line, server: MediaServer) -> Phone:
    """The party on a connected phone, and its talk begun."""
    line.party = party
    await party.ring(line)
    phone = party.pick_up(lambda kind, engines: kind(server.url, call_sid="CA1", engines=engines))
    await phone.connect()
    line.socket_opened(phone)
    return phone


def test_over_media_a_script_is_followed_to_its_end() -> None:
    async def case() -> None:
        phones: list[Phone] = []
        party = ScriptedParty(
            script({"do": "press", "digits": "12"}), MUTE, ring_s=0.0, on_phone=phones.append
        )
        line = a_line()
        async with media_server() as server:
            phone = await talk(party, line, server)
            assert phones == [phone]
            async with asyncio.timeout(PATIENCE_S):
                await line.ended.wait()
                await line.close()
            assert [message["dtmf"]["digit"] for message in server.of("dtmf")] == ["1", "2"]
        assert (line.reason, party.failure, len(party.steps)) == ("party", None, 1)

    asyncio.run(case())


def test_over_media_to_hang_up_is_the_partys_doing() -> None:
    async def case() -> None:
        party = ScriptedParty(script({"do": "hangUp"}), MUTE, ring_s=0.0)
        line = a_line()
        async with media_server() as server:
            await talk(party, line, server)
            async with asyncio.timeout(PATIENCE_S):
                await line.ended.wait()
                await server.ended.wait()
            await line.close()
        assert line.reason == "party"

    asyncio.run(case())


def test_over_media_a_step_that_a_broken_socket_cut_short_is_done_again() -> None:
    async def case() -> None:
        party = ScriptedParty(
            script({"do": "press", "digits": "1"}, {"do": "listen", "quietMs": 100}),
            MUTE,
            ring_s=0.0,
        )
        line = a_line()
        async with media_server() as server:
            phone = await talk(party, line, server)
            await server.wait_for("dtmf")
            async with asyncio.timeout(PATIENCE_S):
                while len(party.steps) < 2:
                    await server.wait_for("media", len(server.of("media")) + 1)
                await phone.drop()
                await asyncio.sleep(0.01)
                assert failure_of(party) == "the media ended before the script did"
                await phone.reconnect()
                line.socket_opened(phone)
                await server.wait_for("start", 2)
                await server.send_media(ulaw_tone(300))
                await line.ended.wait()
            await line.close()
            assert [message["dtmf"]["digit"] for message in server.of("dtmf")] == ["1"]
        assert line.reason == "party"
        assert failure_of(party) is None
        assert [step.do for step in party.steps] == ["press", "listen"]

    asyncio.run(case())


def test_over_media_a_broken_socket_is_not_the_other_sides_hanging_up() -> None:
    async def case() -> None:
        party, line = ScriptedParty(script({"do": "awaitHangUp"}), MUTE, ring_s=0.0), a_line()
        async with media_server() as server:
            phone = await talk(party, line, server)
            await phone.drop()
            await asyncio.sleep(0.01)
            assert not line.ended.is_set()
            line.hang_up("api")
            await asyncio.sleep(0.01)
            await line.close()
        assert line.reason == "api"
        assert party.failure is None

    asyncio.run(case())


def test_who_waits_too_long_gives_up_and_says_why() -> None:
    async def case() -> None:
        for step in ("awaitHangUp", "listen"):
            party = ScriptedParty(script({"do": step, "withinMs": 20}), MUTE, ring_s=0.0)
            line = a_line()
            async with media_server() as server:
                await talk(party, line, server)
                async with asyncio.timeout(PATIENCE_S):
                    await line.ended.wait()
                await line.close()
            assert line.reason == "party"
            assert party.failure

    asyncio.run(case())


def test_a_party_without_a_call_cannot_talk() -> None:
    async def case() -> None:
        party = ScriptedParty(script({"do": "listen"}), MUTE)
        with pytest.raises(NotConnected):
            await party.talk(party.pick_up(make))

    asyncio.run(case())


def test_all_of_them_are_parties() -> None:
    parties: list[Party] = [
        SimpleParty(),
        EchoParty(),
        ScriptedParty(script({"do": "listen"}), MUTE),
    ]
    assert len(parties) == 3
