from __future__ import annotations

import pytest

from voicecall.simulator.spelling import normalise

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Hello, World!", "hello world"),
        ("See you to-day and to-morrow.", "see you today and tomorrow"),
        ("Good-by! Good-bye? Goodbye.", "goodbye good bye goodbye"),
        ("at 10:30", "at ten thirty"),
        ("March 3rd", "march three"),
        ("Tuesday, March third", "tuesday march three"),
        ("the twentieth and the twenty-first", "the twenty and the twenty one"),
        ("25 people, 10,000 words", "twenty five people ten thousand words"),
        ("room 512", "room five hundred twelve"),
        ("in 2026 or 1999", "in twenty twenty six or nineteen ninety nine"),
        ("code 007", "code zero zero seven"),
        ("phone 5551234", "phone five five five one two three four"),
        ("I'm sure they don't", "i am sure they do not"),
        ("Don\u2019t", "do not"),
        ("OK, okay", "ok ok"),
        ("", ""),
    ],
)
def test_there_is_one_spelling(written: str, words: str) -> None:
    assert normalise(written) == words.split()
