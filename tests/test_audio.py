from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.audio import SILENCE_OCTET, Transcoder, from_pcm16, to_pcm16
from voicecall.errors import CodecError
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat, Encoding

pytestmark = pytest.mark.unit

PCM16_24K = AudioFormat("pcm16", 24000)
FORMATS = (ULAW_8K, ALAW_8K, PCM16_8K, PCM16_24K)


@pytest.mark.parametrize("encoding", ["ulaw", "alaw", "pcm16"])
def test_padding_is_the_quietest_sound_of_its_code(encoding: Encoding) -> None:
    pcm = array("h", to_pcm16(bytes([SILENCE_OCTET[encoding]] * 160), encoding))
    assert max(abs(sample) for sample in pcm) <= 8


@given(st.binary(max_size=400))
def test_coded_audio_survives_the_way_through_linear(audio: bytes) -> None:
    assert to_pcm16(from_pcm16(to_pcm16(audio, "alaw"), "alaw"), "alaw") == to_pcm16(audio, "alaw")


@pytest.mark.parametrize("encoding", ["ulaw", "alaw"])
def test_half_a_sample_cannot_be_coded(encoding: Encoding) -> None:
    with pytest.raises(CodecError):
        from_pcm16(b"\x00", encoding)


def tone(rate_hz: int) -> bytes:
    samples = (int(8000 * math.sin(2 * math.pi * 440 * i / rate_hz)) for i in range(rate_hz // 2))
    return array("h", samples).tobytes()


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("piece_octets", [1, 7, 960, 100_000])
def test_pieces_of_any_length_make_the_same_sound(target: AudioFormat, piece_octets: int) -> None:
    audio = tone(24000)
    whole = Transcoder(PCM16_24K, target).convert(audio, last=True)
    pieces = Transcoder(PCM16_24K, target)
    made = b"".join(
        pieces.convert(audio[at : at + piece_octets]) for at in range(0, len(audio), piece_octets)
    )
    made += pieces.convert(b"", last=True)
    assert made == whole
    assert target.duration_ms(len(made)) == pytest.approx(500, abs=1)


def test_the_same_format_is_handed_through() -> None:
    audio = b"\x01\x02\x03"
    assert Transcoder(ULAW_8K, ULAW_8K).convert(audio) is audio


def test_a_stream_that_ends_in_the_middle_of_a_sample_is_an_error() -> None:
    transcoder = Transcoder(PCM16_8K, ULAW_8K)
    transcoder.convert(b"\x00\x01\x02")
    with pytest.raises(CodecError):
        transcoder.convert(b"", last=True)
