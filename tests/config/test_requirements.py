"""What a carrier and the speech services need."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.derive import derive
from voicecall.config.requirements import missing, unready_speech

pytestmark = pytest.mark.unit

KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@pytest.mark.parametrize(
    ("provider", "problems"),
    [
        ("mock", []),
        (
            "twilio",
            [
                'twilio.accountSid: is required for provider "twilio";'
                " set it in the file or in TWILIO_ACCOUNT_SID",
                'twilio.authToken: is required for provider "twilio";'
                " set it in the file or in TWILIO_AUTH_TOKEN",
                'fromNumber: is required for provider "twilio";'
                " set it in the file or in TWILIO_FROM_NUMBER",
            ],
        ),
        (
            "telnyx",
            [
                'telnyx.apiKey: is required for provider "telnyx";'
                " set it in the file or in TELNYX_API_KEY",
                'telnyx.connectionId: is required for provider "telnyx";'
                " set it in the file or in TELNYX_CONNECTION_ID",
                'telnyx.publicKey: is required for provider "telnyx";'
                " set it in the file or in TELNYX_PUBLIC_KEY",
                'fromNumber: is required for provider "telnyx"; set it in the file',
            ],
        ),
        (
            "plivo",
            [
                'plivo.authId: is required for provider "plivo";'
                " set it in the file or in PLIVO_AUTH_ID",
                'plivo.authToken: is required for provider "plivo";'
                " set it in the file or in PLIVO_AUTH_TOKEN",
                'fromNumber: is required for provider "plivo"; set it in the file',
            ],
        ),
    ],
)
def test_all_that_a_carrier_lacks_is_reported_with_the_variable(
    provider: str, problems: list[str]
) -> None:
    assert missing({"provider": provider}) == problems
    assert missing({"provider": provider, "enabled": False}) == []


def telnyx(**rest: Any) -> dict[str, Any]:
    account = {"apiKey": "k", "connectionId": "c", **rest.pop("account", {})}
    return {"provider": "telnyx", "fromNumber": "+15550001234", "telnyx": account, **rest}


def test_telnyx_needs_no_public_key_when_signatures_are_skipped() -> None:
    assert len(missing(telnyx())) == 1
    assert missing(telnyx(skipSignatureVerification=True)) == []
    assert missing(telnyx(account={"publicKey": KEY})) == []


@pytest.mark.parametrize("key", ["...", 5])
def test_a_telnyx_public_key_that_is_none_is_refused(key: object) -> None:
    (problem,) = missing(telnyx(account={"publicKey": key}))
    assert problem.startswith("telnyx.publicKey: must be an Ed25519 public key")


@pytest.mark.parametrize("provider", [None, 3, ["twilio"], "nobody"])
def test_a_provider_that_is_none_is_left_for_validation(provider: object) -> None:
    assert missing({"provider": provider}) == []


def test_speech_services_without_a_key_are_warned_of() -> None:
    assert unready_speech(derive({})) == []
    assert unready_speech(derive({"provider": "twilio"})) == [
        "stt.openai.apiKey: is not set; stt needs it, here or in OPENAI_API_KEY",
        "tts.openai.apiKey: is not set; tts needs it, here or in OPENAI_API_KEY",
    ]
    assert unready_speech(derive({"provider": "twilio", "openai": {"apiKey": "k"}})) == []
    assert unready_speech(derive({"stt": {"provider": "deepgram"}})) == [
        "stt.deepgram.apiKey: is not set; stt needs it, here or in DEEPGRAM_API_KEY",
    ]


def test_a_compatible_server_needs_no_key() -> None:
    settings = {"provider": "twilio", "openai": {"baseUrl": "http://127.0.0.1:1"}}
    assert unready_speech(derive(settings)) == []
