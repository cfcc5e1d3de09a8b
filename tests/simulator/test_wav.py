from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voicecall.errors import CodecError
from voicecall.simulator.wav import read_wav

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def fmt(
    rate_hz: int = 8000, channels: int = 1, bits: int = 16, tag: int = 1, extra: bytes = b""
) -> bytes:
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits)
    return chunk(b"fmt ", head + extra)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(folder: Path, content: bytes, rate_hz: int = 8000) -> list[int]:
    path = folder / "speech.wav"
    path.write_bytes(content)
    return [int(sample) for sample in np.frombuffer(read_wav(path, rate_hz), dtype="<i2")]


@pytest.mark.parametrize(
    ("bits", "audio"),
    [
        (8, bytes([128, 255, 0, 64])),
        (16, struct.pack("<4h", 0, 0x7F00, -0x8000, -0x4000)),
        (24, b"\0\0\0" + b"\0\0\x7f" + b"\0\0\x80" + b"\0\0\xc0"),
        (32, struct.pack("<4i", 0, 0x7F000000, -0x80000000, -0x40000000)),
    ],
)
def test_every_width_gives_the_same_samples(tmp_path: Path, bits: int, audio: bytes) -> None:
    content = riff(fmt(bits=bits), chunk(b"data", audio))
    assert read(tmp_path, content) == [0, 0x7F00, -0x8000, -0x4000]


def test_channels_are_averaged(tmp_path: Path) -> None:
    content = riff(fmt(channels=2), chunk(b"data", struct.pack("<4h", 100, 300, -100, 100)))
    assert read(tmp_path, content) == [200, 0]


def test_other_rates_are_converted(tmp_path: Path) -> None:
    wave = np.sin(np.arange(44100) * 2 * np.pi * 440 / 44100) * 8000
    content = riff(fmt(rate_hz=44100), chunk(b"data", wave.astype("<i2").tobytes()))
    samples = np.array(read(tmp_path, content))
    assert abs(len(samples) - 8000) <= 1
    spectrum = np.abs(np.fft.rfft(samples[:8000], 8000))
    assert int(np.argmax(spectrum)) == 440
    assert np.max(np.abs(samples[500:7500])) == pytest.approx(8000, rel=0.01)


def test_unknown_chunks_and_the_extensible_format_are_read(tmp_path: Path) -> None:
    extension = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    content = riff(
        chunk(b"LIST", b"odd"),
        fmt(tag=0xFFFE, extra=extension),
        chunk(b"data", struct.pack("<2h", 1, 2)),
        chunk(b"id3 ", b"x"),
    )
    assert read(tmp_path, content) == [1, 2]


DATA = chunk(b"data", bytes(4))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a WAV file"),
        (b"ID3" + bytes(40), "not a WAV file"),
        (riff(fmt()), "no data chunk"),
        (riff(DATA, fmt()), "before the fmt chunk"),
        (riff(chunk(b"fmt ", bytes(8)), DATA), "fmt chunk is cut short"),
        (riff(fmt(tag=3, bits=32), DATA), "format 3 is not linear PCM"),
        (riff(fmt(bits=12), DATA), "12 bits"),
        (riff(fmt(channels=0), DATA), "0 channels"),
        (riff(fmt(rate_hz=5), DATA), "5 Hz"),
        (riff(fmt(), chunk(b"data", bytes(3))), "middle of a sample"),
        (riff(fmt(), DATA)[:-2], "says 4 octets, 2 are there"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    with pytest.raises(CodecError, match=complaint) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "speech.wav") in str(caught.value)


def test_a_block_that_does_not_fit_its_format_is_refused(tmp_path: Path) -> None:
    lying = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 3, 16))
    with pytest.raises(CodecError, match="block of 3 octets"):
        read(tmp_path, riff(lying, DATA))
