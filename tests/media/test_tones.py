from __future__ import annotations

import math
from array import array

import pytest

from voicecall.audio import DtmfDetector, to_pcm16
from voicecall.errors import CodecError, InvalidRequest
from voicecall.media.tones import KEYS_MAX, key_tones
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat

pytestmark = pytest.mark.unit

PCM16_16K = AudioFormat("pcm16", 16000)
FORMATS = (ULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K)
ALL_KEYS = "0123456789*#ABCD"
PEAK_AT_0_DBM0 = 32767 * 10 ** (-3.17 / 20)
each_format = pytest.mark.parametrize("audio", FORMATS, ids=str)


def heard(sound: bytes, audio: AudioFormat) -> str:
    return DtmfDetector(audio.rate_hz).feed(to_pcm16(sound, audio.encoding))


def level_dbm0(pcm: array[int], hz: float, rate_hz: int) -> float:
    """Of the tone at `hz`."""
    turn = 2 * math.pi * hz / rate_hz
    cosine = sum(sample * math.cos(turn * at) for at, sample in enumerate(pcm))
    sine = sum(sample * math.sin(turn * at) for at, sample in enumerate(pcm))
    return 20 * math.log10(2 * math.hypot(cosine, sine) / len(pcm) / PEAK_AT_0_DBM0)


@each_format
def test_a_receiver_hears_every_key_once(audio: AudioFormat) -> None:
    assert heard(b"".join(key_tones(ALL_KEYS, audio)), audio) == ALL_KEYS


@each_format
def test_the_same_key_twice_is_heard_twice(audio: AudioFormat) -> None:
    assert heard(b"".join(key_tones("55##5", audio)), audio) == "55##5"


@each_format
@pytest.mark.parametrize(("key", "lasts_ms"), [("5", 200), ("w", 500), ("W", 1000)])
def test_each_key_and_pause_is_a_piece_of_its_own(
    audio: AudioFormat, key: str, lasts_ms: int
) -> None:
    (piece,) = key_tones(key, audio)
    assert audio.duration_ms(len(piece)) == lasts_ms


@each_format
def test_a_pause_is_silent_and_keys_around_it_are_heard(audio: AudioFormat) -> None:
    before, pause, after = key_tones("1w2", audio)
    assert max(map(abs, array("h", to_pcm16(pause, audio.encoding)))) <= 8
    assert heard(before + pause + after, audio) == "12"


def test_levels_and_twist_are_those_of_a_telephone() -> None:
    # 770 and 1336 Hz are a 5. Q.24 has receivers take -25 to 0 dBm, and the column's tone up to
    # 4 dB above the row's.
    (piece,) = key_tones("5", ULAW_8K)
    pcm = array("h", to_pcm16(piece, "ulaw"))[80:720]
    row, column = level_dbm0(pcm, 770, 8000), level_dbm0(pcm, 1336, 8000)
    assert row == pytest.approx(-11, abs=0.5)
    assert column == pytest.approx(-9, abs=0.5)
    assert 0 < column - row < 4


def test_too_many_keys_are_refused_before_any_is_made() -> None:
    assert len(list(key_tones("1" * KEYS_MAX, ULAW_8K))) == KEYS_MAX
    with pytest.raises(InvalidRequest, match="128"):
        key_tones("1" * (KEYS_MAX + 1), ULAW_8K)


def test_what_is_no_key_makes_no_sound() -> None:
    tones = key_tones("1x", ULAW_8K)
    assert next(tones)
    with pytest.raises(CodecError):
        next(tones)
