from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from tests.carriers.twilio.api import TOKEN
from tests.carriers.twilio.callbacks import COMMON, FORM, URL, form
from voicecall.carriers.twilio.signature import SignatureVerifier, form_fields
from voicecall.errors import VerificationError
from voicecall.ports import WebhookRequest

pytestmark = pytest.mark.unit

VERIFIER = SignatureVerifier(TOKEN)
SIGNER = RequestValidator(TOKEN)
FIELDS = COMMON | {"CallStatus": "in-progress", "CallerName": "Zoë & Söhne", "Empty": ""}

# Lone surrogates cannot be sent, and an empty name is no field.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts.filter(bool)


def json_request(
    body: bytes, digest: str, *, content_type: str = "application/json"
) -> WebhookRequest:
    url = f"{URL}?bodySHA256={digest}"
    headers = {
        "content-type": content_type,
        "x-twilio-signature": SIGNER.compute_signature(url, {}),
    }
    return WebhookRequest("POST", url, headers, body, "192.0.2.1")


@given(st.dictionaries(names, texts, max_size=6))
def test_what_the_vendor_signs_is_accepted(fields: dict[str, str]) -> None:
    request = form(fields, url=f"{URL}?callId=1&b=2&a=%2B")
    assert VERIFIER.verify(request).request is request


@given(st.dictionaries(names, texts, min_size=1, max_size=4), st.data())
def test_a_form_that_differs_in_one_value_is_refused(
    fields: dict[str, str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(fields)))
    signed = form(fields)
    changed = urlencode(fields | {name: fields[name] + "x"}).encode()
    with pytest.raises(VerificationError):
        VERIFIER.verify(replace(signed, body=changed))


@pytest.mark.parametrize(
    ("seen", "signed"),
    [
        ("https://a.example/hook", "https://a.example:443/hook"),
        ("https://a.example:443/hook", "https://a.example/hook"),
        ("https://a.example:8443/hook", "https://a.example:8443/hook"),
        ("https://a.example:8443/hook", "https://a.example/hook"),
        ("http://a.example/hook", "http://a.example:80/hook"),
        ("https://[2001:db8::1]:443/hook", "https://[2001:db8::1]/hook"),
        ("https://[2001:db8::1]/hook", "https://[2001:db8::1]:443/hook"),
        ("https://a.example?x=1:2", "https://a.example:443?x=1:2"),
    ],
)
def test_the_port_may_be_signed_or_not(seen: str, signed: str) -> None:
    one = VERIFIER.verify(form(FIELDS, url=seen, signed_url=signed))
    other = VERIFIER.verify(form(FIELDS, url=seen, signed_url=seen))
    assert one.replay_key == other.replay_key


@pytest.mark.parametrize(
    "signed",
    [
        "https://calls.example.com/voice/webhook/",
        "http://calls.example.com/voice/webhook",
        "https://calls.example.com:444/voice/webhook",
        "https://calls.example.org/voice/webhook",
        "https://calls.example.com/voice/webhook?callId=1",
    ],
)
def test_a_signature_for_another_url_is_refused(signed: str) -> None:
    with pytest.raises(VerificationError):
        VERIFIER.verify(form(FIELDS, signed_url=signed))


def test_the_query_is_signed_as_it_is_ordered() -> None:
    VERIFIER.verify(form(FIELDS, url=f"{URL}?b=1&a=2"))
    with pytest.raises(VerificationError):
        VERIFIER.verify(form(FIELDS, url=f"{URL}?b=1&a=2", signed_url=f"{URL}?a=2&b=1"))


def test_repeated_values_count_once_as_the_vendor_counts_them() -> None:
    class Repeated(dict[str, str]):
        def getlist(self, name: str) -> list[str]:
            return {"a": ["2", "1", "2"]}.get(name, [])

    signature = SIGNER.compute_signature(URL, Repeated(a=""))
    headers = {"content-type": FORM, "x-twilio-signature": signature}
    VERIFIER.verify(WebhookRequest("POST", URL, headers, b"a=2&a=1&a=2", ""))


def test_the_replay_key_is_what_was_signed() -> None:
    once, again = VERIFIER.verify(form(FIELDS)), VERIFIER.verify(form(FIELDS))
    other = VERIFIER.verify(form(FIELDS | {"CallStatus": "completed"}))
    assert once.replay_key == again.replay_key != other.replay_key
    assert TOKEN not in once.replay_key


def test_another_accounts_signature_is_refused() -> None:
    with pytest.raises(VerificationError):
        SignatureVerifier("another").verify(form(FIELDS))


def test_a_body_that_is_no_form_is_checked_by_its_digest() -> None:
    body = b'{"CallSid": "CA1"}'
    digest = hashlib.sha256(body).hexdigest()
    VERIFIER.verify(json_request(body, digest))
    for wrong, sent in (
        (digest.upper(), body),
        (digest, body + b" "),
        ("é", body),
        (f"{digest}&bodySHA256={digest}", body),
    ):
        with pytest.raises(VerificationError):
            VERIFIER.verify(json_request(sent, wrong))


def test_a_body_that_nothing_covers_is_refused() -> None:
    headers = {"x-twilio-signature": SIGNER.compute_signature(URL, {})}
    VERIFIER.verify(WebhookRequest("POST", URL, headers, b"", ""))
    for kind in ("text/plain", "", "multipart/form-data"):
        request = WebhookRequest("POST", URL, headers | {"content-type": kind}, b"CallSid=CA1", "")
        with pytest.raises(VerificationError):
            VERIFIER.verify(request)


def test_a_form_without_fields_does_not_pass_for_an_empty_body() -> None:
    headers = {"content-type": FORM, "x-twilio-signature": SIGNER.compute_signature(URL, {})}
    with pytest.raises(VerificationError):
        VERIFIER.verify(WebhookRequest("POST", URL, headers, b"&&&", ""))


def test_a_request_signed_with_a_shared_key_is_refused_by_that_name() -> None:
    settings = {"x-twilio-webhooks-signature-settings": "key=k1,algorithm=HMAC_SHA256"}
    request = form(FIELDS)
    with pytest.raises(VerificationError, match="shared key"):
        VERIFIER.verify(replace(request, headers={**request.headers, **settings}))


@given(
    st.text(max_size=40),
    st.text(max_size=40) | st.just(URL),
    st.binary(max_size=60),
    st.sampled_from([FORM, "application/json", ""]),
)
def test_garbage_is_refused_and_nothing_else(
    signature: str, url: str, body: bytes, kind: str
) -> None:
    headers = {"content-type": kind, "x-twilio-signature": signature}
    with pytest.raises(VerificationError) as refused:
        VERIFIER.verify(WebhookRequest("POST", url, headers, body, ""))
    assert TOKEN not in str(refused.value)


def test_too_many_fields_are_refused() -> None:
    request = WebhookRequest(
        "POST", URL, {"content-type": FORM, "x-twilio-signature": "x"}, b"a=1&" * 300, ""
    )
    with pytest.raises(VerificationError):
        VERIFIER.verify(request)
    with pytest.raises(ValueError, match="fields"):
        form_fields(request)


def test_an_upgrade_is_proven_by_the_socket_url() -> None:
    url = "wss://calls.example.com/voice/stream/f00d"
    VERIFIER.verify_upgrade(url, SIGNER.compute_signature(url, {}))
    for signature in ("", "é", SIGNER.compute_signature(url.replace("wss", "https"), {})):
        with pytest.raises(VerificationError):
            VERIFIER.verify_upgrade(url, signature)
