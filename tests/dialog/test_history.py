from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.call.record import Speaker
from voicecall.dialog.history import History, Memories, SpokenText, heard_text
from voicecall.ports import Turn

pytestmark = pytest.mark.unit

SENTENCES = [SpokenText("One two three.", 1400), SpokenText("Four five six.", 1400)]


@pytest.mark.parametrize(
    ("heard_ms", "heard"),
    [
        (0, ""),
        (250, ""),
        (300, "One"),
        (1399, "One two"),
        (1400, "One two three."),
        (1900, "One two three. Four"),
        (2800, "One two three. Four five six."),
        (9999, "One two three. Four five six."),
    ],
)
def test_what_was_heard_is_cut_at_whole_words(heard_ms: int, heard: str) -> None:
    assert heard_text(SENTENCES, heard_ms) == heard


def test_a_text_without_sound_counts_as_heard() -> None:
    assert heard_text([SpokenText("hm", 0)], 0) == "hm"


@given(st.lists(st.integers(1, 3000), max_size=5), st.integers(0, 9000))
def test_hearing_longer_never_hears_less(durations: list[int], heard_ms: int) -> None:
    spoken = [SpokenText(f"some words number {at}.", ms) for at, ms in enumerate(durations)]
    shorter, longer = heard_text(spoken, heard_ms), heard_text(spoken, heard_ms + 100)
    assert longer.startswith(shorter)


def test_turns_are_remembered_in_order() -> None:
    history = History()
    history.add(Speaker.BOT, "Hello.")
    history.add(Speaker.USER, " Hi. ")
    assert history.turns == (Turn(Speaker.BOT, "Hello."), Turn(Speaker.USER, "Hi."))


def test_a_caller_who_goes_on_after_a_pause_has_one_turn() -> None:
    history = History()
    history.add(Speaker.USER, "I would like")
    history.add(Speaker.USER, "an appointment.")
    assert history.turns == (Turn(Speaker.USER, "I would like an appointment."),)


def test_what_nobody_heard_is_no_turn() -> None:
    history = History()
    history.add(Speaker.BOT, "  ")
    assert history.turns == ()


def test_the_oldest_turns_are_forgotten_beyond_the_limit() -> None:
    history = History(max_turns=3)
    for number in range(5):
        history.add(Speaker.BOT, str(number))
    assert [turn.text for turn in history.turns] == ["2", "3", "4"]


def test_the_oldest_text_is_forgotten_beyond_the_limit() -> None:
    history = History(max_characters=10)
    history.add(Speaker.BOT, "aaaaaa")
    history.add(Speaker.USER, "bbbbbb")
    assert [turn.text for turn in history.turns] == ["bbbbbb"]


def test_one_turn_alone_cannot_exceed_the_limit() -> None:
    history = History(max_characters=4)
    history.add(Speaker.USER, "abcdef")
    history.add(Speaker.USER, "gh")
    assert [turn.text for turn in history.turns] == ["f gh"]


def test_a_new_call_continues_the_memory_of_its_key() -> None:
    memories = Memories()
    memories.of("phone:1").add(Speaker.USER, "hi")
    assert [turn.text for turn in memories.of("phone:1").turns] == ["hi"]
    assert memories.of("phone:2").turns == ()


def test_the_memory_used_longest_ago_is_forgotten() -> None:
    memories = Memories(size=2)
    for key in ("a", "b", "a", "c"):
        memories.of(key).add(Speaker.BOT, key)
    assert len(memories.of("a").turns) == 2
    assert memories.of("b").turns == ()
