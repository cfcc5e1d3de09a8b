"""Ed25519 public keys in the forms in which Telnyx shows them."""

from __future__ import annotations

import base64
import re
from typing import Final

KEY_OCTETS: Final = 32

# The fixed head of a SubjectPublicKeyInfo that holds an Ed25519 key: RFC 8410, section 4.
_SPKI_HEAD: Final = bytes.fromhex("302a300506032b6570032100")
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----(?P<body>.*)-----END PUBLIC KEY-----", re.DOTALL)


def ed25519_public_key(text: str) -> bytes:
    """The key's 32 octets.

    Args:
        text: base64 (also url-safe, also unpadded) of the raw key or of its DER
            SubjectPublicKeyInfo, or the latter as PEM.

    Raises:
        ValueError: it is none of these. The message does not repeat the text.
    """
    pem = _PEM.search(text)
    body = "".join((pem["body"] if pem else text).split()).rstrip("=")
    standard = body.replace("-", "+").replace("_", "/")
    try:
        octets = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        octets = b""
    if len(octets) == len(_SPKI_HEAD) + KEY_OCTETS:
        octets = octets.removeprefix(_SPKI_HEAD)
    if len(octets) != KEY_OCTETS:
        raise ValueError("must be an Ed25519 public key: 32 octets or DER in base64, or PEM")
    return octets
