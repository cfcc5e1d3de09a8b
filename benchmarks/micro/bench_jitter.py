"""The jitter buffer against its twin in Python: 100 messages of 20 ms, in order and not."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pytest

from tests.native.reference.jitter import JitterBuffer as SlowJitterBuffer
from voicecall._codec import JitterBuffer

Benchmark = Callable[..., Any]

AUDIO = bytes(160)
FRAME_NS = 20_000_000
IN_ORDER = tuple(range(1, 101))
# Every second pair is swapped, as carriers that promise no order do it.
SWAPPED = tuple(number for i in range(1, 101, 4) for number in (i, i + 2, i + 1, i + 3))


class Buffer(Protocol):
    delivered: int
    reordered: int

    def push(self, number: int, audio: bytes, now_ns: int) -> list[bytes | int]: ...


def pushed(buffer: Buffer, numbers: Sequence[int]) -> Buffer:
    push = buffer.push
    for number in numbers:
        push(number, AUDIO, number * FRAME_NS)
    return buffer


def run(benchmark: Benchmark, make: Callable[[int], Buffer], numbers: Sequence[int]) -> Buffer:
    buffer: Buffer = benchmark(lambda: pushed(make(60), numbers))
    return buffer


@pytest.mark.benchmark(group="jitter in order")
def test_push__in_order(benchmark: Benchmark) -> None:
    assert run(benchmark, JitterBuffer, IN_ORDER).delivered == 100


@pytest.mark.benchmark(group="jitter in order")
def test_baseline_python__in_order(benchmark: Benchmark) -> None:
    assert run(benchmark, SlowJitterBuffer, IN_ORDER).delivered == 100


@pytest.mark.benchmark(group="jitter in order")
def test_bound_memcpy__in_order(benchmark: Benchmark) -> None:
    copied = bytearray(AUDIO)
    benchmark(lambda: [bytes(copied) for _ in IN_ORDER])


@pytest.mark.benchmark(group="jitter swapped")
def test_push__swapped(benchmark: Benchmark) -> None:
    assert run(benchmark, JitterBuffer, SWAPPED).reordered == 25


@pytest.mark.benchmark(group="jitter swapped")
def test_baseline_python__swapped(benchmark: Benchmark) -> None:
    assert run(benchmark, SlowJitterBuffer, SWAPPED).reordered == 25


@pytest.mark.benchmark(group="jitter swapped")
def test_bound_memcpy__swapped(benchmark: Benchmark) -> None:
    copied = bytearray(AUDIO)
    benchmark(lambda: [bytes(copied) for _ in SWAPPED])
