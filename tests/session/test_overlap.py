from __future__ import annotations

import pytest

from voicecall.clock import NS_PER_MS
from voicecall.dialog.turns import BargeIn
from voicecall.session.overlap import Overlap

pytestmark = pytest.mark.unit

RULES = BargeIn(min_speech_ms=200, min_level_dbfs=-45.0)
LOUD, SOFT = -20.0, -60.0


def at(ms: int) -> int:
    return ms * NS_PER_MS


def playing(rules: BargeIn = RULES, *, protected: bool = False) -> Overlap:
    """A reply has been playing since 1000 ms."""
    overlap = Overlap(rules)
    overlap.bot_started(at(1000), protected=protected)
    return overlap


def test_speech_that_goes_on_for_long_enough_interrupts() -> None:
    overlap = playing()
    overlap.speech_started(at(2000))
    assert overlap.deadline_ns == at(2200)
    assert not overlap.interrupts(at(2199), LOUD)
    assert overlap.interrupts(at(2200), LOUD)


def test_a_cough_does_not_interrupt() -> None:
    overlap = playing()
    overlap.speech_started(at(2000))
    overlap.speech_stopped()
    assert overlap.deadline_ns is None
    assert not overlap.interrupts(at(3000), LOUD)


def test_soft_speech_is_looked_at_again_until_it_is_loud() -> None:
    overlap = playing()
    overlap.speech_started(at(2000))
    assert not overlap.interrupts(at(2200), SOFT)
    assert overlap.deadline_ns == at(2300)
    assert not overlap.interrupts(at(2250), LOUD)
    assert overlap.interrupts(at(2300), LOUD)


def test_speech_that_was_going_on_counts_from_where_the_reply_begins() -> None:
    overlap = Overlap(RULES)
    overlap.speech_started(at(500))
    assert overlap.deadline_ns is None
    overlap.bot_started(at(1000), protected=False)
    assert overlap.deadline_ns == at(1200)


def test_a_second_start_without_a_stop_does_not_put_it_off() -> None:
    overlap = playing()
    overlap.speech_started(at(2000))
    overlap.speech_started(at(2150))
    assert overlap.deadline_ns == at(2200)


def test_a_new_utterance_is_judged_afresh() -> None:
    overlap = playing()
    overlap.speech_started(at(2000))
    assert not overlap.interrupts(at(2200), SOFT)
    overlap.speech_stopped()
    overlap.speech_started(at(5000))
    assert overlap.deadline_ns == at(5200)


def test_after_the_reply_there_is_nothing_to_interrupt() -> None:
    overlap = playing()
    overlap.bot_finished()
    overlap.speech_started(at(2000))
    assert overlap.deadline_ns is None


@pytest.mark.parametrize(
    "overlap", [playing(protected=True), playing(BargeIn(enabled=False))], ids=["greeting", "off"]
)
def test_what_is_protected_is_not_interrupted(overlap: Overlap) -> None:
    overlap.speech_started(at(2000))
    assert overlap.deadline_ns is None
    assert not overlap.interrupts(at(9000), LOUD)
