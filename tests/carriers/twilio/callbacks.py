"""Callbacks as Twilio sends them, signed by the vendor's own signer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from tests.carriers.twilio.api import ACCOUNT, CALL, TOKEN
from voicecall.ports import WebhookRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "https://calls.example.com/voice/webhook"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
COMMON = {
    "AccountSid": ACCOUNT,
    "ApiVersion": "2010-04-01",
    "CallSid": CALL,
    "From": "+15550000001",
    "To": "+15550000002",
    "Direction": "outbound-api",
}


def form(
    fields: Mapping[str, str], *, url: str = URL, signed_url: str | None = None
) -> WebhookRequest:
    """A callback with these fields; signed for `url` unless another one is given."""
    signature = RequestValidator(TOKEN).compute_signature(signed_url or url, dict(fields))
    return WebhookRequest(
        method="POST",
        url=url,
        headers={"content-type": FORM, "x-twilio-signature": signature},
        body=urlencode(fields).encode(),
        peer="192.0.2.1",
    )
