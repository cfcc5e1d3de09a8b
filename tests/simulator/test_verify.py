from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.simulator.verify import check_transcript

pytestmark = pytest.mark.unit

SENTENCES = st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), max_size=5)


def test_the_same_words_in_other_spellings_are_right() -> None:
    check = check_transcript(
        ["We open at ten thirty to-day.", "You pressed five."],
        ["we open at 10:30 today", "You pressed 5"],
    )
    assert check.errors == 0
    assert check.words == 9


def test_replaced_missing_and_added_words_are_errors_of_their_utterance() -> None:
    check = check_transcript(
        ["one two three", "red green blue", "left right"],
        ["one two four", "red blue", "left right now"],
    )
    assert [(u.words, u.errors) for u in check.utterances] == [(3, 1), (3, 1), (2, 1)]
    assert [u.heard for u in check.utterances] == ["one two four", "red blue", "left right now"]
    assert check.error_rate == pytest.approx(3 / 8)
    assert check.utterances[2].error_rate == pytest.approx(1 / 2)


def test_it_does_not_matter_where_the_recogniser_cut() -> None:
    said = ["hello there friend", "how are you", "goodbye"]
    assert check_transcript(said, ["hello", "there friend how are", "you goodbye"]).errors == 0


def test_words_written_together_or_apart_are_right() -> None:
    assert check_transcript(["health checks for all"], ["healthchecks for"]).errors == 1
    assert check_transcript(["an X-ray for grownups"], ["an xray for grown ups"]).errors == 0


def test_an_utterance_nobody_heard_is_all_errors() -> None:
    check = check_transcript(["hello", "nobody hears this", "goodbye"], ["hello", "goodbye"])
    assert [u.errors for u in check.utterances] == [0, 3, 0]


def test_words_that_nobody_said_are_errors() -> None:
    assert check_transcript([], ["spooky voice"]).errors == 2
    assert check_transcript([""], ["spooky voice"]).errors == 2


@given(SENTENCES, SENTENCES)
def test_every_word_heard_is_given_to_one_utterance(said: list[str], heard: list[str]) -> None:
    check = check_transcript(said, heard)
    if said:
        words = [word for u in check.utterances for word in u.heard.split()]
        assert words == [word for text in heard for word in text.split()]
    total_heard = sum(len(text.split()) for text in heard)
    assert abs(check.words - total_heard) <= check.errors <= max(check.words, total_heard)


@given(SENTENCES)
def test_what_was_said_is_understood_without_errors(said: list[str]) -> None:
    check = check_transcript(said, said)
    assert check.errors == 0
    assert [u.heard.split() for u in check.utterances] == [text.split() for text in said]
