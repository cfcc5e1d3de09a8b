from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.clock import NS_PER_MS
from voicecall.speech.timeline import Timeline

pytestmark = pytest.mark.unit

FRAME_NS = 20 * NS_PER_MS


def dated(arrivals_ms: list[float], window_ms: int = 2000) -> list[float]:
    """When frames of 20 ms that arrived then are taken to have ended."""
    timeline = Timeline(window_ms * NS_PER_MS)
    return [timeline.date(FRAME_NS, round(at * NS_PER_MS)) / NS_PER_MS for at in arrivals_ms]


def test_audio_that_is_on_time_ended_when_it_arrived() -> None:
    assert dated([20, 40, 60]) == [20, 40, 60]


def test_a_burst_after_a_stall_is_spread_over_the_time_it_was_spoken_in() -> None:
    assert dated([20, 40, 500, 500, 500, 501, 502]) == [20, 40, 60, 80, 100, 120, 140]


def test_what_was_late_at_first_is_corrected_and_time_does_not_go_back() -> None:
    assert dated([120, 120, 120, 120, 120, 140]) == [120, 120, 120, 120, 120, 140]


def test_a_gap_in_which_nothing_was_sent_moves_the_timeline_on() -> None:
    assert dated([20, 5000, 5020]) == [20, 5000, 5020]


def test_a_short_gap_moves_the_timeline_on_once_the_window_has_passed() -> None:
    ends = dated([20, *(140 + 20 * frame for frame in range(20))], window_ms=200)
    assert ends[1] == 40
    assert ends[-1] == 140 + 20 * 19


@given(st.lists(st.floats(0, 300), min_size=1, max_size=200))
def test_time_never_goes_back_and_audio_never_ends_after_it_has_arrived(
    delays_ms: list[float],
) -> None:
    arrivals, latest = [], 0.0
    for number, delay in enumerate(delays_ms, start=1):
        latest = max(latest, 20 * number + delay)
        arrivals.append(latest)
    ends = dated(arrivals)
    assert ends == sorted(ends)
    assert all(end <= arrived + 1e-5 for end, arrived in zip(ends, arrivals, strict=True))
