"""Sample rate conversion: what passes, what does not, and that cuts do not show."""

import cmath
import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.reference import resample as reference
from tests.native.reference.dtmf import amplitude, phasor
from tests.native.reference.g711 import pcm_of, samples_of
from voicecall import _codec
from voicecall._codec import Resampler
from voicecall.errors import CodecError
from voicecall.ports import Encoding

pytestmark = pytest.mark.native

RATES = [
    (24000, 8000),
    (16000, 8000),
    (8000, 16000),
    (8000, 24000),
    (24000, 16000),
    (16000, 24000),
    (22050, 8000),
    (44100, 8000),
    (48000, 8000),
]


@pytest.fixture(params=[True, False], ids=["vector", "portable"])
def loops(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Both implementations in turn."""
    if _codec._set_simd(request.param) is not request.param:
        pytest.skip("this processor has no vector loops")
    yield request.param
    _codec._set_simd(True)


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


def level_db(pcm: bytes, peak: float = 30000) -> float:
    """Below a sine of that peak."""
    samples = samples_of(pcm)
    rms = math.sqrt(sum(sample**2 for sample in samples) / len(samples))
    return 20 * math.log10(max(rms, 1e-3) / (peak / math.sqrt(2)))


@pytest.mark.parametrize("in_hz", [16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("hz", [4600, 4750, 5000, 5500, 6400, 7700])
def test_what_8000_hz_cannot_carry_is_down_by_70_db(in_hz: int, hz: int) -> None:
    out = Resampler(in_hz, 8000).process(tone(hz, in_hz, peak=30000), last=True)
    assert level_db(middle(out)) <= -70


@pytest.mark.parametrize(("in_hz", "out_hz"), [(8000, 16000), (8000, 24000), (16000, 24000)])
@pytest.mark.parametrize("share", [0.05, 0.125, 0.3, 0.425])
def test_a_higher_rate_adds_no_mirror_images(in_hz: int, out_hz: int, share: float) -> None:
    hz = in_hz * share
    out = samples_of(Resampler(in_hz, out_hz).process(tone(hz, in_hz, peak=30000), last=True))
    start, count = out_hz // 10, out_hz // 5
    peak, phase = cmath.polar(phasor(out[start : start + count], hz, out_hz))
    rest = [
        round(out[start + i] - peak * math.sin(2 * math.pi * hz * i / out_hz + phase))
        for i in range(count)
    ]
    assert level_db(pcm_of(rest)) <= -70


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("hz", [300, 1000, 3400])
def test_speech_frequencies_pass_within_a_hundredth_of_a_db(
    in_hz: int, out_hz: int, hz: int
) -> None:
    out = middle(Resampler(in_hz, out_hz).process(tone(hz, in_hz), last=True))
    out = out[: out_hz // 10 * 2]
    assert abs(20 * math.log10(amplitude(out, hz, out_hz) / 10000)) <= 0.01


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("hz", [300, 1000])
def test_a_tone_stays_pure_and_keeps_its_place_to_a_microsecond(
    in_hz: int, out_hz: int, hz: int
) -> None:
    start, count = out_hz // 5, out_hz // 10
    ours = samples_of(Resampler(in_hz, out_hz).process(tone(hz, in_hz), last=True))[start:]
    ours = ours[:count]
    peak, phase = cmath.polar(phasor(ours, hz, out_hz))
    pure = [peak * math.sin(2 * math.pi * hz * i / out_hz + phase) for i in range(count)]
    assert abs(phase) / (2 * math.pi * hz) < 1e-6
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
def test_no_more_than_3_ms_are_held_back(in_hz: int, out_hz: int) -> None:
    resampler = Resampler(in_hz, out_hz)
    frame = noise(in_hz // 50)
    taken_ms = given_ms = 0.0
    for _ in range(50):
        given_ms += len(resampler.process(frame)) / 2 / out_hz * 1000
        taken_ms += 20
        assert taken_ms - given_ms <= 3


@pytest.mark.parametrize(("in_hz", "out_hz"), [*RATES, (8000, 11025), (384000, 1000)])
def test_both_loops_make_the_same_bits(in_hz: int, out_hz: int) -> None:
    pcm = pcm_of(random.Random(9).choices((-32768, -1, 0, 32767), k=3001))
    if not _codec._set_simd(True):
        pytest.skip("this processor has no vector loops")
    vector = Resampler(in_hz, out_hz).process(pcm, last=True)
    _codec._set_simd(False)
    try:
        assert Resampler(in_hz, out_hz).process(pcm, last=True) == vector
    finally:
        _codec._set_simd(True)


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
@pytest.mark.parametrize("count", [0, 1, 2, 159, 160, 161, 500])
@pytest.mark.usefixtures("loops")
def test_every_output_is_the_twins_to_what_16_bit_taps_cost(
    in_hz: int, out_hz: int, count: int
) -> None:
    pcm = noise(count, seed=count)
    ours = samples_of(Resampler(in_hz, out_hz).process(pcm, last=True))
    twins = reference.converted(samples_of(pcm), in_hz, out_hz)
    assert max((abs(a - b) for a, b in zip(ours, twins, strict=True)), default=0) <= 5


@pytest.mark.parametrize(("in_hz", "out_hz"), [*RATES, (8000, 11025)])
@pytest.mark.usefixtures("loops")
def test_the_loudest_sound_there_can_be_is_clipped_not_wrapped(in_hz: int, out_hz: int) -> None:
    """Every sample is at its limit, with the sign of its weight."""
    count = 4 * reference.taps_of(in_hz, out_hz)
    common = math.gcd(in_hz, out_hz)
    for n in range(count * out_hz // in_hz // 2, count * out_hz // in_hz // 2 + 8):
        first, phase = divmod(n * (in_hz // common), out_hz // common)
        signs = [weight >= 0 for weight in reference.weights(in_hz, out_hz, phase)]
        start = first - len(signs) // 2 + 1
        for sign, limit in ((True, 32767), (False, -32768)):
            loudest = [0] * count
            for k, positive in enumerate(signs):
                loudest[start + k] = 32767 if positive is sign else -32768
            out = samples_of(Resampler(in_hz, out_hz).process(pcm_of(loudest), last=True))
            assert out[n] == limit


def test_full_scale_is_clipped_not_wrapped() -> None:
    square = pcm_of(([32767] * 8 + [-32768] * 8) * 100)
    out = samples_of(Resampler(16000, 24000).process(square, last=True))
    assert max(out) == 32767
    assert min(out) == -32768
    jumps = [abs(a - b) for a, b in pairwise(out[100:-100])]
    assert max(jumps) < 60000


@pytest.mark.parametrize(("in_hz", "out_hz"), [*RATES, (8000, 11025)])
@pytest.mark.parametrize("level", [-32768, -1, 0, 1, 12345, 32767])
def test_a_constant_stays_one(in_hz: int, out_hz: int, level: int) -> None:
    out = samples_of(Resampler(in_hz, out_hz).process(pcm_of([level] * 2000), last=True))
    edge = 32 * max(out_hz // in_hz, 1)
    assert set(out[edge:-edge]) == {level}


@pytest.mark.parametrize("rates", [(24000, 8000), (44100, 8000), (8000, 8000)])
@pytest.mark.parametrize(
    ("encoding", "encode"), [("ulaw", _codec.ulaw_encode), ("alaw", _codec.alaw_encode)]
)
def test_output_may_be_coded_at_once(
    rates: tuple[int, int], encoding: Encoding, encode: Callable[[bytes], bytes]
) -> None:
    pcm = noise(3000)
    linear = Resampler(*rates).process(pcm, last=True)
    coded = Resampler(*rates, encoding)
    joined = b"".join(coded.process(piece) for piece in pieces(pcm, (480, 1, 0)))
    assert joined + coded.process(b"", last=True) == encode(linear)


def test_an_encoding_nobody_knows_is_refused() -> None:
    with pytest.raises(CodecError, match="encoding"):
        Resampler(24000, 8000, "opus")  # type: ignore[arg-type]  # the refusal is the test


def test_equal_rates_pass_every_sample_unchanged() -> None:
    pcm = noise(161)
    assert Resampler(8000, 8000).process(pcm) is pcm
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


def test_all_customary_rates_can_be_had_and_rates_without_a_ratio_cannot() -> None:
    customary = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000)
    for in_hz, out_hz in product(customary, customary):
        Resampler(in_hz, out_hz)
    for rates in ((8000, 8001), (383999, 8000), (8000, 383999)):
        with pytest.raises(CodecError, match="small numbers"):
            Resampler(*rates)


def test_the_rates_can_be_read() -> None:
    resampler = Resampler(24000, 8000)
    assert (resampler.in_hz, resampler.out_hz) == (24000, 8000)
