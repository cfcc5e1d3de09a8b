from __future__ import annotations

import inspect
import re

import pytest

from voicecall import errors
from voicecall.errors import CallError, CarrierError, ConfigError, VoicecallError

pytestmark = pytest.mark.unit


def tree(error: type[VoicecallError], depth: int = 0) -> list[tuple[int, str]]:
    # Adapters have finer ones of their own, which nobody else catches.
    public = [child for child in error.__subclasses__() if child.__module__ == errors.__name__]
    below = [line for child in public for line in tree(child, depth + 1)]
    return [(depth, error.__name__), *below]


def test_the_tree_that_is_drawn_is_the_tree_there_is() -> None:
    drawing = inspect.getdoc(errors) or ""
    drawn = [
        (len(line["branches"]) // 4, line["name"])
        for line in re.finditer(r"^ {4}(?P<branches>[│├└─ ]*)(?P<name>\w+)", drawing, re.MULTILINE)
    ]
    assert drawn == tree(VoicecallError)


def test_codes_of_call_errors_differ() -> None:
    codes = [error.code for error in CallError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert CallError.code not in codes


def test_a_call_error_knows_its_call() -> None:
    assert CallError("no", call_id="c-1").call_id == "c-1"


def test_a_configuration_error_lists_its_problems() -> None:
    error = ConfigError("a: wrong", "b: missing")
    assert error.problems == ("a: wrong", "b: missing")
    assert str(error) == "a: wrong\nb: missing"


@pytest.mark.parametrize(
    ("status", "code"), [(None, "carrier_unreachable"), (21211, "carrier_refused")]
)
def test_a_carrier_that_answered_has_refused(status: int | None, code: str) -> None:
    assert CarrierError("no", status=status).code == code
