"""What is asked of every carrier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import loaded
from voicecall.clock import SystemClock
from voicecall.diagnosis.vendors.carrier import (
    Question,
    api_base_url,
    questions,
    reported_elsewhere,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

ACCOUNTS: dict[str, dict[str, Any]] = {
    "twilio": {"accountSid": f"AC{'1' * 32}", "authToken": "1" * 32},
    "telnyx": {
        "apiKey": "KEY1",
        "connectionId": "1",
        "publicKey": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    },
    "plivo": {"authId": f"MA{'1' * 18}", "authToken": "1" * 32},
}


@pytest.mark.parametrize("carrier", ACCOUNTS)
def test_every_carrier_is_asked_where_its_api_is(tmp_path: Path, carrier: str) -> None:
    account = {**ACCOUNTS[carrier], "apiBaseUrl": "http://127.0.0.1:9"}
    config = loaded(
        tmp_path,
        provider=carrier,
        fromNumber="+15550001111",
        publicUrl="https://calls.example.com",
        openai={"apiKey": "sk-1"},
        **{carrier: account},
    ).config
    asking = questions(config, SystemClock(), 5)
    assert asking is not None
    assert asking.api_url == "http://127.0.0.1:9" == api_base_url(config)
    assert carrier in asking.remedy


def test_the_mock_carrier_has_no_account(tmp_path: Path) -> None:
    config = loaded(tmp_path).config
    assert questions(config, SystemClock(), 5) is None
    assert api_base_url(config) is None


def test_calls_that_are_reported_elsewhere_are_told_without_a_password() -> None:
    question = Question("+15550001111", "https://a.example/voice/webhook")
    assert reported_elsewhere(question, "https://a.example/voice/webhook/") is None
    assert reported_elsewhere(Question("+15550001111"), "https://b.example") is None
    finding = reported_elsewhere(question, "https://user:secret@b.example/old?token=1")
    assert finding is not None
    assert "https://b.example/old" in finding.found
    assert "secret" not in finding.found
    assert "token" not in finding.found
    nobody = reported_elsewhere(question, "")
    assert nobody is not None
    assert "nobody" in nobody.found
