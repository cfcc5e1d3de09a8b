"""What a model passes."""

from __future__ import annotations

import json
import re

import pytest

from voicecall.agent.arguments import MAX_LENGTH, Param, checked, parsed
from voicecall.errors import InvalidRequest

pytestmark = pytest.mark.unit

CALL_ID = Param("callId", "Which call.", 20)
MODE = Param("mode", "How.", 20, choices=("notify", "conversation"))
TO = Param("to", "Whom.", 20, pattern=r"^\+[0-9]+$")


def test_json_and_objects_are_taken_alike() -> None:
    given = {"callId": "c-1", "mode": None}
    assert parsed(json.dumps(given)) == parsed(given) == given


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (None, "must be a JSON object"),
        (7, "must be a JSON object"),
        ([], "must be a JSON object"),
        ("[1, 2]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("", "are not valid JSON"),
        ('{"callId":', "are not valid JSON"),
        ("[" * 50_000, "are not valid JSON"),
        (" " * (MAX_LENGTH + 1), f"must have at most {MAX_LENGTH} characters"),
    ],
)
def test_what_is_no_object_is_refused(arguments: object, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"the arguments {complaint}")):
        parsed(arguments)


def test_values_are_trimmed_and_empty_ones_are_not_given() -> None:
    given = {"callId": " c-1\n", "mode": "  ", "to": None}
    assert checked(given, (CALL_ID, MODE, TO), ("callId",)) == {"callId": "c-1"}


def test_what_is_missing_is_named_together() -> None:
    with pytest.raises(InvalidRequest, match=r"^callId and to required$") as caught:
        checked({"callId": "c-1"}, (CALL_ID, TO), ("callId", "to"))
    assert caught.value.call_id == "c-1"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (5, "mode must be a string"),
        (["notify"], "mode must be a string"),
        ({}, "mode must be a string"),
        (True, "mode must be a string"),
        ("notfy", "mode must be notify or conversation"),
    ],
)
def test_what_is_wrong_is_named(value: object, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{complaint}$"):
        checked({"mode": value}, (MODE,), ())


def test_a_value_has_at_most_its_length_after_trimming() -> None:
    assert CALL_ID.check("  " + "x" * 20 + "  ") == "x" * 20
    with pytest.raises(InvalidRequest, match="callId must have at most 20 characters"):
        CALL_ID.check("x" * 21)


def test_half_a_character_is_refused() -> None:
    broken = parsed('{"callId": "\\ud800"}')
    with pytest.raises(InvalidRequest, match="callId holds characters that are none"):
        checked(broken, (CALL_ID,), ())


def test_schemas_say_what_is_checked() -> None:
    assert MODE.schema() == {
        "type": "string",
        "description": "How.",
        "enum": ["notify", "conversation"],
    }
    assert CALL_ID.schema()["maxLength"] == 20
    assert TO.schema()["pattern"] == TO.pattern
