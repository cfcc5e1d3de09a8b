"""Key tones: made after ITU-T Q.23, recognised within the limits of ITU-T Q.24."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.reference import dtmf as reference
from tests.native.reference.g711 import pcm_of, samples_of, ulaw_decode, ulaw_encode
from tests.native.reference.resample import rounded
from voicecall._codec import DtmfDetector, dtmf_tones
from voicecall.errors import CodecError

pytestmark = pytest.mark.native

RATES_HZ = [8000, 11025, 16000, 24000, 48000]
PEAK_AT_0_DBM0 = 32767 * 10 ** (-3.17 / 20)


def dbm0(peak: float) -> float:
    return 20 * math.log10(peak / PEAK_AT_0_DBM0)


def silence(length_ms: float) -> list[float]:
    return [0.0] * round(length_ms * 8)


def press(
    key: str,
    length_ms: float,
    *,
    level_dbm0: float = -12,
    column_over_row_db: float = 0,
    detuning: float = 0,
    phase: float = 0,
) -> list[float]:
    """A key at 8000 Hz, with hard edges, as bad as asked for."""
    row_hz, column_hz = reference.frequencies_hz(key)
    row = PEAK_AT_0_DBM0 * 10 ** ((level_dbm0 - max(0, column_over_row_db)) / 20)
    column = row * 10 ** (column_over_row_db / 20)
    step = 2 * math.pi * (1 + detuning) / 8000
    return [
        row * math.sin(row_hz * step * i + phase)
        + column * math.sin(column_hz * step * i + 2 * phase)
        for i in range(round(length_ms * 8))
    ]


def hear(*parts: list[float]) -> str:
    return DtmfDetector().feed(pcm_of([rounded(x) for part in parts for x in part]))


def hear_press(key: str, length_ms: float, **how: float) -> str:
    """With the press beginning at each of many places relative to the detector's windows."""
    heard = {
        hear(silence(60), [0.0] * start, press(key, length_ms, phase=start / 7, **how), silence(60))
        for start in range(0, 40, 3)
    }
    assert len(heard) == 1, heard
    return heard.pop()


def voice(seed: int, length_s: int) -> list[float]:
    """Something like speech: glottal pulses of a moving pitch through three resonances; hiss."""
    generator = random.Random(seed)
    out: list[float] = []
    while len(out) < length_s * 8000:
        pitch_hz = generator.uniform(80, 250)
        glide = generator.uniform(-0.4, 0.4)
        formants = [(generator.uniform(low, high), width) for low, high, width in FORMANTS]
        loudness = generator.uniform(2000, 15000)
        count = round(generator.uniform(0.06, 0.25) * 8000)
        states = [[0.0, 0.0] for _ in formants]
        position = 0.0
        for i in range(count):
            position += pitch_hz * (1 + glide * i / count) / 8000
            sample = generator.gauss(0, 0.02)
            if position >= 1:
                position -= 1
                sample += 1
            for (hz, width_hz), state in zip(formants, states, strict=True):
                radius = math.exp(-math.pi * width_hz / 8000)
                resonance = 2 * radius * math.cos(2 * math.pi * hz / 8000)
                sample = (
                    (1 - radius) * sample * 3 + resonance * state[0] - radius * radius * state[1]
                )
                state[1], state[0] = state[0], sample
            out.append(loudness * sample * math.sin(math.pi * i / count))
        out.extend(generator.gauss(0, 800) for _ in range(generator.randint(100, 900)))
    return out


# Lowest and highest centre and the bandwidth of the first three, in Hz.
FORMANTS = [(280, 850, 90), (850, 2300, 110), (2300, 3200, 160)]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("key", reference.KEYS)
def test_every_key_has_its_two_frequencies_at_the_standard_level(key: str, rate_hz: int) -> None:
    tone = dtmf_tones(key, rate_hz, tone_ms=106, gap_ms=0)
    edge = rate_hz * 3 // 1000 * 2
    steady = tone[edge : edge + rate_hz // 10 * 2]
    row_hz, column_hz = reference.frequencies_hz(key)
    assert reference.key_of(steady, rate_hz) == key
    assert abs(dbm0(reference.amplitude(steady, row_hz, rate_hz)) + 11) < 0.5
    assert abs(dbm0(reference.amplitude(steady, column_hz, rate_hz)) + 9) < 0.5


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_tone_begins_and_ends_without_a_click(rate_hz: int) -> None:
    tone = samples_of(dtmf_tones("5", rate_hz, tone_ms=50, gap_ms=10))
    ring = tone[: rate_hz * 50 // 1000]
    assert max(map(abs, ring[: rate_hz // 4000] + ring[-rate_hz // 4000 :])) < 1000
    assert max(map(abs, ring)) > 12000
    assert not any(tone[len(ring) :])


@pytest.mark.parametrize(
    ("digits", "length_ms"),
    [("", 0), ("1", 150), ("1w2", 800), ("1W2", 1300), ("wW", 1500), ("12A#", 600)],
)
@pytest.mark.parametrize("rate_hz", [8000, 24000])
def test_a_sequence_lasts_as_long_as_its_tones_gaps_and_pauses(
    digits: str, length_ms: int, rate_hz: int
) -> None:
    assert len(dtmf_tones(digits, rate_hz, 100, 50)) == length_ms * rate_hz // 1000 * 2


@pytest.mark.parametrize(
    "digits", ["E", "a", "1 2", "1,2", "+", "\uff11", "W\n", "1" * 129, "\ud800"]
)
def test_what_is_no_key_sequence_is_refused(digits: str) -> None:
    with pytest.raises(CodecError):
        dtmf_tones(digits)


@pytest.mark.parametrize(
    "arguments", [(7999, 100, 100), (48001, 100, 100), (8000, 0, 100), (8000, 100, -1)]
)
def test_numbers_out_of_range_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(CodecError):
        dtmf_tones("1", *arguments)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(("tone_ms", "gap_ms"), [(100, 100), (50, 45), (400, 40)])
def test_what_we_synthesise_we_recognise(rate_hz: int, tone_ms: int, gap_ms: int) -> None:
    pcm = dtmf_tones(reference.KEYS + "0011", rate_hz, tone_ms, gap_ms)
    assert DtmfDetector(rate_hz).feed(pcm) == reference.KEYS + "0011"


def test_tones_survive_mu_law() -> None:
    assert DtmfDetector().feed(ulaw_decode(ulaw_encode(dtmf_tones("159D")))) == "159D"


@given(cuts=st.lists(st.integers(0, 6000), max_size=30))
def test_the_cuts_of_the_stream_do_not_matter(cuts: list[int]) -> None:
    pcm = dtmf_tones("8*", 8000, 60, 60)
    detector = DtmfDetector()
    edges = [0, *sorted(2 * min(cut, len(pcm) // 2) for cut in cuts), len(pcm)]
    assert "".join(detector.feed(pcm[a:b]) for a, b in pairwise(edges)) == "8*"


def test_a_key_is_reported_in_the_piece_that_completes_it() -> None:
    pcm = dtmf_tones("7", 8000, 100, 100)
    detector = DtmfDetector()
    heard = [detector.feed(pcm[start : start + 320]) for start in range(0, len(pcm), 320)]
    assert "".join(heard) == "7"
    assert heard.index("7") == 1, "40 ms into the press"


@pytest.mark.parametrize("key", reference.KEYS)
def test_forty_milliseconds_are_a_key_and_less_than_twenty_are_none(key: str) -> None:
    assert hear_press(key, 40) == key
    assert hear_press(key, 19.9) == ""


@pytest.mark.parametrize("key", "159D")
@pytest.mark.parametrize("detuning", [-0.015, 0.015])
def test_frequencies_may_be_off_by_one_and_a_half_percent(key: str, detuning: float) -> None:
    assert hear_press(key, 45, detuning=detuning) == key


@pytest.mark.parametrize("key", "159D")
@pytest.mark.parametrize("detuning", [-0.035, 0.035])
def test_frequencies_that_are_off_by_three_and_a_half_percent_are_no_key(
    key: str, detuning: float
) -> None:
    assert hear_press(key, 100, detuning=detuning) == ""


@pytest.mark.parametrize("key", "159D")
@pytest.mark.parametrize(
    ("column_over_row_db", "accepted"), [(-14, False), (-8, True), (0, True), (4, True), (9, False)]
)
def test_one_tone_may_be_stronger_than_the_other_only_so_much(
    key: str, column_over_row_db: float, accepted: bool
) -> None:
    heard = hear_press(key, 60, column_over_row_db=column_over_row_db)
    assert heard == (key if accepted else "")


@pytest.mark.parametrize(
    ("level_dbm0", "accepted"), [(-6, True), (-25, True), (-30, True), (-40, False), (-55, False)]
)
def test_quiet_keys_are_heard_down_to_a_limit(level_dbm0: float, accepted: bool) -> None:
    assert hear_press("6", 60, level_dbm0=level_dbm0) == ("6" if accepted else "")


def test_a_long_press_is_one_key() -> None:
    assert hear(press("3", 5000), silence(100)) == "3"


def test_ten_milliseconds_of_silence_do_not_split_a_press_and_forty_do() -> None:
    for phase in range(12):
        once = press("9", 60, phase=phase)
        assert hear(silence(phase), once, silence(10), once, silence(50)) == "9"
        assert hear(silence(phase), once, silence(40), once, silence(50)) == "99"


def test_another_key_right_after_is_another_press() -> None:
    assert hear(press("1", 60), press("2", 60), press("1", 60), silence(20)) == "121"


def test_a_single_tone_is_no_key() -> None:
    for hz in (350, 440, 697, 941, 1209, 1633, 2100):
        assert hear([9000 * math.sin(2 * math.pi * hz * i / 8000) for i in range(8000)]) == ""


def test_a_key_is_heard_over_noise_15_db_below_it() -> None:
    generator = random.Random(4)
    key = press("4", 80, level_dbm0=-12)
    rms = math.sqrt(sum(sample**2 for sample in key) / len(key)) * 10 ** (-15 / 20)
    for _ in range(20):
        assert hear([s + generator.gauss(0, rms) for s in silence(30) + key + silence(60)]) == "4"


def test_noise_is_no_key() -> None:
    generator = random.Random(5)
    for deviation in (300, 3000, 9000):
        assert hear([generator.gauss(0, deviation) for _ in range(8000 * 20)]) == ""


@pytest.mark.parametrize("seed", range(6))
def test_speech_is_no_key(seed: int) -> None:
    speech = voice(seed, 15)
    peak = max(map(abs, speech))
    assert hear([sample / peak * 20000 for sample in speech]) == ""


def test_a_key_is_heard_after_speech() -> None:
    assert hear(voice(9, 3), silence(20), press("0", 60), silence(20), voice(10, 1)) == "0"


def test_half_a_sample_other_types_and_rates_are_refused() -> None:
    with pytest.raises(CodecError, match="even number"):
        DtmfDetector().feed(bytes(3))
    with pytest.raises(CodecError, match="bytes-like"):
        DtmfDetector().feed(7)  # type: ignore[arg-type]  # the refusal is the test
    for rate_hz in (0, 7999, 48001):
        with pytest.raises(CodecError, match="sample rate"):
            DtmfDetector(rate_hz)


def test_the_rate_can_be_read() -> None:
    assert DtmfDetector().rate_hz == 8000
