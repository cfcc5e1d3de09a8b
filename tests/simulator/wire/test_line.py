from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.simulator.mediaserver import ulaw_tone
from voicecall.audio import from_pcm16, to_pcm16
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat
from voicecall.simulator.wire import ProtocolBroken
from voicecall.simulator.wire.line import PCM16_16K, FromLine, ToLine

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.unit

FORMATS = (ULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K)
LINE = ulaw_tone(400)
FRAMES = [LINE[at : at + 160] for at in range(0, len(LINE), 160)]


def samples(ulaw: bytes) -> NDArray[Any]:
    return np.frombuffer(to_pcm16(ulaw, "ulaw"), dtype="<i2").astype(float)


def similarity(one: bytes, other: bytes) -> float:
    """The best correlation of two mu-law signals, whatever their delay."""
    left, right = samples(one), samples(other)
    size = min(len(left), len(right))
    scale = np.sqrt(np.sum(left[:size] ** 2) * np.sum(right[:size] ** 2))
    return float(np.max(np.correlate(left[:size], right[:size], "full")) / scale)


@pytest.mark.parametrize("audio", FORMATS)
@pytest.mark.parametrize("big_endian", [False, True])
def test_every_frame_is_20_ms_in_every_format(audio: AudioFormat, big_endian: bool) -> None:
    wire = FromLine(audio, big_endian=big_endian)
    assert {len(wire.convert(frame)) for frame in FRAMES} == {audio.octets_per_second // 50}


@pytest.mark.parametrize("audio", FORMATS)
@pytest.mark.parametrize("big_endian", [False, True])
def test_the_line_survives_the_way_there_and_back(audio: AudioFormat, big_endian: bool) -> None:
    there = FromLine(audio, big_endian=big_endian)
    back = ToLine(audio, big_endian=big_endian)
    line = b"".join(back.convert(there.convert(frame)) for frame in FRAMES)
    assert len(LINE) - 160 <= len(line) <= len(LINE)
    assert similarity(LINE, line) > 0.95


def test_what_needs_no_conversion_is_left_alone() -> None:
    assert FromLine(ULAW_8K).convert(FRAMES[1]) == ToLine(ULAW_8K).convert(FRAMES[1]) == FRAMES[1]


def test_a_law_and_linear_audio_are_what_g711_says() -> None:
    pcm = to_pcm16(FRAMES[1], "ulaw")
    assert FromLine(ALAW_8K).convert(FRAMES[1]) == from_pcm16(pcm, "alaw")
    assert FromLine(PCM16_8K).convert(FRAMES[1]) == pcm


def test_big_endian_audio_has_the_high_octet_first() -> None:
    little = FromLine(PCM16_8K).convert(FRAMES[1])
    big = FromLine(PCM16_8K, big_endian=True).convert(FRAMES[1])
    assert (big[0::2], big[1::2]) == (little[1::2], little[0::2])
    assert ToLine(PCM16_8K, big_endian=True).convert(big) == FRAMES[1]
    # The byte order of eight-bit codes is nothing to ask about.
    assert FromLine(ULAW_8K, big_endian=True).convert(FRAMES[1]) == FRAMES[1]


def test_audio_that_ends_inside_a_sample_is_refused() -> None:
    with pytest.raises(ProtocolBroken, match="middle of a sample") as refused:
        ToLine(PCM16_16K).convert(b"\0" * 641)
    assert refused.value.fault == "audio"
