from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.exchange.telnyx_customer import run
from voicecall.simulator.exchange.party import Keys, SimpleParty
from voicecall.simulator.exchange.telnyx_commands import Transcribing
from voicecall.simulator.exchange.telnyx_voice import MAX_TEXTS, Ears, Manners, Voice, press

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.unit


class Reports:
    """Takes the place of webhooks."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def __call__(self, kind: str, **payload: Any) -> None:
        self.sent.append((kind, payload))
        self._changed.set()

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        while len(found := [payload for sent, payload in self.sent if sent == kind]) < count:
            self._changed.clear()
            await self._changed.wait()
        return found[count - 1]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]


class Listener(SimpleParty):
    """Hears a text for as long as it is told to, and may be deaf to one."""

    def __init__(self, *words: str) -> None:
        super().__init__(words=words)
        self.hears = asyncio.Event()
        self.fails = False
        self.texts: list[str] = []

    async def listen(self, text: str) -> None:
        if self.fails:
            raise RuntimeError("deaf")
        await self.hears.wait()
        self.texts.append(text)


@asynccontextmanager
async def talking(party: SimpleParty) -> AsyncIterator[tuple[Voice, Reports]]:
    reports = Reports()
    voice = Voice(party, reports)
    running = asyncio.create_task(voice.run())
    try:
        yield voice, reports
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def listening(
    party: SimpleParty,
    voice: Voice,
    reports: Reports,
    transcribing: Transcribing | None = None,
    *,
    greeting_s: float = 0.02,
) -> AsyncIterator[None]:
    asked = transcribing or Transcribing("A", interim=False)
    ears = Ears(party, voice, reports, asked, Manners(0.0, greeting_s))
    running = asyncio.create_task(ears.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_texts_are_said_one_after_the_other() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with talking(party) as (voice, reports):
            voice.say("one")
            voice.say("two")
            await voice.fell_silent.wait()
            assert not voice.busy
            assert party.heard == ["one", "two"]
            started, ended = "call.speak.started", "call.speak.ended"
            assert reports.kinds() == [started, ended] * 2
            assert reports.sent[1] == (ended, {"status": "completed"})

    run(case)


def test_stopping_the_current_text_goes_on_with_the_next() -> None:
    async def case() -> None:
        party = Listener()
        async with talking(party) as (voice, reports):
            voice.say("one")
            voice.say("two")
            await reports.until("call.speak.started")
            voice.stop("current")
            await reports.until("call.speak.started", 2)
            party.hears.set()
            await voice.fell_silent.wait()
            assert party.texts == ["two"]
            assert (await reports.until("call.speak.ended"))["status"] == "cancelled"
            assert (await reports.until("call.speak.ended", 2))["status"] == "completed"

    run(case)


def test_stopping_all_texts_says_nothing_of_what_waited() -> None:
    async def case() -> None:
        async with talking(Listener()) as (voice, reports):
            voice.say("one")
            voice.say("two")
            await reports.until("call.speak.started")
            voice.stop("all")
            await voice.fell_silent.wait()
            assert reports.kinds() == ["call.speak.started", "call.speak.ended"]

    run(case)


def test_stopping_silence_does_nothing() -> None:
    async def case() -> None:
        async with talking(SimpleParty()) as (voice, reports):
            voice.stop("all")
            voice.say("one")
            assert (await reports.until("call.speak.ended"))["status"] == "completed"

    run(case)


def test_the_end_of_the_call_ends_what_is_being_said() -> None:
    async def case() -> None:
        async with talking(Listener()) as (voice, reports):
            voice.say("one")
            await reports.until("call.speak.started")
        assert reports.sent[-1] == ("call.speak.ended", {"status": "call_hangup"})

    run(case)


def test_a_party_that_fails_to_listen_does_not_silence_the_voice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        party = Listener()
        party.fails = True
        async with talking(party) as (voice, reports):
            voice.say("one")
            await reports.until("call.speak.ended")
            party.fails = False
            party.hears.set()
            voice.say("two")
            await reports.until("call.speak.ended", 2)
            assert party.texts == ["two"]

    with caplog.at_level(logging.ERROR):
        run(case)
    assert "the simulated party failed" in caplog.text


def test_only_so_many_texts_may_wait() -> None:
    async def case() -> None:
        voice = Voice(SimpleParty(), Reports())
        for _ in range(MAX_TEXTS):
            assert not voice.full
            voice.say("one")
        assert voice.full

    run(case)


def test_a_party_that_nobody_greets_speaks_first_and_again_after_each_answer() -> None:
    async def case() -> None:
        party = SimpleParty(words=["one", "two"])
        async with talking(party) as (voice, reports), listening(party, voice, reports):
            first = await reports.until("call.transcription")
            assert first["transcription_data"]["transcript"] == "one"
            assert party.said == ["one"]
            voice.say("really?")
            second = await reports.until("call.transcription", 2)
            assert second["transcription_data"]["transcript"] == "two"
            # Once they have nothing to say, they are silent.
            voice.say("bye")
            await reports.until("call.speak.ended", 2)
            assert reports.kinds().count("call.transcription") == 2

    run(case)


def test_a_party_waits_until_the_voice_has_fallen_silent() -> None:
    async def case() -> None:
        party = Listener("yes")
        async with talking(party) as (voice, reports):
            voice.say("are you there?")
            await reports.until("call.speak.started")
            async with listening(party, voice, reports, greeting_s=30):
                await asyncio.sleep(0)
                party.hears.set()
                await reports.until("call.transcription")
            ended = reports.kinds().index("call.speak.ended")
            assert reports.kinds().index("call.transcription") > ended

    run(case)


def test_a_party_waits_to_be_greeted() -> None:
    async def case() -> None:
        party = SimpleParty(words=["hello"])
        async with (
            talking(party) as (voice, reports),
            listening(party, voice, reports, greeting_s=30),
        ):
            await asyncio.sleep(0)
            voice.say("good morning")
            await reports.until("call.transcription")
            assert party.heard == ["good morning"]

    run(case)


def test_a_party_does_not_speak_in_the_pause_between_two_texts() -> None:
    async def case() -> None:
        party = SimpleParty(words=["thanks"])
        reports = Reports()
        voice = Voice(party, reports)
        # Nobody runs the voice yet: it has fallen silent once, and has another text to say.
        voice.fell_silent.set()
        voice.say("and one more thing")
        async with listening(party, voice, reports, greeting_s=30):
            await asyncio.sleep(0)
            assert not party.said
            running = asyncio.create_task(voice.run())
            await reports.until("call.transcription")
            assert party.heard == ["and one more thing"]
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(case)


def test_some_engines_tell_who_spoke_and_some_guess_first() -> None:
    async def case() -> None:
        party = SimpleParty(words=["one two"])
        async with (
            talking(party) as (voice, reports),
            listening(party, voice, reports, Transcribing("B", interim=True)),
        ):
            await reports.until("call.transcription", 2)
        data = [payload["transcription_data"] for _, payload in reports.sent]
        assert [(said["transcript"], said["is_final"]) for said in data] == [
            ("one", False),
            ("one two", True),
        ]
        assert {said["transcription_track"] for said in data} == {"inbound"}

    run(case)


def test_a_party_may_answer_with_keys() -> None:
    async def case() -> None:
        party = SimpleParty(words=[Keys("12")])
        async with talking(party) as (voice, reports), listening(party, voice, reports):
            await reports.until("call.dtmf.received", 2)
            assert reports.sent == [
                ("call.dtmf.received", {"digit": "1"}),
                ("call.dtmf.received", {"digit": "2"}),
            ]

    run(case)


def test_each_key_is_reported_by_itself() -> None:
    async def case() -> None:
        reports = Reports()
        press("1#", reports)
        assert [payload["digit"] for _, payload in reports.sent] == ["1", "#"]

    run(case)
