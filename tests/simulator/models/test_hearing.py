from __future__ import annotations

import pytest

from tests.simulator.models.vendor import spoken
from voicecall.ports import ALAW_8K, ULAW_8K, AudioFormat, SpeechStarted, SpeechStopped
from voicecall.simulator.models.hearing import Hearing, audio_format, position_ms
from voicecall.speech.vad import Endpointing, EnergyVad, SpokenAudio

pytestmark = pytest.mark.unit


def test_formats_are_the_vendors() -> None:
    assert audio_format({"type": "audio/pcmu", "rate": 8000}) == ULAW_8K
    assert audio_format({"type": "audio/pcma"}) == ALAW_8K
    assert audio_format({"type": "audio/pcm", "rate": 16000}) == AudioFormat("pcm16", 16000)
    assert audio_format({"type": "audio/pcm"}) == AudioFormat("pcm16", 24000)
    assert audio_format(None) == AudioFormat("pcm16", 24000)


def test_times_are_positions_in_the_audio_however_fast_it_comes() -> None:
    hearing = Hearing(EnergyVad(), ULAW_8K, Endpointing(silence_ms=500, early_ms=0))
    silence = b"\xff" * 8000
    found = hearing.push(silence) + hearing.push(spoken(600, 800))
    started, stopped, utterance = found
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert isinstance(utterance, SpokenAudio)
    assert position_ms(started.at_ns) == pytest.approx(1000, abs=60)
    assert position_ms(stopped.at_ns) == pytest.approx(1600, abs=60)


def test_a_position_before_the_beginning_is_the_beginning() -> None:
    assert position_ms(-5) == 0
