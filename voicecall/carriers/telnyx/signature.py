"""Telnyx's webhook signature: Ed25519 over `timestamp|body`.

The vendor's package has a verifier for it, too: the same libsodium call after a lenient base64, on
the machine's own clock. Here the time is an argument, as everywhere, and only what Telnyx really
sends is decoded. The tests hold both verifiers against each other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Final

from voicecall.config.public_key import ed25519_public_key
from voicecall.errors import DependencyMissing, VerificationError
from voicecall.ports import VerifiedRequest, WebhookRequest

if TYPE_CHECKING:
    from voicecall.clock import Clock

SIGNATURE_HEADER: Final = "telnyx-signature-ed25519"
TIMESTAMP_HEADER: Final = "telnyx-timestamp"
TOLERANCE_S: Final = 300

_SIGNATURE_OCTETS = 64
_SECONDS = re.compile(r"[0-9]{1,12}")
_MS_PER_S = 1000


class SignatureVerifier:
    """Proves that webhooks come from Telnyx.

    Libsodium compares in constant time; nothing that is compared is secret anyway, since the key
    is a public one.

    Args:
        public_key: the account's key as Telnyx shows it: base64 of 32 octets or of DER, or PEM.
        clock: tells how old a signature is.

    Raises:
        ValueError: that is no Ed25519 public key.
        DependencyMissing: PyNaCl is not installed.

    Source: the receiving-webhooks page of Telnyx's programmable voice; RFC 8032, section 5.1.7.
    """

    def __init__(self, public_key: str, clock: Clock) -> None:
        key = ed25519_public_key(public_key)
        try:
            # An optional package, needed on this carrier only.
            from nacl.exceptions import BadSignatureError  # noqa: PLC0415
            from nacl.signing import VerifyKey  # noqa: PLC0415
        except ImportError as error:
            raise DependencyMissing(
                "Telnyx's signatures need the package PyNaCl; install voicecall[telnyx]"
            ) from error
        self._key = VerifyKey(key)
        self._bad_signature = BadSignatureError
        self._clock = clock

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove where `request` comes from.

        Its replay key is a digest of what is signed, so that the same request with its signature
        written differently has the same key.

        Raises:
            VerificationError: it is not signed by the key's owner, or not recently. The reason
                repeats nothing of the request.
        """
        timestamp = self._timestamp(request)
        signed = timestamp.encode("ascii") + b"|" + request.body
        try:
            self._key.verify(signed, _signature(request))
        except self._bad_signature:
            raise VerificationError("the signature does not belong to this body") from None
        return VerifiedRequest(request, replay_key=hashlib.sha256(signed).hexdigest())

    def _timestamp(self, request: WebhookRequest) -> str:
        timestamp = request.headers.get(TIMESTAMP_HEADER, "")
        if not _SECONDS.fullmatch(timestamp):
            raise VerificationError(f"{TIMESTAMP_HEADER} is not a number of seconds")
        age_s = self._clock.wall_ms() // _MS_PER_S - int(timestamp)
        if abs(age_s) > TOLERANCE_S:
            raise VerificationError(
                f"the signature is {abs(age_s)} s {'old' if age_s > 0 else 'ahead of our clock'}; "
                f"at most {TOLERANCE_S} s are allowed"
            )
        return timestamp


def _signature(request: WebhookRequest) -> bytes:
    try:
        signature = base64.b64decode(request.headers.get(SIGNATURE_HEADER, ""), validate=True)
    except ValueError:
        signature = b""
    if len(signature) != _SIGNATURE_OCTETS:
        raise VerificationError(
            f"{SIGNATURE_HEADER} is not {_SIGNATURE_OCTETS} octets in base64"
        ) from None
    return signature
