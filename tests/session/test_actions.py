from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import FakeCalls, FakePath, Identity, run, until
from voicecall.call.events import CallActive, CallErrored
from voicecall.call.record import CallState
from voicecall.clock import ManualClock
from voicecall.errors import CarrierError
from voicecall.ports import PCM16_8K, HangUp, PressKeys, ReplyText, Transfer
from voicecall.session import actions
from voicecall.session.actions import Actions
from voicecall.session.equipment import Surroundings
from voicecall.session.rendition import Channel
from voicecall.session.unending import Unending
from voicecall.session.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.errors import VoicecallError
    from voicecall.session.reply import Action

pytestmark = pytest.mark.unit


class Case:
    """A model that is silent until a test says something, and what it does on the call."""

    def __init__(self) -> None:
        self.calls = FakeCalls()
        self.ended: list[CallState] = []
        self.transfers: list[tuple[str, Callable[[VoicecallError], None]]] = []
        self.answers: list[str] = []
        clock = ManualClock()
        channel = Channel(FakePath(), PCM16_8K, Identity, clock)
        self.output = Unending(channel, on_begin=lambda _: None, on_end=lambda _: None)
        self.work = Work("call-1", self.calls, clock)
        surroundings = Surroundings(
            calls=self.calls,
            clock=clock,
            convert=Identity,
            end=lambda _, reason: self.ended.append(reason),
            transfer=lambda _, to, on_failure: self.transfers.append((to, on_failure)),
            on_turn=lambda _: None,
            on_cleared=lambda _: None,
            on_closed=lambda _: None,
        )
        self.actions = Actions(self.output, self.work, surroundings)

    def perform(self, action: Action, *, answered: bool = True) -> asyncio.Task[None]:
        work = self.actions.perform(action, "Done.", self.answers.append, answered=answered)
        return asyncio.create_task(work)

    def speak(self) -> None:
        self.output.add(ReplyText("live", "Goodbye."))

    def fall_silent(self) -> None:
        self.output.caller_spoke()

    async def end(self) -> None:
        self.output.finish()
        await self.work.stop()
        await self.work.finish()


def test_a_call_is_ended_when_the_farewell_was_heard_and_the_model_is_told_nothing() -> None:
    async def case() -> None:
        this = Case()
        this.speak()
        performing = this.perform(HangUp())
        await asyncio.sleep(0)
        assert not this.ended
        this.fall_silent()
        await performing
        assert this.ended == [CallState.HANGUP_BOT]
        assert this.answers == []
        await this.end()

    run(case())


def test_what_was_said_last_is_recorded_before_the_call_ends() -> None:
    async def case() -> None:
        this = Case()
        this.work.report(CallActive)
        await this.actions.hang_up(CallState.ERROR)
        assert this.calls.of(CallActive)
        assert this.ended == [CallState.ERROR]
        await this.end()

    run(case())


def test_a_model_that_hangs_up_without_a_word_is_given_the_chance_of_one() -> None:
    async def case() -> None:
        this = Case()
        performing = this.perform(HangUp(), answered=False)
        await until(lambda: this.answers)
        assert not this.ended
        this.speak()
        await asyncio.sleep(0)
        assert not this.ended
        this.fall_silent()
        await performing
        assert this.ended == [CallState.HANGUP_BOT]
        assert this.answers == ["Done."]
        await this.end()

    run(case())


def test_which_it_need_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        this = Case()
        await this.perform(HangUp(), answered=False)
        assert this.ended == [CallState.HANGUP_BOT]
        await this.end()

    monkeypatch.setattr(actions, "_FAREWELL_TIMEOUT_S", 0.01)
    run(case())


@pytest.mark.parametrize("action", [HangUp(), PressKeys("5"), Transfer("+15550009")])
def test_a_caller_who_interrupts_keeps_it_from_being_done(action: Action) -> None:
    async def case() -> None:
        this = Case()
        this.speak()
        performing = this.perform(action)
        await asyncio.sleep(0)
        this.actions.interrupted()
        this.output.interrupt()
        await performing
        assert (this.ended, this.calls.keys, this.transfers) == ([], [], [])
        assert this.answers == ["Not done: the caller spoke in between."]
        await this.end()

    run(case())


def test_keys_are_sent_after_what_was_said_and_the_model_goes_on() -> None:
    async def case() -> None:
        this = Case()
        this.speak()
        performing = this.perform(PressKeys("12#"))
        await asyncio.sleep(0)
        assert not this.calls.keys
        this.fall_silent()
        await performing
        assert this.calls.keys == [("call-1", "12#")]
        assert this.answers == ["Done."]
        await this.end()

    run(case())


def test_keys_that_cannot_be_sent_are_told_to_everybody() -> None:
    async def case() -> None:
        async def refuse(_: str) -> None:
            raise CarrierError("no")

        this = Case()
        this.calls.send = refuse
        await this.perform(PressKeys("1"))
        assert this.answers == ["Not done: the keys could not be sent."]
        await this.work.flushed()
        assert this.calls.of(CallErrored)
        await this.end()

    run(case())


def test_a_call_is_handed_on_and_the_model_hears_only_if_it_fails() -> None:
    async def case() -> None:
        this = Case()
        await this.perform(Transfer("+15550009"))
        ((to, on_failure),) = this.transfers
        assert (to, this.answers) == ("+15550009", [])
        on_failure(CarrierError("busy"))
        assert "could not be handed on" in this.answers[0]
        await this.work.flushed()
        assert this.calls.of(CallErrored)
        await this.end()

    run(case())


def test_a_transfer_that_fails_after_the_call_ended_changes_nothing() -> None:
    async def case() -> None:
        this = Case()
        await this.perform(Transfer("+15550009"))
        this.actions.close()
        this.transfers[0][1](CarrierError("gone"))
        assert this.answers == []
        await this.end()
        assert not this.calls.of(CallErrored)

    run(case())
