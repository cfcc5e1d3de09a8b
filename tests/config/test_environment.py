"""Variables in strings, and credentials from the environment."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.environment import VARIABLES, expand, supply
from voicecall.config.paths import value_at

pytestmark = pytest.mark.unit


def test_references_are_replaced_in_all_strings_and_nowhere_else() -> None:
    settings = {
        "publicUrl": "https://${HOST}/x/${HOST}",
        "allowFrom": ["${NUMBER}"],
        "serve": {"port": 1, "tls": None},
        "${HOST}": True,
    }
    expanded, unset = expand(settings, {"HOST": "example.com", "NUMBER": "+15550001234"})
    assert expanded == {
        "publicUrl": "https://example.com/x/example.com",
        "allowFrom": ["+15550001234"],
        "serve": {"port": 1, "tls": None},
        "${HOST}": True,
    }
    assert not unset


def test_a_replaced_value_is_not_looked_at_again() -> None:
    expanded, _ = expand({"a": "${A}"}, {"A": "${B}", "B": "never"})
    assert expanded == {"a": "${B}"}


def test_a_doubled_dollar_and_other_dollars_stay_text() -> None:
    expanded, unset = expand({"a": "$${A} $A ${} ${1}"}, {"A": "never"})
    assert expanded == {"a": "${A} $A ${} ${1}"}
    assert not unset


def test_every_missing_variable_is_named_with_its_key() -> None:
    _, unset = expand({"a": {"b": "${GONE}"}, "c": ["x", "${LOST}"]}, {})
    assert unset == {
        "a.b": "a.b: the environment variable GONE is not set",
        "c.1": "c.1: the environment variable LOST is not set",
    }


@pytest.mark.parametrize(("path", "variable"), list(VARIABLES.items()))
def test_each_credential_can_come_from_its_variable(path: str, variable: str) -> None:
    settings: dict[str, Any] = {}
    assert supply(settings, {variable: " value\n"}) == {path: variable}
    assert value_at(settings, path) == "value"


def test_the_file_wins_and_empty_variables_count_as_missing() -> None:
    settings: dict[str, Any] = {"twilio": {"authToken": "from-file"}}
    environ = {"TWILIO_AUTH_TOKEN": "from-environment", "TWILIO_ACCOUNT_SID": " "}
    assert supply(settings, environ) == {}
    assert settings["twilio"] == {"authToken": "from-file"}


def test_the_caller_id_of_twilio_is_for_twilio_only() -> None:
    environ = {"TWILIO_FROM_NUMBER": "+15550001234"}
    assert supply({"provider": "twilio"}, environ) == {"fromNumber": "TWILIO_FROM_NUMBER"}
    assert supply({"provider": "telnyx"}, environ) == {}
    assert supply({"provider": ["twilio"]}, environ) == {}


def test_a_key_without_characters_is_named_all_the_same() -> None:
    _, problems = expand({"": "${NONE}", "serve": {"": ["${NONE}"]}}, {})
    assert list(problems.values()) == [
        '"": the environment variable NONE is not set',
        'serve."".0: the environment variable NONE is not set',
    ]
