from __future__ import annotations

import itertools

import pytest

from voicecall.clock import NS_PER_MS
from voicecall.dialog.activity import Activity
from voicecall.dialog.turns import (
    TRANSITIONS,
    BargeIn,
    Hold,
    Interrupt,
    Resume,
    TurnInput,
    Turns,
    TurnState,
    UserTurn,
)
from voicecall.errors import IllegalTransition

pytestmark = pytest.mark.unit

RULES = BargeIn(min_speech_ms=200, confirm_speech_ms=1000, resume_after_ms=500)


def ms(value: float) -> int:
    return round(value * NS_PER_MS)


def heard(*levels: tuple[float, float]) -> Activity:
    """A caller who is so loud, in dBFS, for so many milliseconds, one after another from 0 on.

    Before, the line was quiet.
    """
    activity, now_ms = Activity(), -3000.0
    for duration_ms, level_dbfs in ((3000, -62), *levels):
        for _ in range(round(duration_ms / 20)):
            now_ms += 20
            activity.feed([], [level_dbfs], ms(now_ms))
    return activity


LOUD = heard((4000, -20))
SOFT = heard((4000, -55))


def playing(barge_in: BargeIn = RULES, *, protected: bool = False) -> Turns:
    turns = Turns(barge_in)
    turns.bot_started(0, protected=protected)
    return turns


def held(barge_in: BargeIn = RULES) -> Turns:
    """The caller began to speak at 0, and at 200 ms the bot fell silent."""
    turns = playing(barge_in)
    turns.speech_started(0)
    assert turns.elapsed(ms(200), LOUD) == (Hold(),)
    assert turns.state is TurnState.HELD
    return turns


# --- the table -----------------------------------------------------------------------------------


def test_every_pair_of_state_and_input_is_decided_except_playing_twice() -> None:
    silent = {TurnState.IDLE, TurnState.HEARING}
    begins = {TurnInput.PLAY, TurnInput.PLAY_PROTECTED}
    every = set(itertools.product(TurnState, TurnInput))
    assert every - set(TRANSITIONS) == set(itertools.product(set(TurnState) - silent, begins))


def test_every_state_can_be_reached_and_left() -> None:
    entered = {after for (before, _), (_, after) in TRANSITIONS.items() if before is not after}
    left = {before for (before, _), (_, after) in TRANSITIONS.items() if before is not after}
    assert entered == left == set(TurnState)


def test_nothing_interrupts_a_bot_that_is_silent_or_protected() -> None:
    free = {TurnState.IDLE, TurnState.HEARING, TurnState.GREETING, TurnState.GREETING_OVERLAP}
    for (state, happened), (action, _) in TRANSITIONS.items():
        if state in free:
            assert action in ("nothing", "turn"), (state, happened)


def test_a_bot_is_held_by_a_hold_only_and_leaves_it_by_a_decision_or_its_end() -> None:
    waiting = {TurnState.HELD, TurnState.HELD_SILENT}
    for (state, happened), (action, after) in TRANSITIONS.items():
        assert (action == "hold") == (state not in waiting and after in waiting), (state, happened)
        if state in waiting and after not in waiting and happened is not TurnInput.PLAYED:
            assert action in ("resume", "interrupt", "interrupt_and_turn"), (state, happened)


def test_starting_to_play_twice_is_our_own_bug() -> None:
    turns = playing()
    with pytest.raises(IllegalTransition, match="play"):
        turns.bot_started(1)


# --- while the bot is silent ---------------------------------------------------------------------


def test_a_final_transcript_is_a_turn_when_the_bot_is_silent() -> None:
    turns = Turns()
    turns.speech_started(0)
    turns.speech_stopped(ms(900))
    assert turns.final(" When do you open? ", ms(1000)) == (UserTurn("When do you open?"),)


def test_a_yes_is_a_turn_when_the_bot_is_silent() -> None:
    assert Turns().final("Yes.", 0) == (UserTurn("Yes."),)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_transcript_is_nothing(text: str) -> None:
    assert Turns().final(text, 0) == ()
    assert playing().final(text, 0) == ()
    assert playing().partial(text, 0) == ()


# --- falling silent ------------------------------------------------------------------------------


def test_speech_over_the_bot_silences_it_once_it_has_lasted() -> None:
    turns = playing()
    assert turns.speech_started(ms(1000)) == ()
    assert turns.deadline_ns == ms(1200)
    assert turns.elapsed(ms(1199), LOUD) == ()
    assert turns.elapsed(ms(1200), LOUD) == (Hold(),)
    assert turns.state is TurnState.HELD


def test_soft_speech_does_not_silence_it_until_it_becomes_loud() -> None:
    turns = playing()
    turns.speech_started(0)
    activity = heard((300, -55), (200, -20))
    assert turns.elapsed(ms(200), SOFT) == ()
    assert turns.deadline_ns == ms(220)
    assert turns.elapsed(ms(500), activity) == (Hold(),)


def test_a_sound_that_is_over_before_it_is_noticed_as_speech_does_not_silence_it() -> None:
    turns = playing()
    turns.speech_started(ms(1000))
    turns.speech_stopped(ms(1100))
    assert turns.deadline_ns is None
    assert turns.elapsed(ms(1500), LOUD) == ()
    assert turns.state is TurnState.PLAYING


def test_speech_that_was_there_first_counts_from_where_the_bot_begins() -> None:
    turns = Turns(RULES)
    turns.speech_started(0)
    turns.bot_started(ms(5000))
    assert turns.state is TurnState.OVERLAP
    assert turns.deadline_ns == ms(5200)


def test_words_alone_interrupt_where_nobody_says_that_speech_began() -> None:
    assert playing().partial("could you", 0) == (Interrupt(),)
    assert playing().final("could you repeat that", 0) == (
        Interrupt(),
        UserTurn("could you repeat that"),
    )


# --- what a silence is for -----------------------------------------------------------------------


def test_words_that_mean_something_confirm_an_interruption() -> None:
    turns = held()
    assert turns.partial("uh-huh", ms(600)) == ()
    assert turns.partial("uh-huh could you", ms(800)) == (Interrupt(),)
    assert turns.state is TurnState.HEARING
    assert turns.deadline_ns is None


def test_going_on_confirms_an_interruption_without_words() -> None:
    turns = held()
    activity = heard((1100, -20))
    assert turns.elapsed(ms(900), heard((900, -20))) == ()
    assert turns.elapsed(ms(1100), activity) == (Interrupt(),)


def test_an_interruption_is_told_once() -> None:
    turns = held()
    assert turns.elapsed(ms(1500), LOUD) == (Interrupt(),)
    assert turns.elapsed(ms(1600), LOUD) == ()
    assert turns.partial("I have a question", ms(1700)) == ()
    turns.bot_finished()
    turns.speech_stopped(ms(2500))
    assert turns.final("I have a question", ms(2600)) == (UserTurn("I have a question"),)


def test_a_cough_is_over_and_the_bot_goes_on() -> None:
    turns = held()
    activity = heard((300, -20), (3000, -62))
    assert turns.elapsed(ms(780), activity) == ()
    assert turns.elapsed(ms(820), activity) == (Resume(),)
    turns.speech_stopped(ms(1100))
    assert turns.state is TurnState.PLAYING


def test_after_it_went_on_the_bot_can_be_silenced_again() -> None:
    turns = held()
    quiet = heard((300, -20), (600, -62))
    assert turns.elapsed(ms(820), quiet) == (Resume(),)
    assert turns.elapsed(ms(1100), heard((300, -20), (800, -62))) == ()
    assert turns.elapsed(ms(1500), heard((300, -20), (900, -62), (300, -20))) == (Hold(),)


def test_after_a_murmur_a_short_pause_is_enough_to_go_on() -> None:
    turns = held()
    activity = heard((300, -20), (3000, -62))
    assert turns.partial("mhm", ms(640)) == ()
    assert turns.elapsed(ms(660), activity) == (Resume(),)


def test_when_the_recogniser_says_so_first_words_are_still_waited_for() -> None:
    turns = held()
    assert turns.speech_stopped(ms(600)) == ()
    assert turns.deadline_ns == ms(1100)
    assert turns.elapsed(ms(1100), LOUD) == (Resume(),)
    assert turns.state is TurnState.PLAYING


def test_a_caller_who_begins_anew_while_words_are_waited_for_goes_on_interrupting() -> None:
    turns = held()
    turns.speech_stopped(ms(600))
    turns.speech_started(ms(700))
    assert turns.state is TurnState.HELD
    # What he has said before counts as well.
    assert turns.elapsed(ms(1100), heard((600, -20), (100, -62), (460, -20))) == (Interrupt(),)


@pytest.mark.parametrize("murmur", ["Uh-huh.", "Yeah, okay", "mm-hmm", "I see.", "Right!", "E."])
def test_a_murmur_over_the_bot_is_no_turn(murmur: str) -> None:
    turns = playing()
    assert turns.final(murmur, 0) == ()
    assert turns.state is TurnState.PLAYING
    turns = held()
    assert turns.final(murmur, ms(900)) == (Resume(),)
    turns = held()
    turns.speech_stopped(ms(900))
    assert turns.final(murmur, ms(950)) == (Resume(),)
    assert turns.state is TurnState.PLAYING


def test_a_partial_murmur_after_the_caller_stopped_lets_the_bot_go_on_at_once() -> None:
    turns = held()
    turns.speech_stopped(ms(900))
    assert turns.partial("okay", ms(950)) == (Resume(),)


def test_what_was_understood_as_nothing_does_not_count_as_going_on() -> None:
    turns = held()
    assert turns.partial("", ms(900)) == ()
    assert turns.elapsed(ms(1200), heard((1200, -20))) == ()
    assert turns.elapsed(ms(2000), heard((2000, -20))) == (Interrupt(),)


def test_nobody_is_kept_waiting_for_ever() -> None:
    turns = held(BargeIn(min_speech_ms=200, confirm_speech_ms=60_000))
    mumbling = [(100, -20.0), (100, -62.0)] * 31
    assert turns.elapsed(ms(6000), heard(*mumbling[:60])) == ()
    assert turns.elapsed(ms(6200), heard(*mumbling)) == (Resume(),)


def test_where_the_bot_is_not_to_wait_it_is_interrupted_at_once() -> None:
    turns = held(BargeIn(min_speech_ms=200, confirm_speech_ms=200))
    assert turns.elapsed(ms(200), LOUD) == (Interrupt(),)


def test_a_final_transcript_confirms_and_is_a_turn() -> None:
    turns = held()
    turns.speech_stopped(ms(900))
    assert turns.final("Stop.", ms(950)) == (Interrupt(), UserTurn("Stop."))
    assert turns.state is TurnState.IDLE


def test_what_is_held_may_end_by_itself() -> None:
    turns = held()
    turns.bot_finished()
    assert turns.state is TurnState.HEARING
    assert turns.deadline_ns is None


# --- which words ---------------------------------------------------------------------------------


def test_a_single_word_over_the_bot_is_taken_for_a_murmur_unless_it_is_known_to_interrupt() -> None:
    assert playing().final("Icy.", 0) == ()
    assert playing().final("Wait!", 0) == (Interrupt(), UserTurn("Wait!"))
    assert playing().final("Two tickets.", 0) == (Interrupt(), UserTurn("Two tickets."))


def test_where_the_bots_own_voice_may_be_among_them_more_words_are_needed() -> None:
    assert playing().final("Two tickets.", 0, doubtful=True) == ()
    assert playing().partial("two tickets", 0, doubtful=True) == ()
    assert playing().final("Two tickets please.", 0, doubtful=True) != ()


def test_how_many_and_which_words_can_be_chosen() -> None:
    rules = BargeIn(min_words=1, interrupting=("basta",), back_channels=("ja", "Ach so"))
    assert playing(rules).final("Ja, ach so.", 0) == ()
    assert playing(rules).final("yeah", 0) == (Interrupt(), UserTurn("yeah"))
    assert playing(BargeIn(interrupting=("basta",))).final("basta", 0) != ()
    assert playing(BargeIn(interrupting=("basta",))).final("stop", 0) == ()


def test_a_murmur_over_the_last_words_of_a_question_answers_it() -> None:
    turns = playing()
    assert turns.final("Yes.", 0, bot_ends=True) == (UserTurn("Yes."),)
    assert turns.state is TurnState.PLAYING
    assert held().final("Yes.", ms(900), bot_ends=True) == (Interrupt(), UserTurn("Yes."))


# --- what may not be interrupted -----------------------------------------------------------------


def test_a_greeting_is_protected_only_while_it_plays() -> None:
    turns = playing(protected=True)
    turns.speech_started(0)
    assert turns.deadline_ns is None
    assert turns.elapsed(ms(1000), LOUD) == ()
    turns.bot_finished()
    assert turns.state is TurnState.HEARING
    turns.bot_started(ms(2000))
    assert turns.elapsed(ms(2200), LOUD) == (Hold(),)


def test_hello_over_the_greeting_is_no_turn_but_a_question_is() -> None:
    turns = playing(protected=True)
    assert turns.final("Hello?", 0) == ()
    assert turns.final("Are you open?", 0) == (UserTurn("Are you open?"),)


def test_hello_over_anything_else_is_a_turn() -> None:
    assert playing().final("Hello?", 0) == (Interrupt(), UserTurn("Hello?"))


def test_a_key_interrupts_but_not_a_greeting() -> None:
    assert playing().key_pressed() == (Interrupt(),)
    assert held().key_pressed() == (Interrupt(),)
    assert playing(protected=True).key_pressed() == ()
    assert Turns().key_pressed() == ()


def test_without_barge_in_the_bot_always_finishes() -> None:
    turns = playing(BargeIn(enabled=False))
    turns.speech_started(0)
    assert turns.partial("please stop", 0) == ()
    assert turns.final("please stop", 0) == (UserTurn("please stop"),)
    assert turns.state is TurnState.GREETING_OVERLAP


def test_the_late_end_of_a_cut_playback_changes_nothing() -> None:
    turns = held()
    turns.elapsed(ms(1500), LOUD)
    assert turns.bot_finished() == ()
    assert turns.state is TurnState.HEARING
