"""What is taken for a parameter, and that its schema says the same."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.control.params import Number, Text, checked
from voicecall.errors import InvalidRequest

pytestmark = pytest.mark.unit

LAST = Number("last", "How many.", 1, 1000, 20)
MODE = Text("mode", "Which.", ("notify", "conversation"))
NAME = Text("name", "Who.")


@pytest.mark.parametrize(("given", "read"), [(7, 7), ("7", 7), (" 8 ", 8), ("", 20), (None, 20)])
def test_a_number_is_taken_as_digits_too_and_has_a_default(given: object, read: int) -> None:
    assert checked({"last": given}, (), (LAST,)).numbers == {"last": read}


@pytest.mark.parametrize("given", [0, 1001, -1, "all", 1.5, True, "9" * 5000, [], {}])
def test_what_is_no_number_in_range_is_refused(given: object) -> None:
    with pytest.raises(InvalidRequest, match="last must be a whole number, 1 to 1000"):
        checked({"last": given}, (), (LAST,))


def test_texts_are_trimmed_and_empty_ones_count_as_not_given() -> None:
    assert checked({"name": "  Jo "}, (NAME,), ()).texts == {"name": "Jo"}
    assert checked({"name": "  "}, (), (NAME,)).texts == {}
    with pytest.raises(InvalidRequest, match="name and mode required"):
        checked({"name": " "}, (NAME, MODE), ())


def test_a_choice_is_one_of_those_there_are() -> None:
    assert checked({"mode": "notify"}, (), (MODE,)).texts == {"mode": "notify"}
    with pytest.raises(InvalidRequest, match="mode must be notify or conversation"):
        checked({"mode": "shout"}, (), (MODE,))


@given(st.one_of(st.integers(-5, 2000), st.text(max_size=4), st.none(), st.booleans()))
def test_what_a_schema_allows_is_taken(value: object) -> None:
    for param in (LAST, MODE, NAME):
        try:
            jsonschema.validate(value, param.schema(required=True))
        except jsonschema.ValidationError:
            continue
        if value == "" or (isinstance(value, str) and not value.strip()):
            continue
        taken = checked({param.name: value}, (param,), ())
        assert taken.texts or taken.numbers
