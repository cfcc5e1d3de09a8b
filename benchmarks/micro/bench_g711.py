"""G.711 against the standard library's audioop and a numpy look-up table."""

import random
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from voicecall import _codec

with warnings.catch_warnings():
    # In the standard library until 3.12 and deprecated there; the package audioop-lts after that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

Benchmark = Callable[..., Any]

# One packet of 20 ms, and a second.
SAMPLES = (160, 8000)
ALL_CODES = bytes(range(256))
ALL_PCM = struct.pack("<65536h", *range(-32768, 32768))

ULAW_OF_PCM = np.roll(np.frombuffer(_codec.ulaw_encode(ALL_PCM), np.uint8), 32768)
ALAW_OF_PCM = np.roll(np.frombuffer(_codec.alaw_encode(ALL_PCM), np.uint8), 32768)
PCM_OF_ULAW = np.frombuffer(_codec.ulaw_decode(ALL_CODES), "<i2")
PCM_OF_ALAW = np.frombuffer(_codec.alaw_decode(ALL_CODES), "<i2")


def speech(samples: int) -> bytes:
    generator = random.Random(711)
    return struct.pack(f"<{samples}h", *(int(generator.gauss(0, 4000)) for _ in range(samples)))


def sizes(name: str) -> pytest.MarkDecorator:
    """The same work at each size, and a group for each."""
    return pytest.mark.parametrize(
        "samples",
        [
            pytest.param(samples, marks=pytest.mark.benchmark(group=f"{name} {samples}"))
            for samples in SAMPLES
        ],
    )


@sizes("ulaw_encode")
def test_ulaw_encode(benchmark: Benchmark, samples: int) -> None:
    assert len(benchmark(_codec.ulaw_encode, speech(samples))) == samples


@sizes("ulaw_encode")
def test_baseline_audioop__ulaw_encode(benchmark: Benchmark, samples: int) -> None:
    # Not bit-exact with G.191 in 508 of the 65 536 samples, so only the length is compared.
    assert len(benchmark(audioop.lin2ulaw, speech(samples), 2)) == samples


@sizes("ulaw_encode")
def test_baseline_numpy__ulaw_encode(benchmark: Benchmark, samples: int) -> None:
    pcm = speech(samples)

    def look_up() -> bytes:
        return ULAW_OF_PCM[np.frombuffer(pcm, np.uint16)].tobytes()

    assert benchmark(look_up) == _codec.ulaw_encode(pcm)


@sizes("ulaw_encode")
def test_bound_memcpy__ulaw_encode(benchmark: Benchmark, samples: int) -> None:
    benchmark(bytes, bytearray(samples))


@sizes("ulaw_decode")
def test_ulaw_decode(benchmark: Benchmark, samples: int) -> None:
    assert len(benchmark(_codec.ulaw_decode, _codec.ulaw_encode(speech(samples)))) == 2 * samples


@sizes("ulaw_decode")
def test_baseline_audioop__ulaw_decode(benchmark: Benchmark, samples: int) -> None:
    codes = _codec.ulaw_encode(speech(samples))
    assert benchmark(audioop.ulaw2lin, codes, 2) == _codec.ulaw_decode(codes)


@sizes("ulaw_decode")
def test_baseline_numpy__ulaw_decode(benchmark: Benchmark, samples: int) -> None:
    codes = _codec.ulaw_encode(speech(samples))

    def look_up() -> bytes:
        return PCM_OF_ULAW[np.frombuffer(codes, np.uint8)].tobytes()

    assert benchmark(look_up) == _codec.ulaw_decode(codes)


@sizes("ulaw_decode")
def test_bound_memcpy__ulaw_decode(benchmark: Benchmark, samples: int) -> None:
    benchmark(bytes, bytearray(2 * samples))


@sizes("alaw_encode")
def test_alaw_encode(benchmark: Benchmark, samples: int) -> None:
    assert len(benchmark(_codec.alaw_encode, speech(samples))) == samples


@sizes("alaw_encode")
def test_baseline_audioop__alaw_encode(benchmark: Benchmark, samples: int) -> None:
    assert len(benchmark(audioop.lin2alaw, speech(samples), 2)) == samples


@sizes("alaw_encode")
def test_baseline_numpy__alaw_encode(benchmark: Benchmark, samples: int) -> None:
    pcm = speech(samples)

    def look_up() -> bytes:
        return ALAW_OF_PCM[np.frombuffer(pcm, np.uint16)].tobytes()

    assert benchmark(look_up) == _codec.alaw_encode(pcm)


@sizes("alaw_decode")
def test_alaw_decode(benchmark: Benchmark, samples: int) -> None:
    assert len(benchmark(_codec.alaw_decode, _codec.alaw_encode(speech(samples)))) == 2 * samples


@sizes("alaw_decode")
def test_baseline_audioop__alaw_decode(benchmark: Benchmark, samples: int) -> None:
    codes = _codec.alaw_encode(speech(samples))
    assert benchmark(audioop.alaw2lin, codes, 2) == _codec.alaw_decode(codes)


@sizes("alaw_decode")
def test_baseline_numpy__alaw_decode(benchmark: Benchmark, samples: int) -> None:
    codes = _codec.alaw_encode(speech(samples))

    def look_up() -> bytes:
        return PCM_OF_ALAW[np.frombuffer(codes, np.uint8)].tobytes()

    assert benchmark(look_up) == _codec.alaw_decode(codes)


@sizes("alaw_encode")
def test_bound_memcpy__alaw_encode(benchmark: Benchmark, samples: int) -> None:
    benchmark(bytes, bytearray(samples))


@sizes("alaw_decode")
def test_bound_memcpy__alaw_decode(benchmark: Benchmark, samples: int) -> None:
    benchmark(bytes, bytearray(2 * samples))
