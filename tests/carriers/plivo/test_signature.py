from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import validate_signature
from plivo.utils.signature_v3 import (
    construct_get_url,
    construct_post_url,
    get_signature_v3,
    validate_v3_signature,
)

from tests.carriers.plivo.requests import AUTH_TOKEN, NONCE, OUTBOUND, URL, sign, webhook
from voicecall.carriers.plivo.signature import (
    FORM,
    V2_HEADER,
    V2_NONCE_HEADER,
    V3_HEADER,
    V3_MAIN_HEADER,
    V3_NONCE_HEADER,
    SignatureVerifier,
    v3_base,
)
from voicecall.errors import VerificationError
from voicecall.ports import WebhookRequest

pytestmark = pytest.mark.unit

VERIFIER = SignatureVerifier(AUTH_TOKEN)
FIELDS = OUTBOUND | {"Event": "Ring", "CallStatus": "ringing", "ForwardedFrom": ""}
URLS = [URL, f"{URL}?callId=a-1", f"{URL}?z=9&a=2&a=1", f"{URL}:8443/x?b=%2B1#rc=5", f"{URL}?e="]

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
names = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=1, max_size=6)
forms = st.dictionaries(names, st.text(max_size=12), max_size=6)
queries = st.dictionaries(names, printable, max_size=4)


def address(query: dict[str, str]) -> str:
    return f"{URL}?{urlencode(query)}" if query else URL


@pytest.mark.parametrize("url", URLS)
def test_what_the_sdk_signs_is_believed(url: str) -> None:
    request = webhook(FIELDS, url)
    assert VERIFIER.verify(request).request is request
    assert validate_v3_signature(
        "POST", url, NONCE, AUTH_TOKEN, request.headers[V3_HEADER], dict(FIELDS)
    )


@given(queries, forms)
def test_the_signed_text_is_the_sdks(query: dict[str, str], form: dict[str, str]) -> None:
    url = address(query)
    lists = {key: [value] for key, value in form.items()}
    assert v3_base("POST", url, lists) == construct_post_url(url, dict(form)).decode()
    assert v3_base("GET", url, {}) == construct_get_url(url, {}).decode()


@given(queries, forms, printable)
def test_whatever_the_sdk_signs_is_believed(
    query: dict[str, str], form: dict[str, str], nonce: str
) -> None:
    nonce = nonce or "0"
    url = address(query)
    headers = {V3_HEADER: sign(url, form, nonce), V3_NONCE_HEADER: nonce}
    assert VERIFIER.verify(webhook(form, url, headers)).replay_key


def test_a_signature_over_a_get_is_believed() -> None:
    url = f"{URL}?b=2&a=1"
    base = construct_get_url(url, {}).decode()
    signature = get_signature_v3(AUTH_TOKEN.encode(), base, NONCE.encode()).decode()
    request = WebhookRequest("GET", url, {V3_HEADER: signature, V3_NONCE_HEADER: NONCE}, b"", "")
    assert VERIFIER.verify(request).replay_key


def test_repeated_fields_are_signed_each() -> None:
    body = urlencode([("a", "2"), ("a", "1"), ("b", "")]).encode()
    base = construct_post_url(URL, {"a": ["2", "1"], "b": ""}).decode()
    signature = get_signature_v3(AUTH_TOKEN.encode(), base, NONCE.encode()).decode()
    headers = {V3_HEADER: signature, V3_NONCE_HEADER: NONCE, "content-type": f"{FORM}; charset=x"}
    assert VERIFIER.verify(WebhookRequest("POST", URL, headers, body, "")).replay_key


@pytest.mark.parametrize("joined", ["{good}", "x,{good}", "{good}, x", " {good} "])
def test_one_good_signature_of_several_is_enough(joined: str) -> None:
    headers = {V3_HEADER: joined.format(good=sign(URL, FIELDS))}
    assert VERIFIER.verify(webhook(FIELDS, headers=headers)).replay_key


def test_a_signature_with_the_main_accounts_token_is_believed() -> None:
    headers = {V3_HEADER: "x", V3_MAIN_HEADER: sign(URL, FIELDS)}
    assert VERIFIER.verify(webhook(FIELDS, headers=headers)).replay_key


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "GET"},
        {"url": f"{URL}?callId=other"},
        {"url": URL.replace("https", "http")},
        {"url": URL.replace("example", "example2")},
        {"url": f"{URL}/"},
        {"body": urlencode(FIELDS | {"To": "15550009999"}).encode()},
        {"body": b""},
        {"body": urlencode(FIELDS).encode() + b"&more=1"},
    ],
)
def test_what_was_not_signed_is_not_believed(changed: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="is not ours"):
        VERIFIER.verify(replace(webhook(FIELDS), **changed))


@pytest.mark.parametrize(
    "headers",
    [
        {V3_NONCE_HEADER: "another"},
        {V3_HEADER: sign(URL, FIELDS, token="another")},
        {V3_HEADER: sign(URL, FIELDS).rstrip("=")},
        {V3_HEADER: sign(URL, FIELDS).lower()},
        {V3_HEADER: "é\udcff"},
        {"content-type": "application/json"},
        {"content-type": ""},
    ],
)
def test_a_request_with_other_headers_is_not_believed(headers: dict[str, str]) -> None:
    with pytest.raises(VerificationError, match="is not ours"):
        VERIFIER.verify(webhook(FIELDS, headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        {V3_NONCE_HEADER: ""},
        {V3_HEADER: ""},
        {V3_HEADER: " "},
        {V3_HEADER: ","},
        {V3_HEADER: " , "},
    ],
)
def test_an_empty_signature_or_nonce_is_none(headers: dict[str, str]) -> None:
    with pytest.raises(VerificationError, match="no Plivo v3 signature"):
        VERIFIER.verify(webhook(FIELDS, headers=headers))


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(VerificationError, match="cannot be read"):
        VERIFIER.verify(replace(webhook(FIELDS), url="https://[broken/voice"))


def test_too_many_fields_are_refused_unread() -> None:
    body = "&".join(f"f{number}=1" for number in range(300)).encode()
    with pytest.raises(VerificationError, match="cannot be read"):
        VERIFIER.verify(replace(webhook(FIELDS), body=body))


@given(
    st.builds(
        WebhookRequest,
        method=st.sampled_from(["GET", "POST", "PUT"]),
        url=st.one_of(st.text(), st.just(URL)),
        headers=st.dictionaries(
            st.sampled_from([V3_HEADER, V3_NONCE_HEADER, V3_MAIN_HEADER, "content-type"]),
            st.one_of(st.text(), st.just(FORM), st.just("aGVsbG8=")),
        ),
        body=st.binary(),
        peer=st.text(),
    )
)
def test_garbage_is_a_refusal_without_the_secret(request_: WebhookRequest) -> None:
    with pytest.raises(VerificationError) as refusal:
        VERIFIER.verify(request_)
    assert AUTH_TOKEN not in str(refusal.value)


def test_a_signature_written_otherwise_keeps_the_replay_key() -> None:
    plain = VERIFIER.verify(webhook(FIELDS))
    twice = VERIFIER.verify(webhook(FIELDS, headers={V3_HEADER: f"x, {sign(URL, FIELDS)}"}))
    again = {V3_HEADER: sign(URL, FIELDS, "other"), V3_NONCE_HEADER: "other"}
    assert plain.replay_key == twice.replay_key
    assert VERIFIER.verify(webhook(FIELDS, headers=again)).replay_key != plain.replay_key


# --- V2 --------------------------------------------------------------------------------------


def v2_headers(url: str = URL) -> dict[str, str]:
    signed = hmac.new(AUTH_TOKEN.encode(), (url + NONCE).encode(), hashlib.sha256).digest()
    return {V2_HEADER: base64.b64encode(signed).decode(), V2_NONCE_HEADER: NONCE}


def v2_request(url: str = URL, **headers: str) -> WebhookRequest:
    return WebhookRequest("POST", url, v2_headers() | headers | {"content-type": FORM}, b"a=1", "")


def test_a_v2_signature_is_believed_where_that_is_allowed() -> None:
    verifier = SignatureVerifier(AUTH_TOKEN, allow_v2=True)
    assert verifier.verify(v2_request(f"{URL}?{quote('callId=1')}")).replay_key
    assert validate_signature(URL, NONCE, v2_headers()[V2_HEADER], AUTH_TOKEN)
    assert verifier.headers == ()


def test_a_v2_signature_is_refused_elsewhere() -> None:
    with pytest.raises(VerificationError, match="no Plivo v3 signature"):
        VERIFIER.verify(v2_request())
    assert VERIFIER.headers == (V3_HEADER, V3_NONCE_HEADER)


def test_a_wrong_v3_signature_is_not_made_good_by_a_v2_one() -> None:
    verifier = SignatureVerifier(AUTH_TOKEN, allow_v2=True)
    with pytest.raises(VerificationError, match="v3"):
        verifier.verify(v2_request(**{V3_HEADER: "x", V3_NONCE_HEADER: NONCE}))


def test_a_wrong_v2_signature_is_refused() -> None:
    verifier = SignatureVerifier(AUTH_TOKEN, allow_v2=True)
    with pytest.raises(VerificationError, match="is not ours"):
        verifier.verify(v2_request(f"{URL}/other"))
