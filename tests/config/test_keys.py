"""Unknown keys and the nearest known one."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.keys import take_unknown
from voicecall.config.schema import Config

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"streaming": {"maxConection": 1}},
            "streaming.maxConection: unknown key; did you mean streaming.maxConnections?",
        ),
        (
            {"max_duration_seconds": 1},
            "max_duration_seconds: unknown key; did you mean maxDurationSeconds?",
        ),
        (
            {"webhookSecurity": {"trustedProxyIps": []}},
            "webhookSecurity.trustedProxyIps: unknown key;"
            " did you mean webhookSecurity.trustedProxyIPs?",
        ),
        ({"Provider": "mock"}, "Provider: unknown key; did you mean provider?"),
        ({"qqqq": 1}, "qqqq: unknown key"),
        ({"": 1}, '"": unknown key'),
        (
            {"serve": {"tls": {"cret": "x"}}},
            "serve.tls.cret: unknown key; did you mean serve.tls.cert?",
        ),
        (
            {"numbers": {"+15550001234": {"tts": {"opanai": {}}}}},
            "numbers.+15550001234.tts.opanai: unknown key;"
            " did you mean numbers.+15550001234.tts.openai?",
        ),
    ],
)
def test_an_unknown_key_is_named_in_full_with_the_nearest_one(
    settings: dict[str, Any], problem: str
) -> None:
    assert take_unknown(Config, settings) == [problem]
    assert take_unknown(Config, settings) == []


def test_all_are_reported_and_taken_out_and_the_rest_stays() -> None:
    settings = {"a1": 1, "serve": {"b1": 2, "port": 1}, "numbers": {"+15550001234": 3}}
    problems = take_unknown(Config, settings)
    assert [problem.partition(":")[0] for problem in problems] == ["a1", "serve.b1"]
    assert settings == {"serve": {"port": 1}, "numbers": {"+15550001234": 3}}


def test_free_form_objects_are_not_looked_into() -> None:
    settings: dict[str, Any] = {"realtime": {"tools": [{"anything": {"goes": 1}}]}}
    assert take_unknown(Config, settings) == []
