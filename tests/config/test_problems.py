"""Validation errors as sentences."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from voicecall.config.problems import sentences
from voicecall.config.schema import Config

pytestmark = pytest.mark.unit


def problems_of(
    settings: dict[str, Any],
    *,
    given: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
) -> list[str]:
    with pytest.raises(ValidationError) as refusal:
        Config.model_validate(settings)
    return sentences(refusal.value, given or {}, labels or {})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"streaming": {"maxConnections": 0}},
            "streaming.maxConnections: must be greater than or equal to 1",
        ),
        (
            {"mock": {"phone": "hush-hush"}},
            "mock.phone: must be 'auto', 'echo', 'busy', 'no-answer' or 'off'",
        ),
        ({"serve": 5}, "serve: must be an object, { ... }"),
        ({"numbers": [1]}, "numbers: must be an object, { ... }"),
        ({"serve": {"tls": {"cert": "c"}}}, "serve.tls.key: is required"),
        ({"telnyx": {"apiKey": ""}}, "telnyx.apiKey: must not be empty"),
        ({"twilio": {"accountSid": ""}}, "twilio.accountSid: must not be empty"),
        ({"fromNumber": "5"}, "fromNumber: must be an E.164 number such as +15550001234"),
        ({"allowFrom": ["5"]}, "allowFrom.0: must be an E.164 number such as +15550001234"),
        ({"numbers": {"5": {}}}, "numbers.5: must be an E.164 number such as +15550001234"),
        ({"surprise": 1}, "surprise: unknown key"),
        (
            {"streaming": {"streamPath": "/voice/webhook"}},
            "streaming.streamPath: must not be the same as serve.path",
        ),
    ],
)
def test_each_problem_is_a_sentence_that_begins_with_the_path(
    settings: dict[str, Any], sentence: str
) -> None:
    assert problems_of(settings) == [sentence]


def test_a_bad_value_that_others_inherit_is_reported_once_where_it_was_given() -> None:
    settings = {
        "openai": {"baseUrl": "hush-hush"},
        "numbers": {"+15550001234": {"tts": {"provider": "openai"}}},
    }
    problems = problems_of(
        settings, given={"openai.baseUrl": "file"}, labels={"openai.baseUrl": "OPENAI_BASE_URL"}
    )
    assert problems == ["openai.baseUrl (from OPENAI_BASE_URL): must be an http:// or https:// URL"]


def test_several_problems_are_several_sentences() -> None:
    settings = {"serve": {"path": "/voice/stream", "port": 3335}}
    assert problems_of(settings) == [
        "streaming.streamPath: must not be the same as serve.path",
        "streaming.port: must not be the same as serve.port (0 shares it)",
    ]
