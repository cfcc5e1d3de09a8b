from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.carriers._pieces import pieces

pytestmark = pytest.mark.unit


def escaped(text: str) -> int:
    return len(escape(text))


@given(st.text(), st.integers(5, 40), st.sampled_from([len, escaped]))
def test_pieces_hold_the_whole_text_and_are_never_too_long(
    text: str, limit: int, length: type[int]
) -> None:
    said = pieces(text, limit, length)
    assert all(piece and length(piece) <= limit for piece in said)
    assert "".join("".join(said).split()) == "".join(text.split())


def test_cuts_are_made_between_words_where_there_are_any() -> None:
    assert pieces(" one two three four ", 9) == ["one two", "three", "four"]
    assert pieces("onetwothree", 5) == ["onetw", "othre", "e"]
    assert pieces("  ", 5) == []


def test_a_piece_is_measured_as_asked() -> None:
    assert pieces("a & b & c", 9, escaped) == ["a & b", "& c"]
