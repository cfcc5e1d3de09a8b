from __future__ import annotations

import numpy as np
import pytest

from voicecall.audio import from_pcm16
from voicecall.cli.demo_timing import MAX_SPANS, LineTiming, level_dbfs
from voicecall.simulator.stream import LineAudio

pytestmark = pytest.mark.unit

FRAME_MS = 20
SILENCE = b"\xff" * 160
TONE = from_pcm16(
    (np.sin(2 * np.pi * 400 * np.arange(160) / 8000) * 8000).astype("<i2").tobytes(), "ulaw"
)


def timing(*bot_talks_ms: tuple[int, int], lasts_ms: int) -> LineTiming:
    """A line on which the bot is heard during the given spans, from the moment 0 on."""
    measured = LineTiming()
    for at_ms in range(0, lasts_ms, FRAME_MS):
        heard = TONE if any(begin <= at_ms < end for begin, end in bot_talks_ms) else SILENCE
        at_ns = at_ms * 1_000_000
        measured.feed(LineAudio(SILENCE, at_ns, heard, at_ns))
    return measured


def ns(ms: int) -> int:
    return ms * 1_000_000


def test_an_answer_is_timed_to_the_bots_next_sound() -> None:
    measured = timing((0, 500), (1500, 2500), lasts_ms=3000)
    assert measured.answer_after_ms(ns(900)) == 600


def test_there_is_no_answer_after_the_bots_last_sound() -> None:
    assert timing((0, 500), lasts_ms=1000).answer_after_ms(ns(600)) is None


def test_a_short_pause_belongs_to_the_speech_around_it() -> None:
    measured = timing((0, 500), (700, 1200), lasts_ms=2000)
    assert measured.answer_after_ms(ns(550)) is None


def test_a_long_pause_does_not() -> None:
    measured = timing((0, 500), (800, 1200), lasts_ms=2000)
    assert measured.answer_after_ms(ns(550)) == 250


def test_an_interruption_is_timed_to_the_bots_last_sound() -> None:
    measured = timing((0, 1400), lasts_ms=3000)
    assert measured.silent_after_ms(ns(1000), ns(2000)) == 400


def test_a_bot_that_talks_on_was_not_silenced() -> None:
    measured = timing((0, 2400), lasts_ms=3000)
    assert measured.silent_after_ms(ns(1000), ns(2000)) is None


def test_a_bot_that_did_not_talk_was_not_silenced() -> None:
    measured = timing((0, 900), lasts_ms=3000)
    assert measured.silent_after_ms(ns(1000), ns(2000)) is None


def test_levels_and_time_are_those_of_the_last_frame() -> None:
    measured = timing((0, 100), lasts_ms=100)
    assert measured.bot_dbfs == pytest.approx(-15.3, abs=0.5)
    assert measured.caller_dbfs == -96
    assert measured.elapsed_ms == 80


def test_memory_is_bounded() -> None:
    measured = LineTiming()
    for talk in range(MAX_SPANS + 10):
        at_ns = ns(talk * 1000)
        measured.feed(LineAudio(SILENCE, at_ns, TONE, at_ns))
    assert measured.answer_after_ms(ns((MAX_SPANS - 2) * 1000)) == 0
    assert measured.answer_after_ms(ns(MAX_SPANS * 1000)) is None


@pytest.mark.parametrize(
    ("pcm", "dbfs"),
    [
        (b"", -96),
        (bytes(320), -96),
        (np.full(160, 32767, dtype="<i2").tobytes(), 0),
        (np.full(160, 3277, dtype="<i2").tobytes(), -20),
        (np.full(160, 0, dtype="<i2").tobytes() + b"\x01\x00", -96),
    ],
)
def test_a_level_is_relative_to_full_scale(pcm: bytes, dbfs: float) -> None:
    assert level_dbfs(pcm) == pytest.approx(dbfs, abs=0.1)
