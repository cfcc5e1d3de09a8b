"""Sample rate conversion of a stream against libsoxr's two kinds of engine and audioop.

The rivals differ in more than speed. audioop interpolates linearly, without a low-pass: what the
lower rate cannot carry comes back as noise. libsoxr's constant-rate engine, which works on blocks,
holds back 70 to 120 ms of a call, its variable-rate engine 15 to 30 ms; ours holds back 2 ms.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from soxr import ResampleStream

from benchmarks.micro.rivals import audioop
from voicecall import _codec

Benchmark = Callable[..., Any]
Convert = Callable[[bytes], bytes]

# One frame of a call, and what a speech engine gives at once.
LENGTHS_MS = (20, 200)
RATES = ((24000, 8000), (16000, 8000), (8000, 16000), (44100, 8000))


def pcm_of(rate_hz: int, length_ms: int) -> bytes:
    samples = np.random.default_rng(24).normal(0, 4000, rate_hz * length_ms // 1000)
    return samples.astype("<i2").tobytes()


# The same work for each pair of rates and each length, and a group for each.
RATES_AND_LENGTHS = pytest.mark.parametrize(
    ("in_hz", "out_hz", "length_ms"),
    [
        pytest.param(
            *(in_hz, out_hz, length_ms),
            marks=pytest.mark.benchmark(group=f"{in_hz}>{out_hz} {length_ms} ms"),
        )
        for in_hz, out_hz in RATES
        for length_ms in LENGTHS_MS
    ],
)


def soxr_stream(in_hz: int, out_hz: int, *, variable: bool) -> Convert:
    stream = ResampleStream(in_hz, out_hz, 1, dtype="int16", vr=variable)

    def convert(pcm: bytes) -> bytes:
        return bytes(stream.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes())

    return convert


@RATES_AND_LENGTHS
def test_resample(benchmark: Benchmark, in_hz: int, out_hz: int, length_ms: int) -> None:
    convert = _codec.Resampler(in_hz, out_hz).process
    convert(pcm_of(in_hz, 200))
    out = benchmark(convert, pcm_of(in_hz, length_ms))
    assert abs(len(out) - 2 * out_hz * length_ms // 1000) <= 2


@RATES_AND_LENGTHS
def test_baseline_soxr__resample(
    benchmark: Benchmark, in_hz: int, out_hz: int, length_ms: int
) -> None:
    benchmark(soxr_stream(in_hz, out_hz, variable=False), pcm_of(in_hz, length_ms))


@RATES_AND_LENGTHS
def test_baseline_soxr_vr__resample(
    benchmark: Benchmark, in_hz: int, out_hz: int, length_ms: int
) -> None:
    benchmark(soxr_stream(in_hz, out_hz, variable=True), pcm_of(in_hz, length_ms))


@RATES_AND_LENGTHS
def test_baseline_audioop__resample(
    benchmark: Benchmark, in_hz: int, out_hz: int, length_ms: int
) -> None:
    state: Any = None

    def convert(pcm: bytes) -> bytes:
        nonlocal state
        out, state = audioop.ratecv(pcm, 2, 1, in_hz, out_hz, state)
        return out

    benchmark(convert, pcm_of(in_hz, length_ms))


@pytest.mark.benchmark(group="resample + ulaw 200 ms")
def test_resample_ulaw(benchmark: Benchmark) -> None:
    convert = _codec.Resampler(24000, 8000, "ulaw").process
    convert(pcm_of(24000, 200))
    assert len(benchmark(convert, pcm_of(24000, 200))) == 1600


@pytest.mark.benchmark(group="resample + ulaw 200 ms")
def test_baseline_soxr_vr__resample_ulaw(benchmark: Benchmark) -> None:
    resample = soxr_stream(24000, 8000, variable=True)

    def convert(pcm: bytes) -> bytes:
        return audioop.lin2ulaw(resample(pcm), 2)

    benchmark(convert, pcm_of(24000, 200))


@pytest.mark.benchmark(group="new stream")
def test_new_stream(benchmark: Benchmark) -> None:
    benchmark(_codec.Resampler, 24000, 8000)


@pytest.mark.benchmark(group="new stream")
def test_baseline_soxr_vr__new_stream(benchmark: Benchmark) -> None:
    benchmark(soxr_stream, 24000, 8000, variable=True)
