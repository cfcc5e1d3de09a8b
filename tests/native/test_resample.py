"""Sample rate conversion: what passes, what does not, and that cuts do not show."""

import cmath
import math
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.reference import resample as reference
from tests.native.reference.dtmf import amplitude, phasor
from tests.native.reference.g711 import pcm_of, samples_of
from voicecall._codec import Resampler
from voicecall.errors import CodecError

pytestmark = pytest.mark.native

RATES = [(24000, 8000), (16000, 8000), (8000, 16000), (8000, 24000), (24000, 16000), (44100, 8000)]


def tone(hz: float, rate_hz: int, length_ms: int = 500, peak: float = 10000) -> bytes:
    count = rate_hz * length_ms // 1000
    return pcm_of([round(peak * math.sin(2 * math.pi * hz * i / rate_hz)) for i in range(count)])


def noise(count: int, seed: int = 7) -> bytes:
    generator = random.Random(seed)
    return pcm_of([generator.randint(-12000, 12000) for _ in range(count)])


def pieces(pcm: bytes, lengths: Sequence[int]) -> Iterator[bytes]:
    """Cut into pieces of so many samples, in turn."""
    start = 0
    for turn in range(len(pcm)):
        end = start + 2 * lengths[turn % len(lengths)]
        if start >= len(pcm):
            return
        yield pcm[start:end]
        start = end


def middle(pcm: bytes) -> bytes:
    """Without the edges, where a filter sees the silence around the recording."""
    quarter = len(pcm) // 8 * 2
    return pcm[quarter:-quarter]


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("lengths", [(160,), (480,), (1, 37, 0, 1000), (7,)])
def test_a_stream_in_pieces_gives_the_same_bits_as_in_one(
    in_hz: int, out_hz: int, lengths: tuple[int, ...]
) -> None:
    pcm = noise(in_hz // 4)
    whole = Resampler(in_hz, out_hz).process(pcm, last=True)
    resampler = Resampler(in_hz, out_hz)
    joined = b"".join(resampler.process(piece) for piece in pieces(pcm, lengths))
    joined += resampler.process(b"", last=True)
    assert joined == whole


@given(lengths=st.lists(st.integers(0, 700), min_size=1, max_size=12).filter(any))
def test_the_cuts_may_be_anywhere(lengths: list[int]) -> None:
    pcm = noise(2000)
    resampler = Resampler(24000, 8000)
    joined = b"".join(resampler.process(piece) for piece in pieces(pcm, lengths))
    joined += resampler.process(b"", last=True)
    assert joined == Resampler(24000, 8000).process(pcm, last=True)


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("count", [1, 2, 159, 160, 161, 4800])
def test_the_output_is_as_long_as_the_input(in_hz: int, out_hz: int, count: int) -> None:
    out = Resampler(in_hz, out_hz).process(noise(count), last=True)
    assert abs(len(out) / 2 - count * out_hz / in_hz) <= 1


@pytest.mark.parametrize("in_hz", [16000, 24000])
def test_5_khz_is_down_by_60_db_at_8000_hz(in_hz: int) -> None:
    out = Resampler(in_hz, 8000).process(tone(5000, in_hz), last=True)
    rms = math.sqrt(sum(sample**2 for sample in samples_of(middle(out))) / (len(middle(out)) // 2))
    assert 20 * math.log10(max(rms, 1e-3) / (10000 / math.sqrt(2))) <= -60


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("hz", [300, 1000, 3400])
def test_speech_frequencies_pass_within_a_tenth_of_a_db(in_hz: int, out_hz: int, hz: int) -> None:
    out = middle(Resampler(in_hz, out_hz).process(tone(hz, in_hz), last=True))
    out = out[: out_hz // 10 * 2]
    assert abs(20 * math.log10(amplitude(out, hz, out_hz) / 10000)) <= 0.1


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("hz", [300, 1000])
def test_a_tone_stays_pure_and_keeps_its_place_to_half_a_millisecond(
    in_hz: int, out_hz: int, hz: int
) -> None:
    start, count = out_hz // 5, out_hz // 10
    ours = samples_of(Resampler(in_hz, out_hz).process(tone(hz, in_hz), last=True))[start:]
    ours = ours[:count]
    peak, phase = cmath.polar(phasor(ours, hz, out_hz))
    pure = [peak * math.sin(2 * math.pi * hz * i / out_hz + phase) for i in range(count)]
    assert abs(phase) / (2 * math.pi * hz) < 0.5e-3
    assert max(abs(our - ideal) for our, ideal in zip(ours, pure, strict=True)) <= 1.5


@pytest.mark.parametrize(("in_hz", "out_hz"), [(8000, 16000), (8000, 24000)])
def test_sound_at_a_higher_rate_has_the_twins_shape(in_hz: int, out_hz: int) -> None:
    voices = [samples_of(tone(hz, in_hz, 100, 5000)) for hz in (310, 1270, 2600)]
    mixed = [sum(column) for column in zip(*voices, strict=True)]
    ours = samples_of(Resampler(in_hz, out_hz).process(pcm_of(mixed), last=True))

    def deviation(delay_us: int) -> float:
        """From the twin's sound that much later, at the most."""
        start = out_hz // 20
        return max(
            abs(ours[k] - reference.sample_at(mixed, (k / out_hz - delay_us / 1e6) * in_hz))
            for k in range(start, start + 12)
        )

    assert min(map(deviation, range(-30, 31, 2))) <= 100


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
def test_no_more_than_30_ms_are_held_back(in_hz: int, out_hz: int) -> None:
    resampler = Resampler(in_hz, out_hz)
    frame = noise(in_hz // 50)
    taken_ms = given_ms = 0.0
    for _ in range(50):
        given_ms += len(resampler.process(frame)) / 2 / out_hz * 1000
        taken_ms += 20
        assert taken_ms - given_ms <= 30.5


def test_full_scale_is_clipped_not_wrapped() -> None:
    square = pcm_of(([32767] * 8 + [-32768] * 8) * 100)
    out = samples_of(Resampler(16000, 24000).process(square, last=True))
    assert max(out) == 32767
    assert min(out) == -32768
    jumps = [abs(a - b) for a, b in pairwise(out[100:-100])]
    assert max(jumps) < 60000


def test_equal_rates_pass_every_sample_unchanged() -> None:
    pcm = noise(161)
    assert Resampler(8000, 8000).process(pcm) == pcm
    assert Resampler(8000, 8000).process(memoryview(pcm)[2:], last=True) == pcm[2:]


def test_a_reset_and_a_last_piece_begin_a_new_stream() -> None:
    pcm = noise(4000)
    fresh = Resampler(24000, 8000).process(pcm, last=True)
    resampler = Resampler(24000, 8000)
    resampler.process(noise(333, seed=8))
    resampler.reset()
    assert resampler.process(pcm, last=True) == fresh
    assert resampler.process(pcm, last=True) == fresh


@pytest.mark.parametrize("rates", [(8000, 8000), (24000, 8000)])
def test_half_a_sample_and_other_types_are_refused(rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    with pytest.raises(CodecError, match="even number"):
        resampler.process(bytes(161))
    with pytest.raises(CodecError, match="bytes-like"):
        resampler.process("text")  # type: ignore[arg-type]  # the refusal is the test


@pytest.mark.parametrize("rates", [(0, 8000), (8000, 999), (-8000, 8000), (384001, 8000)])
def test_a_rate_out_of_range_is_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(CodecError, match="sample rate"):
        Resampler(*rates)


def test_the_rates_can_be_read() -> None:
    resampler = Resampler(24000, 8000)
    assert (resampler.in_hz, resampler.out_hz) == (24000, 8000)
