"""A call as a stereo WAV file: what the phone said left, what it heard right, on one timeline."""

from __future__ import annotations

import wave
from enum import IntEnum
from typing import TYPE_CHECKING, Self

import numpy as np

from voicecall.clock import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_WINDOW_S = 10
_SAMPLE_OCTETS = 2


class Side(IntEnum):
    """Whose channel; the value is the channel's number."""

    CALLER = 0
    BOT = 1


class CallRecording:
    """Writes both sides of a call, aligned to the sample, while it goes on.

    Ten to twenty seconds are held in memory, so that the two sides need not come in step; the rest
    is on disk. Audio for a time that has been written already is thrown away and counted. Where
    nothing came, there is silence.

    Args:
        path: the WAV file, made anew.
        origin_ns: the moment of the first sample.
        rate_hz: of both sides.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, origin_ns: int, rate_hz: int = 8000) -> None:
        self.path = path
        self.dropped_samples = 0
        self._origin_ns = origin_ns
        self._rate_hz = rate_hz
        self._window_samples = _WINDOW_S * rate_hz
        self._first = 0
        self._sides = (bytearray(), bytearray())
        self._file = wave.open(str(path), "wb")  # noqa: SIM115  (closed by `close`)
        self._file.setnchannels(len(self._sides))
        self._file.setsampwidth(_SAMPLE_OCTETS)
        self._file.setframerate(rate_hz)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def duration_ms(self) -> float:
        """How long the recording is by now."""
        return (self._first + self._held_samples()) * 1000 / self._rate_hz

    def add(self, side: Side, pcm: bytes, at_ns: int) -> None:
        """Put PCM16 audio whose first sample was at `at_ns` on one side's channel.

        Raises:
            OSError: the disk is full.
        """
        # Rounded, not cut: the moments are whole samples plus what the clocks lost.
        position = round((at_ns - self._origin_ns) * self._rate_hz / NS_PER_S) - self._first
        if position < 0:
            missed = min(-position, len(pcm) // _SAMPLE_OCTETS)
            self.dropped_samples += missed
            pcm = pcm[missed * _SAMPLE_OCTETS :]
            position = 0
        if not pcm:
            return
        held = self._sides[side]
        start = position * _SAMPLE_OCTETS
        if len(held) < start:
            held.extend(bytes(start - len(held)))
        held[start : start + len(pcm)] = pcm
        if self._held_samples() > 2 * self._window_samples:
            self._write(self._held_samples() - self._window_samples)

    def close(self) -> None:
        """Write the rest and close the file. Closing twice is harmless."""
        self._write(self._held_samples())
        self._file.close()

    def _held_samples(self) -> int:
        return max(map(len, self._sides)) // _SAMPLE_OCTETS

    def _write(self, samples: int) -> None:
        if not samples:
            return
        octets = samples * _SAMPLE_OCTETS
        both = np.zeros((samples, len(self._sides)), dtype="<i2")
        for channel, held in enumerate(self._sides):
            part = np.frombuffer(bytes(held[:octets]), dtype="<i2")
            both[: part.size, channel] = part
            del held[:octets]
        self._file.writeframes(both.tobytes())
        self._first += samples
