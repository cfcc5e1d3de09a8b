from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakeCalls, FakePath, FakeTts, Identity, run, until
from voicecall.call.events import CallErrored, CallSpeaking, CallSpoken
from voicecall.call.record import Speaker
from voicecall.clock import ManualClock
from voicecall.dialog.history import History
from voicecall.errors import SpeechError
from voicecall.ports import Turn
from voicecall.session.equipment import Surroundings
from voicecall.session.parting import Parting
from voicecall.session.work import Work

pytestmark = pytest.mark.unit


class Case:
    def __init__(self, *tts: FakeTts, instant: bool = True) -> None:
        self.path = FakePath(instant=instant)
        self.calls = FakeCalls()
        self.history = History()
        clock = ManualClock()
        surroundings = Surroundings(
            calls=self.calls,
            clock=clock,
            convert=Identity,
            end=lambda *_: None,
            transfer=lambda *_: None,
            on_turn=lambda _: None,
            on_cleared=lambda _: None,
            on_closed=lambda _: None,
        )
        self.work = Work("call-1", self.calls, clock)
        self.parting = Parting(tts, self.path, self.history, self.work, surroundings)

    async def end(self) -> None:
        await self.work.flushed()
        await self.work.stop()


def test_last_words_are_said_recorded_and_remembered() -> None:
    async def case() -> None:
        this = Case(FakeTts())
        assert await this.parting.say("We have to end this call. Goodbye.")
        await this.end()
        (spoken,) = this.calls.of(CallSpoken)
        assert spoken.heard == "We have to end this call. Goodbye."
        assert this.calls.of(CallSpeaking)
        assert this.history.turns == (Turn(Speaker.BOT, spoken.heard),)

    run(case())


def test_without_a_voice_nothing_is_said() -> None:
    async def case() -> None:
        this = Case()
        assert not await this.parting.say("Goodbye.")
        this.parting.cut()
        assert not this.path.utterances
        await this.end()

    run(case())


def test_a_voice_that_fails_is_reported() -> None:
    async def case() -> None:
        this = Case(FakeTts(SpeechError("mute")))
        assert not await this.parting.say("Goodbye.")
        await this.end()
        assert this.calls.of(CallErrored)

    run(case())


def test_cut_it_tells_what_was_heard() -> None:
    async def case() -> None:
        this = Case(FakeTts(), instant=False)
        saying = asyncio.create_task(this.parting.say("one two three four"))
        await until(lambda: this.path.utterances and this.path.utterances[0].finished)
        this.path.utterances[0].play(200)
        this.parting.cut()
        assert not await saying
        await this.end()
        (spoken,) = this.calls.of(CallSpoken)
        assert (spoken.heard, spoken.interrupted) == ("one two", True)

    run(case())
