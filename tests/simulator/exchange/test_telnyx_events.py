from __future__ import annotations

from datetime import datetime

import orjson
import pytest
from telnyx.lib import WebhookVerificationError, verify_webhook_signature

from voicecall.clock import ManualClock, SystemClock
from voicecall.simulator.exchange.telnyx_events import Moments, Signer, envelope

pytestmark = pytest.mark.unit

URL = "https://calls.example/voice/webhook"


def test_the_vendors_verifier_accepts_what_is_signed() -> None:
    signer = Signer(SystemClock())
    headers = signer.sign("POST", URL, b'{"data":{}}')
    verify_webhook_signature(b'{"data":{}}', headers, signer.public_key)


def test_the_vendors_verifier_refuses_another_body_another_key_and_an_old_signature() -> None:
    signer = Signer(SystemClock())
    headers = signer.sign("POST", URL, b"{}")
    old = Signer(ManualClock())
    for body, sent, key in (
        (b"[]", headers, signer.public_key),
        (b"{}", headers, Signer(SystemClock()).public_key),
        (b"{}", old.sign("POST", URL, b"{}"), old.public_key),
    ):
        with pytest.raises(WebhookVerificationError):
            verify_webhook_signature(body, sent, key)


def test_the_signature_is_dated_by_the_clock() -> None:
    headers = Signer(ManualClock(wall_ms=1_767_225_600_999)).sign("POST", URL, b"{}")
    assert headers["telnyx-timestamp"] == "1767225600"


def test_moments_of_one_instant_differ_and_are_in_order() -> None:
    clock = ManualClock(wall_ms=1_767_225_600_250)
    moments = Moments(clock)
    assert moments.now() == "2026-01-01T00:00:00.250000Z"
    assert moments.now() == "2026-01-01T00:00:00.250001Z"
    clock.advance_ms(1)
    assert moments.now() == "2026-01-01T00:00:00.251000Z"
    assert datetime.fromisoformat(moments.now()).utcoffset() is not None


def test_attempts_differ_in_their_number_only() -> None:
    body = envelope("call.answered", {"digit": "1"}, occurred_at="now", delivered_to=URL)
    first, second = orjson.loads(body(1)), orjson.loads(body(2))
    assert first["data"] == second["data"]
    assert first["data"]["event_type"] == "call.answered"
    assert first["data"]["payload"] == {"digit": "1"}
    assert first["meta"] == {"attempt": 1, "delivered_to": URL}
    assert second["meta"]["attempt"] == 2


def test_each_event_has_an_id_of_its_own() -> None:
    ids = {
        orjson.loads(envelope("k", {}, occurred_at="now", delivered_to=URL)(1))["data"]["id"]
        for _ in range(3)
    }
    assert len(ids) == 3
