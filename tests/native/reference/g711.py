"""G.711 one sample at a time, as ITU-T G.711 and the G.191 Software Tool Library describe it."""

import struct

ULAW_BIAS = 33
ULAW_CLIP = 0x1FFF


def ulaw_compress(sample: int) -> int:
    magnitude = (~sample if sample < 0 else sample) >> 2
    biased = min(magnitude + ULAW_BIAS, ULAW_CLIP)
    segment = biased.bit_length() - 6
    step = (biased >> (segment + 1)) & 0xF
    code = segment << 4 | step
    return (0x7F if sample < 0 else 0xFF) - code


def ulaw_expand(code: int) -> int:
    inverted = 0xFF - code
    segment = inverted >> 4 & 7
    step = inverted & 0xF
    biased = (2 * step + ULAW_BIAS) << segment
    magnitude = (biased - ULAW_BIAS) * 4
    return -magnitude if code < 0x80 else magnitude


def alaw_compress(sample: int) -> int:
    magnitude = (~sample if sample < 0 else sample) >> 4
    segment = 0
    while magnitude > 31:
        magnitude >>= 1
        segment += 1
    code = magnitude + 16 * segment
    return (code if sample < 0 else code | 0x80) ^ 0x55


def alaw_expand(code: int) -> int:
    plain = code ^ 0x55
    segment = plain >> 4 & 7
    step = plain & 0xF
    magnitude = (2 * step + 1) * 8 if segment == 0 else ((2 * step + 33) * 8) << (segment - 1)
    return magnitude if plain & 0x80 else -magnitude


def samples_of(pcm: bytes) -> list[int]:
    return [sample for (sample,) in struct.iter_unpack("<h", pcm)]


def pcm_of(samples: list[int]) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def ulaw_encode(pcm: bytes) -> bytes:
    return bytes(ulaw_compress(sample) for sample in samples_of(pcm))


def ulaw_decode(codes: bytes) -> bytes:
    return pcm_of([ulaw_expand(code) for code in codes])


def alaw_encode(pcm: bytes) -> bytes:
    return bytes(alaw_compress(sample) for sample in samples_of(pcm))


def alaw_decode(codes: bytes) -> bytes:
    return pcm_of([alaw_expand(code) for code in codes])
