from __future__ import annotations

import pytest

from tests.speech.signals import noise, silence, tone
from voicecall._codec import alaw_encode, ulaw_encode
from voicecall.dialog.loudness import SILENCE_DBFS, Loudness
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat
from voicecall.speech.vad import level_dbfs

pytestmark = pytest.mark.unit


def test_each_block_of_20_ms_has_its_level() -> None:
    levels = Loudness(PCM16_8K).feed(tone(20, 3277, hz=100) + silence(20) + tone(20, 327, hz=100))
    assert levels == pytest.approx([-23, SILENCE_DBFS, -43], abs=0.1)


def test_what_is_shorter_than_a_block_waits_for_the_rest() -> None:
    loudness, pcm = Loudness(PCM16_8K), tone(60, 3277, hz=100)
    levels = [level for at in range(0, len(pcm), 33) for level in loudness.feed(pcm[at : at + 33])]
    assert levels == pytest.approx([-23, -23, -23], abs=0.1)
    assert loudness.feed(b"") == []


@pytest.mark.parametrize("audio", [ULAW_8K, ALAW_8K])
def test_coded_audio_is_as_loud_as_what_it_codes(audio: AudioFormat) -> None:
    pcm = noise(200, 1000)
    coded = ulaw_encode(pcm) if audio is ULAW_8K else alaw_encode(pcm)
    linear = Loudness(PCM16_8K).feed(pcm)
    assert Loudness(audio).feed(coded) == pytest.approx(linear, abs=0.2)
    assert linear[0] == pytest.approx(level_dbfs(pcm[:320]), abs=0.01)


def test_other_rates_have_blocks_of_20_ms_as_well() -> None:
    assert len(Loudness(AudioFormat("pcm16", 16000)).feed(silence(200))) == 5


def test_silence_is_not_infinitely_soft() -> None:
    assert Loudness(PCM16_8K).feed(silence(20)) == [SILENCE_DBFS]
