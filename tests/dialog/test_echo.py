from __future__ import annotations

import random

import pytest

from voicecall.dialog.echo import ASSUMED_GAIN_DB, EchoFloor, without_echo

pytestmark = pytest.mark.unit

NOISE = -62.0
BLOCKS_PER_S = 50


def speech(seconds: float, seed: int = 1) -> list[float]:
    """Levels of somebody speaking: syllables between -10 and -30 dBFS, and pauses."""
    rng = random.Random(seed)
    levels: list[float] = []
    while len(levels) < seconds * BLOCKS_PER_S:
        levels += [rng.uniform(-30, -10)] * rng.randint(3, 8) + [-70.0] * rng.randint(0, 8)
    return levels[: round(seconds * BLOCKS_PER_S)]


def echo_of(sent: list[float], gain_db: float, delay_ms: int) -> list[float]:
    delay = delay_ms // 20
    return [
        max(NOISE, sent[at - delay] + gain_db) if at >= delay else NOISE for at in range(len(sent))
    ]


def learned(sent: list[float], heard: list[float]) -> EchoFloor:
    floor = EchoFloor()
    for pair in zip(sent, heard, strict=True):
        floor.feed(*pair)
    return floor


def test_until_something_is_known_a_strong_echo_is_assumed() -> None:
    floor = EchoFloor()
    assert floor.expected_dbfs == -96
    floor.feed(-20, NOISE)
    assert floor.gain_db == ASSUMED_GAIN_DB
    assert floor.expected_dbfs == -35


@pytest.mark.parametrize("delay_ms", [0, 60, 200, 400, 500])
@pytest.mark.parametrize("gain_db", [-12, -20, -30])
def test_the_echo_of_a_line_is_learned_whatever_its_delay(gain_db: int, delay_ms: int) -> None:
    sent = speech(3)
    floor = learned(sent, echo_of(sent, gain_db, delay_ms))
    assert floor.gain_db == pytest.approx(gain_db, abs=1.5)
    assert floor.audible


def test_a_line_without_echo_is_known_within_a_second() -> None:
    sent = speech(1)
    floor = learned(sent, [NOISE] * len(sent))
    assert floor.gain_db < -45
    assert not floor.audible


def test_a_caller_who_speaks_over_the_bot_does_not_hide_how_soft_the_echo_is() -> None:
    sent = speech(4)
    heard = echo_of(sent, -25, 100)
    heard[50:130] = [-15.0] * 80
    assert learned(sent, heard).gain_db == pytest.approx(-25, abs=1.5)


def test_a_caller_who_speaks_over_the_first_words_is_not_taken_for_a_stronger_echo() -> None:
    floor = learned([-15.0] * 60, [-15.0] * 60)
    assert floor.gain_db == ASSUMED_GAIN_DB
    for _ in range(20):
        floor.feed(-15.0, -15.0)
    assert floor.gain_db > ASSUMED_GAIN_DB


def test_what_is_expected_lasts_as_long_as_an_echo_may_take() -> None:
    floor = learned([-20.0] * 40, [NOISE] * 40)
    gain_db = floor.gain_db
    for _ in range(25):
        floor.feed(-96, NOISE)
        assert floor.expected_dbfs == -20 + gain_db
    floor.feed(-96, NOISE)
    assert floor.expected_dbfs == -96


def test_a_telephone_that_is_put_on_a_table_is_noticed() -> None:
    sent = speech(10)
    floor = learned(sent, echo_of(sent, -45, 100))
    later = speech(12, seed=2)
    for pair in zip(later, echo_of(later, -15, 100), strict=True):
        floor.feed(*pair)
    assert floor.gain_db == pytest.approx(-15, abs=2)


def test_after_a_false_alarm_only_what_was_learned_last_holds() -> None:
    sent = speech(5)
    floor = learned(sent, echo_of(sent, -45, 100))
    later = speech(3.5, seed=2)
    for pair in zip(later, echo_of(later, -18, 100), strict=True):
        floor.feed(*pair)
    assert floor.gain_db < -40
    floor.doubt()
    assert -19 < floor.gain_db < -10


def test_doubt_forgets_nothing_before_anything_is_known() -> None:
    floor = EchoFloor()
    floor.doubt()
    assert floor.gain_db == ASSUMED_GAIN_DB


def test_our_own_words_are_taken_out_however_they_are_written() -> None:
    said = "We are open from eight until six."
    assert without_echo("We are open, from EIGHT excuse me", said, 3) == "excuse me"
    assert without_echo("we are open from eight until six", said, 3) == ""


def test_single_words_in_common_are_no_echo_unless_so_few_are_asked_for() -> None:
    said = "Do you want coffee or tea?"
    assert without_echo("Tea, please.", said, 3) == "Tea, please."
    assert without_echo("Tea, please.", said, 1) == "please."


def test_without_anything_said_nothing_is_echo() -> None:
    assert without_echo("Hello there.", "", 1) == "Hello there."
