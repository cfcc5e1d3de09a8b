from __future__ import annotations

import itertools

import pytest

from voicecall.clock import NS_PER_MS
from voicecall.dialog.turns import (
    TRANSITIONS,
    BargeIn,
    Interrupt,
    TurnInput,
    Turns,
    TurnState,
    UserTurn,
)
from voicecall.errors import IllegalTransition

pytestmark = pytest.mark.unit

LOUD = -20.0


def ms(value: float) -> int:
    return round(value * NS_PER_MS)


def playing(barge_in: BargeIn | None = None, *, protected: bool = False) -> Turns:
    turns = Turns(barge_in)
    turns.bot_started(0, protected=protected)
    return turns


def test_every_pair_of_state_and_input_is_decided_except_playing_twice() -> None:
    bot_plays = {
        TurnState.PLAYING,
        TurnState.OVERLAP,
        TurnState.GREETING,
        TurnState.GREETING_OVERLAP,
    }
    begins = {TurnInput.PLAY, TurnInput.PLAY_PROTECTED}
    every = set(itertools.product(TurnState, TurnInput))
    assert every - set(TRANSITIONS) == set(itertools.product(bot_plays, begins))


def test_every_state_can_be_reached_and_left() -> None:
    entered = {after for (before, _), (_, after) in TRANSITIONS.items() if before is not after}
    left = {before for (before, _), (_, after) in TRANSITIONS.items() if before is not after}
    assert entered == left == set(TurnState)


def test_nothing_interrupts_a_bot_that_is_silent() -> None:
    for (state, happened), (action, _) in TRANSITIONS.items():
        if state in (TurnState.IDLE, TurnState.HEARING):
            assert "interrupt" not in action, (state, happened)


def test_nothing_interrupts_a_protected_greeting() -> None:
    for (state, happened), (action, _) in TRANSITIONS.items():
        if state in (TurnState.GREETING, TurnState.GREETING_OVERLAP):
            assert "interrupt" not in action, (state, happened)


def test_starting_to_play_twice_is_our_own_bug() -> None:
    turns = playing()
    with pytest.raises(IllegalTransition, match="play"):
        turns.bot_started(1)


def test_a_final_transcript_is_a_turn_when_the_bot_is_silent() -> None:
    turns = Turns()
    turns.speech_started(0)
    turns.speech_stopped()
    assert turns.final(" When do you open? ") == (UserTurn("When do you open?"),)


def test_a_yes_is_a_turn_when_the_bot_is_silent() -> None:
    assert Turns().final("Yes.") == (UserTurn("Yes."),)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_transcript_is_nothing(text: str) -> None:
    assert Turns().final(text) == ()
    assert playing().final(text) == ()


def test_speech_over_the_bot_interrupts_once_it_has_lasted() -> None:
    turns = playing(BargeIn(min_speech_ms=200))
    assert turns.speech_started(ms(1000)) == ()
    assert turns.deadline_ns == ms(1200)
    assert turns.elapsed(ms(1199), LOUD) == ()
    assert turns.elapsed(ms(1200), LOUD) == (Interrupt(),)
    assert turns.state is TurnState.HEARING
    assert turns.deadline_ns is None


def test_an_interruption_is_told_once() -> None:
    turns = playing(BargeIn(min_speech_ms=200))
    turns.speech_started(0)
    assert turns.elapsed(ms(200), LOUD) == (Interrupt(),)
    assert turns.elapsed(ms(300), LOUD) == ()
    assert turns.partial("I have a question") == ()


def test_a_cough_over_the_bot_does_not_interrupt() -> None:
    turns = playing(BargeIn(min_speech_ms=200))
    turns.speech_started(0)
    turns.speech_stopped()
    assert turns.deadline_ns is None
    assert turns.elapsed(ms(500), LOUD) == ()
    assert turns.state is TurnState.PLAYING


def test_soft_speech_does_not_interrupt_until_it_becomes_loud() -> None:
    turns = playing(BargeIn(min_speech_ms=200, min_level_dbfs=-45))
    turns.speech_started(0)
    assert turns.elapsed(ms(200), -60) == ()
    assert turns.deadline_ns == ms(300)
    assert turns.elapsed(ms(300), -30) == (Interrupt(),)


def test_words_interrupt_before_the_time_is_over() -> None:
    turns = playing(BargeIn(min_speech_ms=1000))
    turns.speech_started(0)
    assert turns.partial("uh-huh") == ()
    assert turns.partial("uh-huh but wait") == (Interrupt(),)


@pytest.mark.parametrize("murmur", ["Uh-huh.", "Yeah, okay", "mm-hmm", "I see.", "Right!"])
def test_a_murmur_over_the_bot_is_no_turn(murmur: str) -> None:
    turns = playing()
    turns.speech_started(0)
    turns.speech_stopped()
    assert turns.final(murmur) == ()
    assert turns.state is TurnState.PLAYING


def test_words_that_mean_something_interrupt_and_are_a_turn() -> None:
    turns = playing()
    turns.speech_started(0)
    turns.speech_stopped()
    assert turns.final("Stop.") == (Interrupt(), UserTurn("Stop."))
    assert turns.state is TurnState.IDLE


def test_the_words_of_an_interruption_are_one_turn() -> None:
    turns = playing()
    turns.speech_started(0)
    turns.elapsed(ms(300), LOUD)
    turns.bot_finished()
    turns.speech_stopped()
    assert turns.final("What about Sunday?") == (UserTurn("What about Sunday?"),)


def test_speech_that_was_there_first_counts_from_where_the_bot_begins() -> None:
    turns = Turns(BargeIn(min_speech_ms=200))
    turns.speech_started(0)
    turns.bot_started(ms(5000))
    assert turns.state is TurnState.OVERLAP
    assert turns.deadline_ns == ms(5200)


def test_a_greeting_is_protected_only_while_it_plays() -> None:
    turns = playing(BargeIn(min_speech_ms=200), protected=True)
    turns.speech_started(0)
    assert turns.deadline_ns is None
    assert turns.elapsed(ms(1000), LOUD) == ()
    turns.bot_finished()
    assert turns.state is TurnState.HEARING
    turns.bot_started(ms(2000))
    assert turns.elapsed(ms(2200), LOUD) == (Interrupt(),)


def test_hello_over_the_greeting_is_no_turn_but_a_question_is() -> None:
    turns = playing(protected=True)
    assert turns.final("Hello?") == ()
    assert turns.final("Are you open?") == (UserTurn("Are you open?"),)


def test_hello_over_anything_else_is_a_turn() -> None:
    assert playing().final("Hello?") == (Interrupt(), UserTurn("Hello?"))


def test_a_key_interrupts_but_not_a_greeting() -> None:
    assert playing().key_pressed() == (Interrupt(),)
    assert playing(protected=True).key_pressed() == ()
    assert Turns().key_pressed() == ()


def test_without_barge_in_the_bot_always_finishes() -> None:
    turns = playing(BargeIn(enabled=False))
    turns.speech_started(0)
    assert turns.partial("please stop") == ()
    assert turns.final("please stop") == (UserTurn("please stop"),)
    assert turns.state is TurnState.GREETING_OVERLAP


def test_the_late_end_of_a_cut_playback_changes_nothing() -> None:
    turns = playing()
    turns.speech_started(0)
    turns.elapsed(ms(300), LOUD)
    assert turns.bot_finished() == ()
    assert turns.state is TurnState.HEARING
