"""The jitter buffer against its twin, under everything that networks do to messages."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.drivers import NS_PER_MS, NS_PER_S, JitterDriver
from tests.native.reference import jitter as reference
from voicecall._codec import JitterBuffer, conceal
from voicecall.errors import CodecError

pytestmark = pytest.mark.native

# Where numbers begin: small, before 16 bits, 31 bits and 32 bits are full, and beyond.
STARTS = (0, 1, 65530, 2**31 - 5, 2**32 - 5, 10**17)


def pushed(buffer: JitterBuffer, *numbers: int, now_ms: int = 0) -> list[bytes | int]:
    """Push messages whose audio is their number."""
    out: list[bytes | int] = []
    for number in numbers:
        out += buffer.push(number, b"%d" % number, now_ms * NS_PER_MS)
    return out


def test_messages_in_order_go_on_at_once() -> None:
    buffer = JitterBuffer()
    for number in range(100, 200):
        assert pushed(buffer, number) == [b"%d" % number]
    assert (buffer.delivered, buffer.reordered, buffer.held) == (100, 0, 0)


def test_the_object_that_is_pushed_in_order_is_the_one_that_leaves() -> None:
    audio = bytes(160)
    assert JitterBuffer().push(1, audio, 0)[0] is audio


def test_messages_behind_a_gap_wait_for_the_missing_one() -> None:
    buffer = JitterBuffer()
    assert pushed(buffer, 1, 3, 4) == [b"1"]
    assert buffer.held == 2
    assert pushed(buffer, 2, now_ms=59) == [b"2", b"3", b"4"]
    assert (buffer.delivered, buffer.reordered, buffer.lost) == (4, 2, 0)


def test_a_gap_is_given_up_after_jitter_ms_and_reported() -> None:
    buffer = JitterBuffer(60)
    pushed(buffer, 1)
    pushed(buffer, 4, 5, 7, now_ms=100)
    assert buffer.expire(160 * NS_PER_MS - 1) == []
    assert buffer.expire(160 * NS_PER_MS) == [2, b"4", b"5", 1, b"7"]
    assert buffer.lost == 3


def test_the_gaps_before_the_oldest_message_are_given_up_with_it() -> None:
    buffer = JitterBuffer(60)
    pushed(buffer, 1)
    pushed(buffer, 9, now_ms=0)
    pushed(buffer, 5, now_ms=50)
    assert buffer.expire(59 * NS_PER_MS) == []
    assert buffer.expire(60 * NS_PER_MS) == [3, b"5", 3, b"9"]


def test_a_gap_in_front_of_younger_messages_waits_for_them_alone() -> None:
    buffer = JitterBuffer(60)
    pushed(buffer, 1)
    pushed(buffer, 3, now_ms=0)
    pushed(buffer, 5, now_ms=50)
    assert buffer.expire(60 * NS_PER_MS) == [1, b"3"]
    assert buffer.expire(109 * NS_PER_MS) == []
    assert buffer.expire(110 * NS_PER_MS) == [1, b"5"]


def test_without_jitter_a_gap_is_given_up_at_once() -> None:
    assert pushed(JitterBuffer(0), 1, 3, 2, 4) == [b"1", 1, b"3", b"4"]


def test_duplicates_are_dropped_whether_delivered_or_held() -> None:
    buffer = JitterBuffer()
    assert pushed(buffer, 1, 1, 3, 3, 1) == [b"1"]
    assert (buffer.duplicates, buffer.late, buffer.held) == (3, 0, 1)


def test_a_message_that_comes_after_its_gap_was_given_up_is_late() -> None:
    buffer = JitterBuffer(0)
    pushed(buffer, 1, 3)
    assert pushed(buffer, 2, 2) == []
    assert (buffer.late, buffer.duplicates) == (2, 0)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("back", "restarts"), [(1, 0), (64, 0), (128, 0), (129, 1), (1000, 1)])
def test_a_number_far_behind_is_a_restart(start: int, back: int, restarts: int) -> None:
    buffer = JitterBuffer()
    pushed(buffer, *range(start + 2000, start + 2300))
    assert len(pushed(buffer, start + 2300 - back)) == restarts
    assert buffer.restarts == restarts


@pytest.mark.parametrize(("ahead", "restarts"), [(1, 0), (31, 0), (32, 1), (2**31, 1)])
def test_a_number_far_ahead_is_a_restart(ahead: int, restarts: int) -> None:
    buffer = JitterBuffer()
    pushed(buffer, 1)
    pushed(buffer, 2 + ahead)
    assert (buffer.restarts, buffer.held) == (restarts, 1 - restarts)


def test_a_restart_lets_go_of_what_is_held_first() -> None:
    buffer = JitterBuffer()
    pushed(buffer, 500, 503, 505)
    assert pushed(buffer, 1, 2) == [2, b"503", 1, b"505", b"1", b"2"]


def test_a_counter_of_16_bits_wraps_without_loss() -> None:
    buffer = JitterBuffer()
    numbers = [number % 2**16 for number in range(65500, 65600)]
    assert pushed(buffer, *numbers) == [b"%d" % number for number in numbers]
    assert (buffer.lost, buffer.late, buffer.restarts) == (0, 0, 1)


def test_a_counter_of_32_bits_wraps_even_out_of_order() -> None:
    buffer = JitterBuffer()
    end = 2**32
    assert pushed(buffer, end - 2, 0, end - 1, 2, 1) == [
        b"%d" % number for number in (end - 2, end - 1, 0, 1, 2)
    ]
    assert buffer.restarts == 0


def test_held_audio_of_any_length_comes_back_as_it_was() -> None:
    for length in (0, 1, 159, 160, 161, 49152):
        buffer = JitterBuffer()
        audio = random.Random(length).randbytes(length)
        buffer.push(1, b"", 0)
        buffer.push(3, audio, 0)
        assert buffer.push(2, b"-", 0) == [b"-", audio]


def test_buffers_that_still_hold_messages_can_be_thrown_away() -> None:
    for _ in range(1000):
        pushed(JitterBuffer(), 1, *range(3, 33))


@pytest.mark.parametrize("jitter_ms", [-1, 1001])
def test_an_unreasonable_delay_is_refused(jitter_ms: int) -> None:
    with pytest.raises(ValueError, match="jitter_ms"):
        JitterBuffer(jitter_ms)


def test_a_number_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        JitterBuffer().push(2**63, b"", 0)


# --- properties ------------------------------------------------------------------------------

STEP = st.tuples(
    st.integers(-3, 3) | st.integers(-140, 140) | st.sampled_from((-(2**31), -(2**16), 2**16)),
    st.integers(0, 40),
    st.booleans(),
)


@settings(deadline=None)
@given(
    start=st.sampled_from(STARTS), jitter_ms=st.integers(0, 120), steps=st.lists(STEP, max_size=80)
)
def test_any_numbers_at_any_times_leave_as_the_twin_says(
    start: int, jitter_ms: int, steps: list[tuple[int, int, bool]]
) -> None:
    driver = JitterDriver(jitter_ms)
    number = start
    for jump, pause_ms, expires in steps:
        number = max(0, number + 1 + jump)
        driver.push(number)
        driver.advance_ms(pause_ms)
        if expires:
            driver.expire()
            driver.assert_nothing_overstayed()
    driver.advance_ms(jitter_ms)
    driver.expire()
    assert driver.native.held == 0


@settings(deadline=None)
@given(
    start=st.sampled_from(STARTS),
    source=st.randoms(use_true_random=False),
    loss=st.floats(0, 0.3),
    spread_ms=st.integers(0, 59),
)
def test_over_a_bad_network_everything_that_came_in_time_is_heard_in_order(
    start: int, source: random.Random, loss: float, spread_ms: int
) -> None:
    """Messages of 20 ms, delayed by less than jitter_ms, lost and doubled at random."""
    arrivals = sorted(
        (20 * i + source.randrange(spread_ms + 1), i)
        for i in range(60)
        if i == 0 or source.random() >= loss
        for _ in range(2 if source.random() < 0.1 else 1)
    )
    # The first one heard says where the numbering begins; nothing comes before it.
    arrivals = [(-1, 0), *arrivals]
    driver = JitterDriver(60)
    heard: list[int | None] = []
    for at_ms, i in arrivals:
        wait_ms = at_ms - (driver.now_ns - NS_PER_S) / NS_PER_MS
        driver.advance_ms(max(0, wait_ms))
        heard += driver.numbers(driver.expire())
        heard += driver.numbers(driver.push(start + i))
    driver.advance_ms(60)
    heard += driver.numbers(driver.expire())
    came = sorted({start + i for _, i in arrivals})
    assert [number for number in heard if number is not None] == came
    assert driver.native.lost == came[-1] - start + 1 - len(came)
    assert driver.native.late == 0


# --- concealment -----------------------------------------------------------------------------


def samples_of(pcm: bytes) -> list[int]:
    return list(memoryview(pcm).cast("h"))


def pcm_of(samples: list[int]) -> bytes:
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


@settings(deadline=None)
@given(
    last=st.lists(st.integers(-32768, 32767), max_size=330),
    hole=st.integers(0, 5),
    samples=st.sampled_from((0, 1, 2, 79, 159, 160, 161, 320, 640)),
)
def test_concealment_is_the_twins_but_for_rounding(
    last: list[int], hole: int, samples: int
) -> None:
    filled = samples_of(conceal(pcm_of(last), hole, samples))
    expected = reference.conceal(last, hole, samples)
    assert len(filled) == samples
    assert all(abs(a - b) <= 2 for a, b in zip(filled, expected, strict=True))


def test_a_hole_fades_over_three_frames_without_steps_and_is_silent_then() -> None:
    last = pcm_of([12000] * 160)
    hole = [sample for i in range(4) for sample in samples_of(conceal(last, i, 160))]
    assert hole[0] == 12000
    assert all(0 <= before - after <= 26 for before, after in pairwise(hole))
    assert hole[480:] == [0] * 160


def test_concealment_of_impossible_frames_is_refused() -> None:
    for arguments in ((b"\x00", 0, 160), (b"", -1, 160), (b"", 0, -1)):
        with pytest.raises(CodecError):
            conceal(*arguments)
