from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voicecall.clock import NS_PER_S
from voicecall.simulator.recording import CallRecording, Side

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.unit

ORIGIN_NS = 5 * NS_PER_S
SAMPLE_NS = NS_PER_S // 8000


def pcm(*samples: int) -> bytes:
    return np.array(samples, dtype="<i2").tobytes()


def channels(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        frames = file.readframes(file.getnframes())
    return np.frombuffer(frames, dtype="<i2").reshape(-1, 2).T


def test_both_sides_share_one_timeline_with_silence_in_between(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with CallRecording(path, ORIGIN_NS) as recording:
        recording.add(Side.CALLER, pcm(1, 2), ORIGIN_NS)
        recording.add(Side.BOT, pcm(7), ORIGIN_NS + 1 * SAMPLE_NS)
        recording.add(Side.CALLER, pcm(3), ORIGIN_NS + 4 * SAMPLE_NS)
        assert recording.duration_ms == 5 / 8
    caller, bot = channels(path)
    assert caller.tolist() == [1, 2, 0, 0, 3]
    assert bot.tolist() == [0, 7, 0, 0, 0]


def test_moments_are_rounded_to_the_nearest_sample(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with CallRecording(path, ORIGIN_NS) as recording:
        recording.add(Side.BOT, pcm(7), ORIGIN_NS + 2 * SAMPLE_NS - 1)
    assert channels(path)[1].tolist() == [0, 0, 7]


def test_a_long_call_stays_on_disk_and_aligned(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with CallRecording(path, ORIGIN_NS) as recording:
        for second in range(60):
            at_ns = ORIGIN_NS + second * NS_PER_S
            recording.add(Side.CALLER, pcm(*[second] * 8000), at_ns)
            recording.add(Side.BOT, pcm(-second), at_ns)
            assert sum(map(len, recording._sides)) <= 2 * 2 * 8000 * 21
    caller, bot = channels(path)
    assert caller.tolist() == [second for second in range(60) for _ in range(8000)]
    assert bot[::8000].tolist() == [-second for second in range(60)]
    assert np.count_nonzero(bot) == 59


def test_audio_for_a_time_already_written_is_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with CallRecording(path, ORIGIN_NS) as recording:
        recording.add(Side.CALLER, bytes(2 * 8000 * 21), ORIGIN_NS)
        recording.add(Side.BOT, pcm(5, 6), ORIGIN_NS)
        recording.add(Side.BOT, pcm(8, 9), ORIGIN_NS + 11 * NS_PER_S - SAMPLE_NS)
        assert recording.dropped_samples == 3
    _, bot = channels(path)
    assert np.flatnonzero(bot).tolist() == [8000 * 11]
    assert bot[8000 * 11] == 9


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "call.wav", ORIGIN_NS)
    recording.close()
    recording.close()
    assert channels(recording.path).shape == (2, 0)
