"""Any characters to the decoder, any octets to the encoder, into memory with a fence around it."""

import base64
import random
from collections.abc import Sequence

from tests.fuzz.target import Target
from voicecall._codec import _set_simd, decode_base64_into, encode_base64_into
from voicecall.errors import CodecError

FENCE = b"\xa5" * 40


def check(data: bytes) -> None:
    for wanted in (True, False):
        before = _set_simd(wanted)
        try:
            check_encoder(data)
            check_decoder(data)
        finally:
            _set_simd(before)


def check_encoder(data: bytes) -> None:
    expected = base64.b64encode(data)
    memory = bytearray(FENCE + bytes(len(expected)) + FENCE)
    assert encode_base64_into(data, memory, len(FENCE)) == len(expected)
    assert memory == FENCE + expected + FENCE


def check_decoder(data: bytes) -> None:
    room = len(data) // 4 * 3 + 32
    memory = bytearray(FENCE + bytes(room) + FENCE)
    expected = strict(data)
    try:
        octets = decode_base64_into(data, memory, len(FENCE))
    except CodecError:
        octets = None
    if expected is None:
        assert octets is None
    else:
        assert octets == len(expected)
        assert memory[len(FENCE) : len(FENCE) + octets] == expected
    assert memory.startswith(FENCE)
    assert memory.endswith(FENCE)


def strict(data: bytes) -> bytes | None:
    """What RFC 4648 makes of it: whole groups of the alphabet, padded at the very end only."""
    body = data.rstrip(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    padding = len(data) - len(body)
    whole = len(data) % 4 == 0 and padding <= 2 and not body.translate(None, alphabet)
    return base64.b64decode(data) if whole else None


def seeds() -> Sequence[bytes]:
    source = random.Random(1)
    octets = [source.randbytes(length) for length in (0, 1, 2, 3, 31, 32, 33, 159, 160, 161)]
    return octets + [base64.b64encode(each) for each in octets]


TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=(b"=", b"==", b"AAAA", b"\n", b"-_"))
