from __future__ import annotations

import base64
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from telnyx.lib.webhook_verification import WebhookVerificationError, verify_webhook_signature

from tests.carriers.telnyx.signed import PUBLIC_KEY, SECRET, request, sign
from voicecall.carriers.telnyx.signature import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignatureVerifier,
)
from voicecall.clock import ManualClock, SystemClock
from voicecall.errors import DependencyMissing, VerificationError

pytestmark = pytest.mark.unit

BODY = '{"data":{"event_type":"call.answered","name":"Zoë"}}'.encode()
NOW_S = 1_700_000_000
OTHER = SigningKey(bytes(32))


def verifier() -> SignatureVerifier:
    return SignatureVerifier(PUBLIC_KEY, ManualClock(wall_ms=NOW_S * 1000))


def refused(body: bytes, headers: dict[str, str]) -> str:
    with pytest.raises(VerificationError) as refusal:
        verifier().verify(request(body, headers))
    return str(refusal.value)


def test_a_webhook_signed_with_the_accounts_key_is_proven() -> None:
    received = request(BODY, sign(BODY, NOW_S))
    assert verifier().verify(received).request is received


@pytest.mark.parametrize(
    "public_key",
    [
        PUBLIC_KEY,
        PUBLIC_KEY.replace("+", "-").replace("/", "_").rstrip("="),
        base64.b64encode(
            bytes.fromhex("302a300506032b6570032100") + bytes(SECRET.verify_key)
        ).decode(),
    ],
)
def test_the_key_is_taken_in_every_form_telnyx_shows_it(public_key: str) -> None:
    clock = ManualClock(wall_ms=NOW_S * 1000)
    SignatureVerifier(public_key, clock).verify(request(BODY, sign(BODY, NOW_S)))


def test_what_is_no_key_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        SignatureVerifier("not a key", ManualClock())


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nacl.signing", None)
    with pytest.raises(DependencyMissing, match=r"voicecall\[telnyx\]"):
        verifier()


def test_another_key_another_body_and_another_time_are_refused() -> None:
    good = sign(BODY, NOW_S)
    not_ours = "does not belong"
    assert not_ours in refused(BODY, sign(BODY, NOW_S, OTHER))
    assert not_ours in refused(BODY + b" ", good)
    assert not_ours in refused(BODY, good | {TIMESTAMP_HEADER: str(NOW_S + 1)})


@pytest.mark.parametrize(
    ("age_s", "proven"), [(300, True), (301, False), (-300, True), (-301, False)]
)
def test_a_signature_is_good_for_five_minutes_either_way(age_s: int, proven: bool) -> None:
    headers = sign(BODY, NOW_S - age_s)
    if proven:
        verifier().verify(request(BODY, headers))
    else:
        assert "301 s" in refused(BODY, headers)


@pytest.mark.parametrize(
    "timestamp",
    ["", " ", "soon", "1.7e9", "+1700000000", "1_700_000_000", "\u0661" * 10, "9" * 5000],
)
def test_a_timestamp_that_is_no_number_of_seconds_is_refused(timestamp: str) -> None:
    reason = refused(BODY, sign(BODY, NOW_S) | {TIMESTAMP_HEADER: timestamp})
    assert reason == "telnyx-timestamp is not a number of seconds"


@pytest.mark.parametrize("signature", ["", "====", "\x00", "ü", "AAAA", "A" * 88 + "A" * 100_000])
def test_a_signature_that_is_none_is_refused_without_being_repeated(signature: str) -> None:
    reason = refused(BODY, sign(BODY, NOW_S) | {SIGNATURE_HEADER: signature})
    assert reason == "telnyx-signature-ed25519 is not 64 octets in base64"


@pytest.mark.parametrize("missing", [SIGNATURE_HEADER, TIMESTAMP_HEADER])
def test_a_missing_header_is_a_refusal(missing: str) -> None:
    headers = sign(BODY, NOW_S)
    del headers[missing]
    assert missing in refused(BODY, headers)


def test_headers_that_came_twice_are_refused() -> None:
    headers = sign(BODY, NOW_S)
    for name, value in headers.items():
        assert name in refused(BODY, headers | {name: f"{value}, {value}"})


def test_the_same_request_has_the_same_replay_key_and_another_one_another() -> None:
    headers = sign(BODY, NOW_S)
    key = verifier().verify(request(BODY, headers)).replay_key
    # The last digit of base64 carries bits that belong to no octet.
    signature = headers[SIGNATURE_HEADER].rstrip("=")
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    rewritten = signature[:-1] + digits[digits.index(signature[-1]) + 1] + "=="
    assert base64.b64decode(rewritten) == base64.b64decode(headers[SIGNATURE_HEADER])
    again = verifier().verify(request(BODY, headers | {SIGNATURE_HEADER: rewritten}))
    later = verifier().verify(request(BODY, sign(BODY, NOW_S + 1)))
    assert again.replay_key == key
    assert later.replay_key != key


@settings(max_examples=200)
@given(
    body=st.text().map(str.encode),
    changed=st.sampled_from(["nothing", "body", "timestamp", "signature", "key"]),
    octet=st.integers(0, 63),
    age_s=st.sampled_from([0, 200, -200, 400, -400]),
)
def test_the_vendors_verifier_is_of_the_same_opinion(
    body: bytes, changed: str, octet: int, age_s: int
) -> None:
    now_s = int(time.time())
    headers = sign(body, now_s - age_s, OTHER if changed == "key" else SECRET)
    if changed == "body":
        body += b"."
    elif changed == "timestamp":
        headers[TIMESTAMP_HEADER] = str(now_s - age_s + 1)
    elif changed == "signature":
        signature = bytearray(base64.b64decode(headers[SIGNATURE_HEADER]))
        signature[octet] ^= 1
        headers[SIGNATURE_HEADER] = base64.b64encode(signature).decode()
    try:
        verify_webhook_signature(body, headers, PUBLIC_KEY)
        theirs = True
    except WebhookVerificationError:
        theirs = False
    try:
        SignatureVerifier(PUBLIC_KEY, SystemClock()).verify(request(body, headers))
        ours = True
    except VerificationError:
        ours = False
    assert ours == theirs == (changed == "nothing" and abs(age_s) <= 300)


@given(st.binary(), st.text(), st.text())
def test_garbage_is_a_refusal_and_nothing_else(body: bytes, signature: str, timestamp: str) -> None:
    refused(body, {SIGNATURE_HEADER: signature, TIMESTAMP_HEADER: timestamp})
    refused(body, {SIGNATURE_HEADER: signature, TIMESTAMP_HEADER: str(NOW_S)})
