"""The carrier's playout buffer, against a twin that plays octet by octet."""

from __future__ import annotations

from collections import deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.clock import NS_PER_MS
from voicecall.simulator.playout import SAMPLE_NS, MarkEcho, PlayoutBuffer

pytestmark = pytest.mark.unit

ORIGIN_NS = 7_000_000_123


def at(ms: float) -> int:
    return ORIGIN_NS + round(ms * NS_PER_MS)


def ms_of_audio(ms: int) -> bytes:
    return b"a" * (8 * ms)


def names(echoes: list[MarkEcho]) -> list[str]:
    return [echo.name for echo in echoes]


def test_a_mark_is_due_when_the_audio_before_it_has_been_played() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(20), at(0))
    buffer.mark("middle", at(1))
    buffer.receive(ms_of_audio(20), at(2))
    buffer.mark("end", at(3))
    assert buffer.next_mark_ns == at(20)
    assert buffer.play_until(at(20) - 1) == []
    assert buffer.play_until(at(20)) == [MarkEcho("middle", at(20))]
    assert buffer.play_until(at(1000)) == [MarkEcho("end", at(40))]
    assert buffer.next_mark_ns is None


def test_a_mark_with_nothing_before_it_is_due_at_once() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.mark("first", at(5))
    assert buffer.next_mark_ns == at(5)
    assert names(buffer.play_until(at(5))) == ["first"]
    buffer.receive(ms_of_audio(20), at(5))
    buffer.mark("late", at(30))
    assert names(buffer.play_until(at(30))) == ["late"]


def test_a_clear_drops_what_waits_and_returns_every_mark_at_once() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(100), at(0))
    buffer.mark("a", at(0))
    buffer.receive(ms_of_audio(100), at(0))
    buffer.mark("b", at(0))
    buffer.clear(at(30))
    assert names(buffer.play_until(at(30))) == ["a", "b"]
    assert buffer.waiting_ms == 0
    assert sum(len(stretch.audio) for stretch in buffer.take_played()) == 30 * 8
    assert list(buffer.stats.cleared_ns) == [at(30)]


def test_a_clear_loses_every_mark_of_a_carrier_that_does_not_return_them() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS, marks_after_clear=False)
    buffer.receive(ms_of_audio(20), at(0))
    buffer.mark("played", at(0))
    buffer.receive(ms_of_audio(100), at(0))
    buffer.mark("lost", at(0))
    buffer.clear(at(30))
    assert names(buffer.play_until(at(500))) == ["played"]
    assert (buffer.stats.marks, buffer.stats.lost_marks) == (2, 1)


def test_audio_after_a_clear_plays_at_once() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(500), at(0))
    buffer.clear(at(10))
    buffer.receive(b"b" * 160, at(12))
    buffer.play_until(at(100))
    assert [(s.position, len(s.audio), s.audio[:1]) for s in buffer.take_played()] == [
        (0, 80, b"a"),
        (96, 160, b"b"),
    ]
    assert buffer.stats.underruns == 0


def test_running_dry_inside_an_utterance_is_an_underrun_as_long_as_its_gap() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(20), at(0))
    buffer.receive(ms_of_audio(20), at(55))
    assert buffer.stats.underruns == 1
    assert list(buffer.stats.gaps_ms) == [35.0]


def test_audio_that_comes_exactly_in_time_is_no_underrun() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    for frame in range(5):
        buffer.receive(ms_of_audio(20), at(20 * frame))
    assert buffer.stats.underruns == 0
    buffer.play_until(at(100))
    assert sum(len(stretch.audio) for stretch in buffer.take_played()) == 800


@pytest.mark.parametrize("mark_ms", [5, 30])
def test_a_mark_at_the_end_means_that_the_sender_had_finished(mark_ms: int) -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(20), at(0))
    buffer.mark("end", at(mark_ms))
    buffer.receive(ms_of_audio(20), at(200))
    assert (buffer.stats.underruns, buffer.stats.late) == (0, 0)


def test_a_mark_before_the_end_excuses_nothing() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(20), at(0))
    buffer.mark("middle", at(0))
    buffer.receive(ms_of_audio(20), at(0))
    buffer.receive(ms_of_audio(20), at(200))
    assert buffer.stats.underruns == 1


@pytest.mark.parametrize(("silence_ms", "underruns"), [(999, 1), (1000, 0)])
def test_a_second_of_nothing_is_another_utterance(silence_ms: int, underruns: int) -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(20), at(0))
    buffer.receive(ms_of_audio(20), at(20 + silence_ms))
    assert buffer.stats.underruns == underruns


def test_lateness_is_measured_against_a_player_with_60_ms_of_prebuffer() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    arrivals_ms = [0, 20, 100, 130, 200]
    for arrival_ms in arrivals_ms:
        buffer.receive(ms_of_audio(20), at(arrival_ms))
    # Needed at 60 (by definition), 80, 100, 120 and, buffered anew after that one, 210.
    assert list(buffer.stats.lateness_ms) == [-60, -60, 0, 10, -10]
    assert buffer.stats.late == 1


def test_what_exceeds_the_capacity_is_refused_and_counted() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS, capacity_ms=20)
    buffer.receive(ms_of_audio(15), at(0))
    buffer.receive(ms_of_audio(15), at(0))
    assert buffer.waiting_ms == 20
    assert buffer.stats.refused_octets == 80


def test_marks_beyond_the_limit_are_refused_and_counted() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS)
    buffer.receive(ms_of_audio(20), at(0))
    for number in range(5000):
        buffer.mark(str(number), at(0))
    assert buffer.stats.refused_marks == 5000 - 4096
    assert len(buffer.play_until(at(20))) == 4096


def test_played_audio_that_nobody_takes_is_forgotten_oldest_first() -> None:
    buffer = PlayoutBuffer(ORIGIN_NS, keep_ms=40)
    for frame in range(5):
        buffer.receive(ms_of_audio(20), at(20 * frame))
    buffer.play_until(at(100))
    assert [stretch.position for stretch in buffer.take_played()] == [480, 640]
    assert buffer.stats.forgotten_octets == 480


class SlowPlayout:
    """One step for each sample of time; a queue of octets and marks."""

    def __init__(self) -> None:
        self.now = 0
        self.queue: deque[bytes | str] = deque()
        self.line: dict[int, bytes] = {}
        self.returned: list[str] = []

    def until(self, now_ns: int) -> None:
        while (self.now + 1) * SAMPLE_NS <= now_ns:
            if self.queue:
                octet = self.queue.popleft()
                assert isinstance(octet, bytes)
                self.line[self.now] = octet
            self.now += 1
            self.return_marks()

    def return_marks(self) -> None:
        while self.queue and isinstance(self.queue[0], str):
            name = self.queue.popleft()
            assert isinstance(name, str)
            self.returned.append(name)

    def receive(self, audio: bytes, now_ns: int) -> None:
        self.until(now_ns)
        if audio and not self.queue and self.now * SAMPLE_NS < now_ns:
            # It starts with the next sample.
            self.now += 1
        self.queue.extend(audio[i : i + 1] for i in range(len(audio)))

    def mark(self, name: str) -> None:
        self.queue.append(name)
        self.return_marks()

    def clear(self) -> None:
        marks = [item for item in self.queue if isinstance(item, str)]
        self.queue.clear()
        self.returned += marks


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "receive", "mark", "clear"]),
        st.integers(0, 40),
        st.integers(0, 60 * SAMPLE_NS),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_it_plays_and_returns_what_the_slow_twin_does(actions: list[tuple[str, int, int]]) -> None:
    fast, slow = PlayoutBuffer(ORIGIN_NS), SlowPlayout()
    octets, numbers = count(), count()
    returned: list[str] = []
    elapsed_ns = 0
    for action, size, wait_ns in actions:
        elapsed_ns += wait_ns
        now_ns = ORIGIN_NS + elapsed_ns
        slow.until(elapsed_ns)
        if action == "receive":
            audio = bytes(next(octets) % 256 for _ in range(size))
            fast.receive(audio, now_ns)
            slow.receive(audio, elapsed_ns)
        elif action == "mark":
            name = str(next(numbers))
            fast.mark(name, now_ns)
            slow.mark(name)
        else:
            fast.clear(now_ns)
            slow.clear()
        returned += names(fast.play_until(now_ns))
        assert returned == slow.returned
    elapsed_ns += 10_000 * SAMPLE_NS
    slow.until(elapsed_ns)
    returned += names(fast.play_until(ORIGIN_NS + elapsed_ns))
    assert returned == slow.returned
    line = {
        stretch.position + offset: stretch.audio[offset : offset + 1]
        for stretch in fast.take_played()
        for offset in range(len(stretch.audio))
    }
    assert line == slow.line
