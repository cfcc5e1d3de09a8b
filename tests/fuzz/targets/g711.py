"""Any octets through the four conversions, with and without vectors."""

import random
from collections.abc import Sequence

from tests.fuzz.target import Target
from tests.native.reference import g711 as reference
from voicecall._codec import _set_simd, alaw_decode, alaw_encode, ulaw_decode, ulaw_encode
from voicecall.errors import CodecError


def check(data: bytes) -> None:
    for wanted in (True, False):
        before = _set_simd(wanted)
        try:
            assert ulaw_decode(data) == reference.ulaw_decode(data)
            assert alaw_decode(data) == reference.alaw_decode(data)
            check_encoders(data)
        finally:
            _set_simd(before)


def check_encoders(data: bytes) -> None:
    if len(data) % 2:
        for encode in (ulaw_encode, alaw_encode):
            try:
                encode(data)
            except CodecError:
                continue
            raise AssertionError("half a sample was encoded")
    whole = data[: len(data) // 2 * 2]
    assert ulaw_encode(whole) == reference.ulaw_encode(whole)
    assert alaw_encode(whole) == reference.alaw_encode(whole)


def seeds() -> Sequence[bytes]:
    source = random.Random(1)
    return [source.randbytes(length) for length in (0, 1, 159, 160, 161, 320, 322)]


TARGET = Target(
    check=check, allowed=(), seeds=seeds, tokens=(b"\x00\x80", b"\xff\x7f", b"\xff\xff")
)
