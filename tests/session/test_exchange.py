from __future__ import annotations

import pytest

from voicecall.call.record import Speaker
from voicecall.dialog.history import History
from voicecall.ports import Turn
from voicecall.session.exchange import Exchange
from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit

USER, BOT = Speaker.USER, Speaker.BOT


class Case:
    def __init__(self) -> None:
        self.history = History()
        self.exchange = Exchange(self.history)

    @property
    def told(self) -> list[tuple[Speaker, str]]:
        return [(turn.speaker, turn.text) for turn in self.history.turns]


def test_words_that_come_after_their_answer_began_are_remembered_before_it() -> None:
    this = Case()
    this.exchange.caller_began(100)
    this.exchange.caller_ended(TurnTiming(caller_stopped_ns=200))
    this.exchange.bot_began(300)
    this.exchange.transcribed("When do you open?", 400)
    this.exchange.bot_ended("At eight.")
    assert this.told == [(USER, "When do you open?"), (BOT, "At eight.")]


def test_words_said_over_the_bot_are_remembered_after_it() -> None:
    this = Case()
    this.exchange.bot_began(100)
    this.exchange.caller_began(200)
    this.exchange.transcribed("Mhm.", 300)
    assert this.told == []
    this.exchange.bot_ended("We open at eight.")
    assert this.told == [(BOT, "We open at eight."), (USER, "Mhm.")]


def test_a_reply_that_was_not_heard_is_no_turn() -> None:
    this = Case()
    this.exchange.bot_began(100)
    this.exchange.bot_ended("")
    assert this.history.turns == ()


def test_one_reply_answers_a_turn_and_those_that_follow_answer_nothing() -> None:
    this = Case()
    assert this.exchange.take_timing() == TurnTiming()
    timing = TurnTiming(caller_stopped_ns=200)
    this.exchange.caller_ended(timing)
    assert this.exchange.take_timing() is timing
    assert this.exchange.take_timing() == TurnTiming()


def test_a_caller_who_goes_on_is_answered_once() -> None:
    this = Case()
    this.exchange.caller_ended(TurnTiming(caller_stopped_ns=200))
    newer = TurnTiming(caller_stopped_ns=900)
    this.exchange.caller_ended(newer)
    assert this.exchange.take_timing() is newer


@pytest.mark.parametrize(
    ("timing", "final_ns"),
    [
        (TurnTiming(caller_stopped_ns=200), 500),
        (TurnTiming(caller_stopped_ns=200, first_token_ns=400), None),
        (TurnTiming(caller_stopped_ns=200, first_audio_ns=400), None),
        (TurnTiming(caller_stopped_ns=200, final_ns=300), 300),
    ],
)
def test_a_transcript_is_a_step_of_an_answer_that_came_after_it(
    timing: TurnTiming, final_ns: int | None
) -> None:
    this = Case()
    this.exchange.caller_ended(timing)
    this.exchange.transcribed("Hello?", 500)
    assert timing.final_ns == final_ns


def test_words_without_a_known_end_are_remembered_all_the_same() -> None:
    this = Case()
    this.exchange.transcribed("Hello?", 500)
    assert this.history.turns == (Turn(USER, "Hello?"),)


def test_a_new_turn_is_not_answered_and_not_apologised_for() -> None:
    this = Case()
    this.exchange.answered = this.exchange.apologised = True
    this.exchange.caller_began(100)
    assert not this.exchange.answered
    assert this.exchange.apologised
    this.exchange.answered = True
    this.exchange.caller_ended(TurnTiming())
    assert not this.exchange.answered
    assert not this.exchange.apologised
