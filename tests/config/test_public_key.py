"""Ed25519 public keys in all their forms."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.config.public_key import ed25519_public_key

pytestmark = pytest.mark.unit

# The public key of RFC 8032, section 7.1, test 1, and its SubjectPublicKeyInfo.
KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
DER = bytes.fromhex("302a300506032b6570032100") + KEY
PEM = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(DER).decode()}\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(KEY).decode(),
        base64.urlsafe_b64encode(KEY).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
        f"  {base64.b64encode(KEY).decode()}\n",
        base64.b64encode(DER).decode(),
        base64.urlsafe_b64encode(DER).decode(),
        PEM,
        PEM.replace("\n", "\r\n"),
    ],
)
def test_every_form_gives_the_same_octets(text: str) -> None:
    assert ed25519_public_key(text) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "not base64!",
        base64.b64encode(KEY[:-1]).decode(),
        base64.b64encode(KEY + b"x").decode(),
        base64.b64encode(b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00" + KEY).decode(),
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        "é",
    ],
)
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="must be an Ed25519 public key") as refusal:
        ed25519_public_key(text)
    assert not text or text not in str(refusal.value)


@given(st.binary(min_size=32, max_size=32))
def test_any_32_octets_survive_both_alphabets(octets: bytes) -> None:
    assert ed25519_public_key(base64.b64encode(octets).decode()) == octets
    assert ed25519_public_key(base64.urlsafe_b64encode(octets).decode().rstrip("=")) == octets
