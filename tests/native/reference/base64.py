"""Base64 through a string of bits, as RFC 4648, section 4 describes it."""

import string

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"


class MalformedError(ValueError):
    """The text is not Base64."""


def encode(octets: bytes) -> bytes:
    bits = "".join(f"{octet:08b}" for octet in octets)
    bits += "0" * (-len(bits) % 6)
    text = "".join(ALPHABET[int(bits[i : i + 6], 2)] for i in range(0, len(bits), 6))
    return (text + "=" * (-len(text) % 4)).encode()


def decode(chars: bytes) -> bytes:
    text = chars.decode("latin-1")
    if len(text) % 4:
        raise MalformedError("length")
    digits = text.removesuffix("=").removesuffix("=")
    if any(char not in ALPHABET for char in digits):
        raise MalformedError("character")
    bits = "".join(f"{ALPHABET.index(char):06b}" for char in digits)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8))
