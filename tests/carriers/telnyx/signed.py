"""Webhooks as Telnyx sends them, signed with a key of the tests' own."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from nacl.signing import SigningKey

from voicecall.ports import WebhookRequest

SECRET = SigningKey(bytes(range(32)))
PUBLIC_KEY = base64.b64encode(bytes(SECRET.verify_key)).decode()
CALL = "v3:call-control-id"
AT = "2026-01-01T00:00:00.250000Z"
AT_MS = 1_767_225_600_250


def sign(body: bytes, seconds: int, key: SigningKey = SECRET) -> dict[str, str]:
    signature = key.sign(f"{seconds}|".encode() + body).signature
    return {
        "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
        "telnyx-timestamp": str(seconds),
    }


def request(body: bytes, headers: dict[str, str]) -> WebhookRequest:
    return WebhookRequest("POST", "https://calls.example/voice/webhook", headers, body, "192.0.2.1")


def event(kind: str, **payload: Any) -> dict[str, Any]:
    return {
        "data": {
            "record_type": "event",
            "event_type": kind,
            "id": f"id-of-{kind}",
            "occurred_at": AT,
            "payload": {
                "call_control_id": CALL,
                "call_leg_id": "leg",
                "call_session_id": "session",
                "connection_id": "42",
                "client_state": None,
                "from": "+13125550001",
                "to": "+13125550002",
                **payload,
            },
        },
        "meta": {"attempt": 1, "delivered_to": "https://calls.example/voice/webhook"},
    }


def octets(body: object) -> bytes:
    return orjson.dumps(body)
