from __future__ import annotations

import pytest

from voicecall.clock import NS_PER_MS
from voicecall.dialog.activity import Activity

pytestmark = pytest.mark.unit

NOISE = -62.0


def ms(value: float) -> int:
    return round(value * NS_PER_MS)


def after(*pairs: tuple[float, float], activity: Activity | None = None) -> Activity:
    """What is known after blocks of (sent, heard), one every 20 ms from 0 on."""
    followed = activity or Activity(min_level_dbfs=-45, margin_db=6)
    for at, (sent, heard) in enumerate(pairs, 1):
        followed.feed([sent], [heard], ms(20 * at))
    return followed


def test_it_counts_for_how_long_the_caller_was_loud() -> None:
    followed = after((-96, NOISE), (-96, -20), (-96, -60), (-96, -20))
    assert followed.loud_ms(0) == 40
    assert followed.loud_ms(ms(40)) == 20


def test_what_is_softer_than_the_minimum_is_not_loud_but_the_callers_own() -> None:
    followed = after((-96, -50), (-96, -50))
    assert followed.loud_ms(0) == 0
    assert followed.own_ms(0) == 40


def test_it_says_for_how_long_the_caller_has_been_quiet() -> None:
    followed = after((-96, -20), (-96, NOISE), (-96, NOISE))
    assert followed.quiet_ms(ms(60), 0) == 40
    assert followed.quiet_ms(ms(100), 0) == 80


def test_quiet_is_counted_from_where_it_is_asked_for_at_the_longest() -> None:
    assert after((-96, NOISE)).quiet_ms(ms(500), ms(200)) == 300
    assert after((-96, -20)).quiet_ms(ms(500), ms(200)) == 300


def test_echo_is_not_loud_and_not_the_callers_own() -> None:
    echo = [(-20.0, -40.0)] * 50
    followed = after(*echo)
    assert followed.loud_ms(0) == followed.own_ms(0) == 0
    followed.feed([-20], [-30], ms(1020))
    assert followed.loud_ms(ms(1000)) == 20


def test_a_constant_noise_is_not_loud_once_it_is_known() -> None:
    followed = after(*[(-96.0, -40.0)] * 100)
    assert followed.loud_ms(ms(1100)) == 0
    followed.feed([-96], [-30], ms(2020))
    assert followed.loud_ms(ms(2000)) == 20


def test_several_blocks_at_once_are_as_good_as_one_after_another() -> None:
    followed = Activity()
    followed.feed([-20], [-20, NOISE, -20], ms(60))
    assert followed.loud_ms(0) == 40
    assert followed.loud_ms(ms(20)) == 20


def test_only_four_seconds_are_kept() -> None:
    followed = after(*[(-96.0, -20.0), (-96.0, NOISE)] * 200)
    assert followed.loud_ms(0) == 2000
