from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.audio import from_pcm16, to_pcm16
from voicecall.simulator.flaws import check_audio, find_clicks, find_gaps

pytestmark = pytest.mark.unit

MS = 16  # octets in a millisecond of PCM16 at 8 kHz


def babble(ms: int, seed: int = 1) -> bytes:
    """Something like speech: a voice whose pitch wanders, with pauses between its words."""
    rng = np.random.default_rng(seed)
    count = ms * 8
    pitch_hz = 120 + 40 * np.sin(np.arange(count) / 3000 + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / 8000
    voice = np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.1 * rng.standard_normal(count)
    loudness = np.clip(np.sin(2 * np.pi * np.arange(count) / 2400) + 0.6, 0, 1)
    pcm = (voice * loudness * 5000).astype("<i2").tobytes()
    return to_pcm16(from_pcm16(pcm, "ulaw"), "ulaw")


SPEECH = babble(2000)


def test_speech_played_as_it_was_sent_has_no_flaw() -> None:
    played = bytes(500 * MS) + SPEECH + bytes(300 * MS)
    (check,) = check_audio([SPEECH], played)
    assert check.began_ms == pytest.approx(500, abs=1)
    assert check.complete
    assert (check.gaps, check.clicks) == ((), ())


@given(st.integers(100, 1900), st.integers(41, 400))
def test_a_gap_is_found_where_it_is(at_ms: int, length_ms: int) -> None:
    played = SPEECH[: at_ms * MS] + bytes(length_ms * MS) + SPEECH[at_ms * MS :]
    (gap,) = find_gaps(SPEECH, played)
    # Inside a pause of the speech, the gap and the pause are one silence.
    assert at_ms - 120 <= gap.at_ms <= at_ms
    assert gap.length_ms == pytest.approx(length_ms, abs=0.2)


@pytest.mark.parametrize("length_ms", [1, 20, 40])
def test_a_gap_of_up_to_40_ms_is_tolerated(length_ms: int) -> None:
    played = SPEECH[: 300 * MS] + bytes(length_ms * MS) + SPEECH[300 * MS :]
    assert find_gaps(SPEECH, played) == []


def test_pauses_that_were_sent_are_no_gaps() -> None:
    speech = babble(300) + bytes(800 * MS) + babble(300, seed=2)
    assert find_gaps(speech, speech) == []


def test_a_click_is_found_where_it_is() -> None:
    damaged = bytearray(SPEECH)
    at = 777 * MS
    damaged[at : at + 2] = (30000).to_bytes(2, "little", signed=True)
    clicks = find_clicks(SPEECH, bytes(damaged))
    assert [round(click.at_ms) for click in clicks] == [777, 777]
    assert all(click.jump > 10000 for click in clicks)


def test_a_missing_frame_clicks_when_its_edges_do_not_fit() -> None:
    loud = babble(1000, seed=3)
    samples = np.frombuffer(loud, dtype="<i2").astype(int)
    # Cut out 20 ms so that the edges are far apart.
    at = next(i for i in range(1000, 7000) if abs(samples[i] - samples[i + 160]) > 6000)
    damaged = loud[: 2 * at] + loud[2 * (at + 160) :]
    assert find_clicks(loud, damaged)


def test_an_utterance_that_was_cut_short_is_incomplete_but_has_no_flaw() -> None:
    samples = np.frombuffer(SPEECH, dtype="<i2").astype(int)
    loud_end = next(i for i in range(5000, 8000) if abs(samples[i]) > 4000) + 1
    played = SPEECH[: 2 * loud_end] + bytes(200 * MS) + babble(500, seed=9)
    first, second = check_audio([SPEECH, babble(500, seed=9)], played)
    assert not first.complete
    assert (first.gaps, first.clicks) == ((), ())
    assert second.complete
    assert (second.gaps, second.clicks) == ((), ())


def test_flaws_are_told_in_the_time_of_the_recording() -> None:
    damaged = SPEECH[: 900 * MS] + bytes(100 * MS) + SPEECH[900 * MS :]
    played = babble(400, seed=5) + bytes(600 * MS) + damaged
    clean, flawed = check_audio([babble(400, seed=5), SPEECH], played)
    assert clean.gaps == ()
    assert flawed.began_ms == pytest.approx(1000, abs=1)
    assert [gap.length_ms for gap in flawed.gaps] == [100]
    assert flawed.gaps[0].at_ms == pytest.approx(1900, abs=1)


def test_an_utterance_that_is_not_there_is_told() -> None:
    missing, there = check_audio([babble(300, seed=7), SPEECH], SPEECH)
    assert missing.began_ms is None
    assert not missing.complete
    assert there.complete
    (silent,) = check_audio([bytes(320)], SPEECH)
    assert silent.began_ms is None
