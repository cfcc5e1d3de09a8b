from __future__ import annotations

import time

import pytest

from voicecall.clock import ManualClock, SystemClock

pytestmark = pytest.mark.unit


def test_the_system_clock_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.now_ns() for _ in range(1000)]
    assert readings == sorted(readings)


def test_the_system_clock_tells_the_date_in_milliseconds() -> None:
    assert SystemClock().wall_ms() == pytest.approx(time.time() * 1000, abs=1000)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    before = clock.now_ns(), clock.wall_ms()
    assert (clock.now_ns(), clock.wall_ms()) == before
    clock.advance_ms(1500)
    assert (clock.now_ns(), clock.wall_ms()) == (before[0] + 1_500_000_000, before[1] + 1500)


def test_a_manual_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance_ms(-1)
