"""The pacer against its twin, and against what a carrier would hear."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.drivers import NS_PER_MS, NS_PER_S, PacerDriver
from voicecall._codec import Pacer
from voicecall.errors import CodecError

pytestmark = pytest.mark.native

FRAME = 160
LINES = ((8000, 0xFF), (8000, 0xD5), (16000, 0), (32000, 0))  # mu-law, A-law, L16 at 8 and 16 kHz


def run(driver: PacerDriver, until_ms: float, every_ms: float = 20) -> None:
    """Pump at regular times."""
    end_ns = driver.now_ns + round(until_ms * NS_PER_MS)
    while driver.now_ns < end_ns:
        driver.pump()
        driver.advance_ms(every_ms)


def test_the_lead_is_sent_at_once_and_the_rest_in_real_time() -> None:
    driver = PacerDriver(group=1, lead_ms=160)
    driver.write(FRAME * 100)
    assert len(driver.pump()) == 8
    driver.advance_ms(19)
    assert driver.pump() == []
    driver.advance_ms(1)
    assert len(driver.pump()) == 1
    driver.advance_ms(100)
    assert len(driver.pump()) == 5


@pytest.mark.parametrize(
    ("lead_ms", "frame_ms", "group"),
    [
        (160, 20, 5),
        (20, 20, 1),
        (60, 60, 1),
        (100, 20, 2),
        (1000, 20, 5),
        (90, 10, 3),
        (160, 60, 1),
    ],
)
def test_as_many_frames_as_leave_60_ms_standing_travel_together(
    lead_ms: int, frame_ms: int, group: int
) -> None:
    assert Pacer(8000, 0xFF, frame_ms, lead_ms).group == group


@pytest.mark.parametrize("group", range(1, 11))
@pytest.mark.parametrize("every_ms", [5, 20])
def test_what_stands_at_the_carrier_swings_by_one_group(group: int, every_ms: int) -> None:
    driver = PacerDriver(group=group, lead_ms=220)
    driver.write(8000 * 3)
    driver.pump()
    while driver.native.queued_octets > group * FRAME:
        assert 220 - 20 * group < driver.ahead_ns / NS_PER_MS <= 220
        driver.advance_ms(every_ms)
        assert driver.ahead_ns / NS_PER_MS > 220 - 20 * group - every_ms
        driver.pump()
    assert driver.native.late == 0


@pytest.mark.parametrize(("rate", "silence"), LINES)
@pytest.mark.parametrize("octets", [1, 159, 160, 161, 799, 8000])
def test_a_finished_utterance_leaves_whole_and_is_filled_up_with_silence(
    rate: int, silence: int, octets: int
) -> None:
    driver = PacerDriver(rate, silence)
    driver.write(octets)
    driver.finish()
    run(driver, 2000)
    padding = -octets % driver.native.frame_octets
    assert driver.sent == bytes(i * 7 % 251 for i in range(octets)) + bytes([silence]) * padding


def test_a_part_of_a_frame_waits_for_more() -> None:
    driver = PacerDriver()
    driver.write(159)
    assert driver.pump() == []
    driver.write(1)
    assert len(driver.pump()) == 1


def test_the_long_run_rate_has_no_error() -> None:
    driver = PacerDriver()
    start_ns = driver.now_ns
    source = random.Random(20)
    driver.write(8000)
    for second in range(1, 121):
        driver.write(8000)
        while driver.now_ns < start_ns + second * NS_PER_S:
            driver.pump()
            driver.advance_ms(source.uniform(1, 20))
    driver.pump()
    sent_ns = driver.native.sent_octets * NS_PER_S // 8000
    assert 60 * NS_PER_MS < sent_ns - (driver.now_ns - start_ns) <= 160 * NS_PER_MS
    assert driver.head_ns == start_ns + sent_ns
    assert (driver.native.late, driver.native.starved) == (0, 0)


def test_without_a_lead_small_delays_do_not_add_up() -> None:
    driver = PacerDriver(group=1, lead_ms=20)
    start_ns = driver.now_ns
    source = random.Random(7)
    driver.write(8000)
    for second in range(1, 61):
        driver.write(8000)
        while driver.now_ns < start_ns + second * NS_PER_S:
            driver.pump()
            driver.advance_ms(source.uniform(1, 8))
    sent_ns = driver.native.sent_octets * NS_PER_S // 8000
    behind_ns = driver.now_ns - start_ns - sent_ns
    assert behind_ns < 20 * NS_PER_MS
    assert driver.native.late > 1000


def test_after_a_stall_it_catches_up_to_the_full_lead_at_once() -> None:
    driver = PacerDriver(group=1, lead_ms=160)
    driver.write(8000 * 5)
    driver.pump()
    driver.advance_ms(1000)
    assert len(driver.pump()) == 8
    assert (driver.native.late, driver.native.worst_late_ns) == (1, 840 * NS_PER_MS)
    run(driver, 500)
    assert driver.native.late == 1


def test_a_stall_within_the_lead_is_no_lateness() -> None:
    driver = PacerDriver(group=1, lead_ms=160)
    driver.write(8000)
    driver.pump()
    driver.advance_ms(160)
    assert len(driver.pump()) == 8
    assert driver.native.late == 0


def test_audio_that_comes_too_late_is_starvation_and_not_lateness() -> None:
    driver = PacerDriver()
    driver.write(FRAME)
    driver.pump()
    driver.advance_ms(30)
    driver.write(10)
    driver.write(FRAME)
    driver.pump()
    assert (driver.native.starved, driver.native.late) == (1, 0)


def test_a_pause_between_utterances_is_neither() -> None:
    driver = PacerDriver()
    for _ in range(3):
        driver.write(200)
        driver.pump()
        driver.finish()
        run(driver, 500)
    assert (driver.native.starved, driver.native.late) == (0, 0)


def test_marks_leave_in_order_at_the_end_of_the_frame_they_fall_in() -> None:
    driver = PacerDriver(lead_ms=1000, group=5)
    names = [driver.mark()]
    for octets in (80, 80, 160, 1, 0):
        driver.write(octets)
        names.append(driver.mark())
    driver.finish()
    driver.pump()
    places = [0, 160, 160, 320, 480, 480]
    assert driver.marks_out == list(zip(names, places, strict=True))


def test_a_mark_at_the_end_of_an_open_utterance_waits_for_what_follows() -> None:
    driver = PacerDriver()
    driver.write(FRAME)
    driver.mark()
    assert len(driver.pump()) == 1
    driver.advance_ms(500)
    assert driver.pump() == []
    driver.finish()
    assert driver.pump() == ["m0"]


@pytest.mark.parametrize("name", ["", "a" * 129, 'a"', "a\\", "a\n", "\x7f", "caf\u00e9"])
def test_a_mark_that_needs_escapes_is_refused(name: str) -> None:
    with pytest.raises(CodecError):
        Pacer(8000, 0xFF).mark(name)


def test_a_mark_may_be_128_octets_long() -> None:
    pacer = Pacer(8000, 0xFF)
    pacer.mark("a" * 128)
    assert pacer.pump(0) == ["a" * 128]


def test_a_clear_drops_audio_and_marks_and_positions_go_on() -> None:
    driver = PacerDriver()
    driver.write(8000)
    driver.mark()
    driver.pump()
    driver.advance_ms(40)
    assert driver.native.played_octets(driver.now_ns) == 320
    driver.clear()
    assert driver.pump() == []
    assert driver.native.played_octets(driver.now_ns) == driver.native.sent_octets == 8000
    driver.write(FRAME)
    assert driver.ahead_ns == 0
    assert len(driver.pump()) == 1
    assert driver.native.sent_octets == 8160
    assert driver.native.played_octets(driver.now_ns) == 8000


def test_audio_beyond_the_capacity_is_refused_whole() -> None:
    driver = PacerDriver(capacity_ms=100)
    assert driver.write(799)
    assert not driver.write(2)
    assert driver.write(1)
    assert not driver.write(1)
    driver.pump()
    assert driver.write(1)


def test_too_many_pieces_and_too_many_marks_are_refused() -> None:
    pacer = Pacer(8000, 0xFF)
    taken = sum(pacer.write(b"a", 0) for _ in range(5000))
    assert taken == 4096
    for _ in range(4096):
        pacer.mark("m")
    with pytest.raises(CodecError, match="too many marks"):
        pacer.mark("m")


def test_nothing_is_not_taken_for_audio() -> None:
    pacer = Pacer(8000, 0xFF)
    with pytest.raises(TypeError):
        pacer.write(None, 0)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError):
        pacer.write(bytearray(10), 0)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "settings_",
    [
        (7999, 0),
        (8001, 0),
        (97000, 0),
        (8000, 0, 9),
        (8000, 0, 61),
        (8000, 0, 20, 19),
        (8000, 0, 20, 10001),
        (8000, 0, 20, 160, -1),
        (8000, 0, 20, 160, 9),
        (8000, 0, 20, 1000, 11),
        (8000, 0, 20, 160, 0, 19),
        (8000, 0, 20, 160, 0, 600001),
    ],
)
def test_settings_out_of_range_are_refused(settings_: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is"):
        Pacer(*settings_)


# --- properties ------------------------------------------------------------------------------

OPERATION = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2000) | st.sampled_from((0, 1, 159, 160, 161))),
    st.tuples(st.just("advance"), st.integers(0, 30) | st.integers(0, 400)),
    st.tuples(st.sampled_from(("pump", "pump", "finish", "mark", "clear")), st.just(0)),
)


@st.composite
def drivers(draw: st.DrawFn) -> PacerDriver:
    rate, silence = draw(st.sampled_from(LINES))
    frame_ms = draw(st.sampled_from((10, 20, 30, 60)))
    lead_ms = draw(st.integers(frame_ms, 700))
    group = draw(st.integers(0, min(10, lead_ms // frame_ms)))
    return PacerDriver(rate, silence, frame_ms, lead_ms, group, draw(st.integers(60, 1000)))


@settings(deadline=None)
@given(driver=drivers(), operations=st.lists(OPERATION, max_size=60))
def test_any_use_gives_what_the_twin_gives(
    driver: PacerDriver, operations: list[tuple[str, int]]
) -> None:
    for name, value in operations:
        if name == "write":
            driver.write(value)
        elif name == "advance":
            driver.advance_ms(value)
        else:
            getattr(driver, name)()
    driver.finish()
    run(driver, 4000, 250)
    assert driver.native.queued_octets == 0


@settings(deadline=None)
@given(
    driver=drivers(),
    writes=st.lists(st.integers(1, 3000), max_size=12),
    pauses_ms=st.lists(st.integers(1, 20), min_size=1, max_size=20),
)
def test_pumped_every_20_ms_no_queued_audio_is_ever_late(
    driver: PacerDriver, writes: list[int], pauses_ms: list[int]
) -> None:
    """As long as the lead leaves more than a group and the time between two pumps."""
    group_ms = driver.native.group * driver.native.frame_octets * NS_PER_S / driver.rate / NS_PER_MS
    for octets in writes:
        driver.write(octets)
        driver.finish()
    step = 0
    while driver.native.queued_octets:
        driver.pump()
        behind_ms = driver.lead_ms - driver.ahead_ns / NS_PER_MS
        assert behind_ms < group_ms or not driver.native.queued_octets
        driver.advance_ms(pauses_ms[step % len(pauses_ms)])
        step += 1
    if driver.lead_ms >= group_ms + 20:
        assert driver.native.late == 0
