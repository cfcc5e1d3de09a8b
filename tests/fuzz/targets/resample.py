"""Neither the cuts in a stream nor the choice of loops shows; the output has its exact length."""

import random
from collections.abc import Sequence

from tests.fuzz.target import Target
from voicecall._codec import Resampler, _set_simd

RATES_HZ = (8000, 16000, 24000, 11025, 48000, 22050, 44100)
HEAD_OCTETS = 4


def check(data: bytes) -> None:
    """The first octets choose the rates and the cuts, the rest is audio."""
    if len(data) < HEAD_OCTETS:
        return
    in_hz, out_hz = (RATES_HZ[octet % len(RATES_HZ)] for octet in data[:2])
    step = 2 * (1 + int.from_bytes(data[2:4], "little") % 400)
    pcm = data[HEAD_OCTETS : HEAD_OCTETS + (len(data) - HEAD_OCTETS) // 2 * 2]
    _set_simd(True)
    whole = Resampler(in_hz, out_hz).process(pcm, True)
    _set_simd(False)
    try:
        resampler = Resampler(in_hz, out_hz)
        pieces = [resampler.process(pcm[at : at + step]) for at in range(0, len(pcm), step)]
        assert b"".join(pieces) + resampler.process(b"", True) == whole
    finally:
        _set_simd(True)
    samples = len(pcm) // 2
    assert len(whole) // 2 == -(-samples * out_hz // in_hz)


def seeds() -> Sequence[bytes]:
    source = random.Random(1)
    return [source.randbytes(HEAD_OCTETS + length) for length in (0, 2, 318, 320, 322, 4000)]


TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=(b"\xff\x7f" * 40, b"\x00\x80" * 40))
