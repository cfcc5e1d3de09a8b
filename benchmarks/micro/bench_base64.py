"""Base64 against the standard library."""

import base64
import binascii
import random
from collections.abc import Callable
from typing import Any

import pytest

from voicecall import _codec

Benchmark = Callable[..., Any]

# One packet of 20 ms of G.711, and a second.
OCTETS = (160, 8000)


def audio(octets: int) -> bytes:
    return random.Random(64).randbytes(octets)


def sizes(name: str) -> pytest.MarkDecorator:
    """The same work at each size, and a group for each."""
    return pytest.mark.parametrize(
        "octets",
        [
            pytest.param(octets, marks=pytest.mark.benchmark(group=f"{name} {octets}"))
            for octets in OCTETS
        ],
    )


@sizes("base64_encode")
def test_encode_base64_into(benchmark: Benchmark, octets: int) -> None:
    room = bytearray((octets + 2) // 3 * 4)
    benchmark(_codec.encode_base64_into, audio(octets), room)
    assert room == base64.b64encode(audio(octets))


@sizes("base64_encode")
def test_baseline_base64__encode(benchmark: Benchmark, octets: int) -> None:
    benchmark(base64.b64encode, audio(octets))


@sizes("base64_encode")
def test_baseline_binascii__encode(benchmark: Benchmark, octets: int) -> None:
    benchmark(binascii.b2a_base64, audio(octets), newline=False)


@sizes("base64_encode")
def test_bound_memcpy__encode(benchmark: Benchmark, octets: int) -> None:
    benchmark(bytes, bytearray((octets + 2) // 3 * 4))


@sizes("base64_decode")
def test_decode_base64_into(benchmark: Benchmark, octets: int) -> None:
    room = bytearray(octets)
    benchmark(_codec.decode_base64_into, base64.b64encode(audio(octets)), room)
    assert room == audio(octets)


@sizes("base64_decode")
def test_baseline_base64__decode(benchmark: Benchmark, octets: int) -> None:
    chars = base64.b64encode(audio(octets))
    benchmark(base64.b64decode, chars, validate=True)


@sizes("base64_decode")
def test_baseline_binascii__decode(benchmark: Benchmark, octets: int) -> None:
    chars = base64.b64encode(audio(octets))
    assert benchmark(binascii.a2b_base64, chars, strict_mode=True) == audio(octets)


@sizes("base64_decode")
def test_bound_memcpy__decode(benchmark: Benchmark, octets: int) -> None:
    benchmark(bytes, bytearray(octets))
