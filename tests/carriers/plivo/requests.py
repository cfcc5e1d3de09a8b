"""Webhooks as Plivo sends them, signed by the SDK's own signer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from plivo.utils.signature_v3 import construct_post_url, get_signature_v3

from voicecall.carriers.plivo.signature import FORM, V3_HEADER, V3_NONCE_HEADER
from voicecall.ports import VerifiedRequest, WebhookRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"
AUTH_TOKEN = "a-secret-of-forty-characters-or-the-like"
NONCE = "12345678901234567890"
URL = "https://voice.example.org/voice/webhook"
CALL_ID = "6b1f4c1e-0a57-4a7c-8f43-1c6f0e1c2d3a"
CALL = "11110000-0000-4000-8000-000000000000"
REQUEST = "99990000-0000-4000-8000-000000000000"

OUTBOUND = {
    "CallUUID": CALL,
    "ALegUUID": CALL,
    "RequestUUID": REQUEST,
    "ALegRequestUUID": REQUEST,
    "Direction": "outbound",
    "From": "15550001111",
    "To": "15550002222",
}
INBOUND = {"CallUUID": CALL, "Direction": "inbound", "From": "15550003333", "To": "15550001111"}


def sign(url: str, fields: Mapping[str, str], nonce: str = NONCE, token: str = AUTH_TOKEN) -> str:
    """What the SDK's signer makes of a POST."""
    base = construct_post_url(url, dict(fields)).decode()
    signature: bytes = get_signature_v3(token.encode(), base, nonce.encode())
    return signature.decode()


def webhook(
    fields: Mapping[str, str], url: str = URL, headers: Mapping[str, str] | None = None
) -> WebhookRequest:
    """A signed webhook; `headers` replace what it would have otherwise."""
    signed = {V3_HEADER: sign(url, fields), V3_NONCE_HEADER: NONCE, "content-type": FORM}
    body = urlencode(fields).encode()
    return WebhookRequest("POST", url, signed | dict(headers or {}), body, "192.0.2.1")


def believed(fields: Mapping[str, str], url: str = URL) -> VerifiedRequest:
    """A webhook that was verified."""
    return VerifiedRequest(webhook(fields, url), "key")
