"""How fast the core is next to what else would do the same work, in the same process.

Only ratios are asserted: medians over many short rounds in which the rivals take turns, so that a
busy machine slows both.
"""

import os
import random
import statistics
import struct
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.micro import rivals
from voicecall import _codec

pytestmark = [
    pytest.mark.timed,
    pytest.mark.native,
    pytest.mark.skipif(
        "libasan" in os.environ.get("LD_PRELOAD", ""), reason="instrumented code has no speed"
    ),
]

ROUNDS = 41
ROUND_NS = 200_000
SAMPLES = (160, 8000)
ALL_CODES = bytes(range(256))
ALL_PCM = struct.pack("<65536h", *range(-32768, 32768))

# Look-up tables; those for compression are indexed by the sample's 16 bits as an unsigned number.
ULAW_OF_PCM = np.roll(np.frombuffer(_codec.ulaw_encode(ALL_PCM), np.uint8), 32768)
ALAW_OF_PCM = np.roll(np.frombuffer(_codec.alaw_encode(ALL_PCM), np.uint8), 32768)
PCM_OF_ULAW = np.frombuffer(_codec.ulaw_decode(ALL_CODES), "<i2")
PCM_OF_ALAW = np.frombuffer(_codec.alaw_decode(ALL_CODES), "<i2")

Work = Callable[[], object]


def calls_of(work: Work) -> int:
    """How many calls make a round."""
    return max(5, round(ROUND_NS / timed_ns(work, 20)))


def timed_ns(work: Work, calls: int) -> float:
    repeats = range(calls)
    start_ns = time.perf_counter_ns()
    for _ in repeats:
        work()
    return (time.perf_counter_ns() - start_ns) / calls


def times_faster(ours: Work, rival: Work) -> float:
    """The rival's time as a multiple of ours, in the middle one of all rounds."""
    calls = calls_of(ours), calls_of(rival)
    ratios = []
    for _ in range(ROUNDS):
        ours_ns = timed_ns(ours, calls[0])
        ratios.append(timed_ns(rival, calls[1]) / ours_ns)
    return statistics.median(ratios)


def test_decoding_a_message_is_five_times_as_fast_as_with_a_json_parser() -> None:
    message = rivals.INBOUND
    assert (
        times_faster(
            lambda: _codec.media_to_pcm16(message),
            lambda: rivals.decode(message),
        )
        >= 5
    )


def test_building_a_message_is_three_times_as_fast_as_with_a_json_writer() -> None:
    build = rivals.TWILIO.media_from_pcm16
    pcm = rivals.PCM
    assert times_faster(lambda: build(pcm), lambda: rivals.build(pcm)) >= 3


def speech(samples: int) -> bytes:
    generator = random.Random(711)
    return struct.pack(f"<{samples}h", *(int(generator.gauss(0, 4000)) for _ in range(samples)))


Convert = Callable[[bytes], bytes]
Table = npt.NDArray[np.uint8] | npt.NDArray[np.int16]


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize(
    ("convert", "rival", "table"),
    [
        (_codec.ulaw_encode, rivals.audioop.lin2ulaw, ULAW_OF_PCM),
        (_codec.alaw_encode, rivals.audioop.lin2alaw, ALAW_OF_PCM),
    ],
    ids=["ulaw", "alaw"],
)
def test_compressing_is_not_slower_than_audioop_or_a_look_up(
    convert: Convert, rival: Callable[[bytes, int], bytes], table: Table, samples: int
) -> None:
    pcm = speech(samples)

    def look_up() -> bytes:
        return table[np.frombuffer(pcm, np.uint16)].tobytes()

    assert look_up() == convert(pcm)
    assert times_faster(lambda: convert(pcm), lambda: rival(pcm, 2)) >= 1
    assert times_faster(lambda: convert(pcm), look_up) >= 1


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize(
    ("compress", "convert", "rival", "table"),
    [
        (
            _codec.ulaw_encode,
            _codec.ulaw_decode,
            rivals.audioop.ulaw2lin,
            PCM_OF_ULAW,
        ),
        (
            _codec.alaw_encode,
            _codec.alaw_decode,
            rivals.audioop.alaw2lin,
            PCM_OF_ALAW,
        ),
    ],
    ids=["ulaw", "alaw"],
)
def test_expanding_is_not_slower_than_audioop_or_a_look_up(
    compress: Convert,
    convert: Convert,
    rival: Callable[[bytes, int], bytes],
    table: Table,
    samples: int,
) -> None:
    codes = compress(speech(samples))

    def look_up() -> bytes:
        return table[np.frombuffer(codes, np.uint8)].tobytes()

    assert look_up() == convert(codes)
    assert times_faster(lambda: convert(codes), lambda: rival(codes, 2)) >= 1
    assert times_faster(lambda: convert(codes), look_up) >= 1


def test_resampling_is_twice_as_fast_as_interpolation_with_audioop() -> None:
    pcm = speech(4800)
    convert = _codec.Resampler(24000, 8000).process
    state = rivals.audioop.ratecv(pcm, 2, 1, 24000, 8000, None)[1]
    assert (
        times_faster(
            lambda: convert(pcm),
            lambda: rivals.audioop.ratecv(pcm, 2, 1, 24000, 8000, state),
        )
        >= 2
    )
