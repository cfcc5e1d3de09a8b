"""Reading WAV files people bring: any rate, any number of channels, 8 to 32 bits of linear PCM.

Source: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF WAVE), and
WAVEFORMATEXTENSIBLE.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soxr

from voicecall.errors import CodecError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_WAV_OCTETS = 256 * 1024 * 1024
"""Twelve hours of telephone audio; a wrong path should not fill the memory."""

_RIFF_OCTETS = 12
_CHUNK_HEADER = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_LINEAR_PCM = 1
_EXTENSIBLE = 0xFFFE
_SUBFORMAT_OFFSET = 24
_MAX_CHANNELS = 64
_RATES_HZ = range(1000, 768_001)
_BITS = (8, 16, 24, 32)
_PCM16_MAX = 32767
_PCM16_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class _Layout:
    channels: int
    rate_hz: int
    bits: int

    @property
    def frame_octets(self) -> int:
        return self.channels * self.bits // 8


def read_wav(path: Path, rate_hz: int) -> bytes:
    """The audio of a WAV file as PCM16 mono.

    Args:
        path: the file, at most 256 MiB.
        rate_hz: the rate to convert to.

    Returns:
        Little-endian samples at `rate_hz`; channels are averaged.

    Raises:
        CodecError: it is not a WAV file of linear PCM, or is broken; names the file and the reason.
        OSError: it cannot be read.
    """
    return _pcm16(_read(path, rate_hz).mean(axis=0))


def read_channels(path: Path, rate_hz: int) -> list[bytes]:
    """The channels of a WAV file, each as `read_wav` gives the whole; it raises the same."""
    return [_pcm16(channel) for channel in _read(path, rate_hz)]


def _read(path: Path, rate_hz: int) -> NDArray[np.float64]:
    """Samples from -1 to 1 by channel, at `rate_hz`."""
    with path.open("rb") as file:
        content = file.read(MAX_WAV_OCTETS + 1)
    try:
        layout, audio = _parse(content)
    except CodecError as error:
        raise CodecError(f"{path}: {error}") from None
    channels = _samples(audio, layout.bits).reshape(-1, layout.channels).T
    if layout.rate_hz == rate_hz:
        return channels
    return np.stack([soxr.resample(channel, layout.rate_hz, rate_hz) for channel in channels])


def _pcm16(samples: NDArray[np.float64]) -> bytes:
    scaled = np.clip(np.rint(samples * _PCM16_SCALE), -_PCM16_SCALE, _PCM16_MAX)
    pcm: bytes = scaled.astype("<i2").tobytes()
    return pcm


def _parse(content: bytes) -> tuple[_Layout, bytes]:
    if len(content) > MAX_WAV_OCTETS:
        raise CodecError(f"larger than {MAX_WAV_OCTETS} octets")
    if len(content) < _RIFF_OCTETS or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise CodecError("not a WAV file")
    layout: _Layout | None = None
    offset = _RIFF_OCTETS
    while offset + _CHUNK_HEADER.size <= len(content):
        name, octets = _CHUNK_HEADER.unpack_from(content, offset)
        offset += _CHUNK_HEADER.size
        body = content[offset : offset + octets]
        if name == b"fmt ":
            layout = _layout(body)
        elif name == b"data":
            return _checked(layout, body, octets)
        # Chunks begin at even offsets.
        offset += octets + octets % 2
    raise CodecError("there is no data chunk")


def _layout(body: bytes) -> _Layout:
    if len(body) < _FORMAT.size:
        raise CodecError("the fmt chunk is cut short")
    tag, channels, rate_hz, _, block_octets, bits = _FORMAT.unpack_from(body)
    if tag == _EXTENSIBLE and len(body) >= _SUBFORMAT_OFFSET + 2:
        (tag,) = struct.unpack_from("<H", body, _SUBFORMAT_OFFSET)
    if tag != _LINEAR_PCM:
        raise CodecError(f"format {tag} is not linear PCM")
    if bits not in _BITS:
        raise CodecError(f"{bits} bits a sample; 8, 16, 24 and 32 are known")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise CodecError(f"{channels} channels")
    if rate_hz not in _RATES_HZ:
        raise CodecError(f"a rate of {rate_hz} Hz")
    layout = _Layout(channels, rate_hz, bits)
    if block_octets != layout.frame_octets:
        raise CodecError(f"a block of {block_octets} octets does not fit its format")
    return layout


def _checked(layout: _Layout | None, body: bytes, declared_octets: int) -> tuple[_Layout, bytes]:
    if layout is None:
        raise CodecError("the data chunk comes before the fmt chunk")
    if len(body) < declared_octets:
        raise CodecError(
            f"cut short: the data chunk says {declared_octets} octets, {len(body)} are there"
        )
    if declared_octets % layout.frame_octets:
        raise CodecError("the data ends in the middle of a sample")
    return layout, body


def _samples(audio: bytes, bits: int) -> NDArray[np.float64]:
    """Samples from -1 to 1."""
    if bits == 8:  # noqa: PLR2004  (the format's own number)
        # Samples of 8 bits are unsigned, all others signed.
        return np.frombuffer(audio, dtype=np.uint8).astype(np.float64) / 128 - 1
    if bits == 24:  # noqa: PLR2004  (the format's own number)
        octets = np.frombuffer(audio, dtype=np.uint8).reshape(-1, 3)
        wide = np.zeros((len(octets), 4), dtype=np.uint8)
        wide[:, 1:] = octets
        return wide.reshape(-1).view("<i4").astype(np.float64) / 2**31
    samples: NDArray[np.float64] = np.frombuffer(audio, dtype=f"<i{bits // 8}").astype(np.float64)
    samples /= 2 ** (bits - 1)
    return samples
