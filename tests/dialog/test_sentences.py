from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.dialog.sentences import SentenceSplitter, plain, speakable

pytestmark = pytest.mark.unit


def split(*pieces: str) -> list[str]:
    splitter = SentenceSplitter()
    sentences = [sentence for piece in pieces for sentence in splitter.feed(piece)]
    return sentences + splitter.flush()


def test_a_sentence_is_given_as_soon_as_the_next_one_begins() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("We are open.") == []
    assert splitter.feed(" Come") == ["We are open."]
    assert splitter.flush() == ["Come"]


def test_marks_end_sentences() -> None:
    assert split("Really? Yes! Well\u2026 fine.") == ["Really?", "Yes!", "Well\u2026", "fine."]


def test_a_line_break_ends_a_sentence() -> None:
    assert split("First\nSecond") == ["First", "Second"]


def test_a_closing_quote_belongs_to_its_sentence() -> None:
    assert split('She said "come." Then she left.') == ['She said "come."', "Then she left."]


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith is in.",
        "It is 3.30 now.",
        "J. R. Miller called.",
        "Come at 9 a.m. or later.",
        "That is e.g. milk.",
        "See www.example.com for it.",
        "It costs $4.50 each.",
    ],
)
def test_a_full_stop_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert split(text) == [text]


def test_the_first_chunk_ends_at_an_early_comma() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Well, we are open, ") == ["Well, we are open,"]
    assert splitter.feed("as always, on Monday. ") == ["as always, on Monday."]


def test_a_comma_in_a_number_is_no_early_end() -> None:
    assert split("There are exactly 1,234 of them.") == ["There are exactly 1,234 of them."]


def test_text_without_end_is_cut_at_a_comma() -> None:
    text = "word " * 20 + "and here, " + "more " * 20
    first, *_ = split("Start. ", text)[1:]
    assert first.endswith("here,")


def test_text_without_any_mark_is_cut_between_words() -> None:
    sentences = split("word " * 100)
    assert all(len(sentence) <= 160 for sentence in sentences)
    assert " ".join(sentences).split() == ["word"] * 100


def test_an_endless_word_is_cut() -> None:
    assert [len(sentence) for sentence in split("x" * 400)] == [160, 160, 80]


@given(st.text('ab .,!?\n"1', max_size=400), st.integers(1, 7))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    sentences = split(*pieces)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(0 < len(sentence) <= 161 for sentence in sentences)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Bold** and *light* and `code`.", "Bold and light and code."),
        ("# Heading", "Heading"),
        ("- one", "one"),
        ("> quoted", "quoted"),
        ("See [our site](https://example.com/a?b=c).", "See our site."),
        ("Go to https://example.com/path, please.", "Go to, please."),
        ("An image ![of a cat](cat.png) here", "An image here"),
        ("```python\nx = 1\n```", "x = 1"),
        ("A <b>tag</b> here", "A tag here"),
        ("Great \U0001f600\U0001f44d!", "Great!"),
        ("snake_case stays two words", "snake case stays two words"),
        ("5 * 3 is 15", "5 * 3 is 15"),
        ("many   spaces\tand\nlines", "many spaces and lines"),
    ],
)
def test_what_cannot_be_said_is_left_out(written: str, said: str) -> None:
    assert plain(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Call 555-123-4567 now.", "Call 5 5 5, 1 2 3, 4 5 6 7 now."),
        ("Call 555-1234.", "Call 5 5 5, 1 2 3 4."),
        ("+1 (415) 555-0100", "plus 1, 4 1 5, 5 5 5, 0 1 0 0"),
        ("4155550100", "4 1 5, 5 5 5, 0 1 0 0"),
    ],
)
def test_a_telephone_number_is_said_digit_by_digit(written: str, said: str) -> None:
    assert speakable(written) == said


@pytest.mark.parametrize(
    "text",
    [
        "It costs $45.50.",
        "On 12/03/2026 at 3:30 PM.",
        "On 2026-03-12.",
        "From 2024-2025.",
        "There are 1,234,567 people.",
        "Room 1234.",
    ],
)
def test_other_numbers_stay_numbers(text: str) -> None:
    assert speakable(text) == text


@pytest.mark.parametrize("text", ["", "\U0001f600", "***", "https://example.com", "---"])
def test_text_without_words_is_not_said(text: str) -> None:
    assert speakable(text) == ""
