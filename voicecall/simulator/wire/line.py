"""The line's mu-law at 8 kHz, to and from what is spoken on a wire."""

from __future__ import annotations

import numpy as np

from voicecall.audio import SILENCE_OCTET, Transcoder
from voicecall.ports import ULAW_8K, AudioFormat
from voicecall.simulator.playout import FRAME_MS
from voicecall.simulator.wire import ProtocolBroken

PCM16_16K = AudioFormat("pcm16", 16000)


class FromLine:
    """Converts frames of the line to frames of a wire, each of exactly 20 ms.

    Args:
        audio: how the wire's audio is coded.
        big_endian: whether its 16-bit samples have the high octet first.
    """

    def __init__(self, audio: AudioFormat, *, big_endian: bool = False) -> None:
        self._frame_octets = audio.octets_per_second * FRAME_MS // 1000
        self._silence = bytes([SILENCE_OCTET[audio.encoding]])
        self._swaps = big_endian and audio.encoding == "pcm16"
        self._transcoder = Transcoder(ULAW_8K, audio)
        self._ready = b""

    def convert(self, frame: bytes) -> bytes:
        """The wire's next 20 ms; at another rate they are a few milliseconds behind the line's."""
        self._ready += self._transcoder.convert(frame)
        # Only the first frames are short, while the resampler fills.
        self._ready = self._ready.rjust(self._frame_octets, self._silence)
        taken, self._ready = self._ready[: self._frame_octets], self._ready[self._frame_octets :]
        return _byteswapped(taken) if self._swaps else taken


class ToLine:
    """Converts a wire's audio, cut anyhow, to the line's.

    Args:
        audio: how the wire's audio is coded.
        big_endian: whether its 16-bit samples have the high octet first.
    """

    def __init__(self, audio: AudioFormat, *, big_endian: bool = False) -> None:
        self._sample_octets = audio.sample_octets
        self._swaps = big_endian and audio.encoding == "pcm16"
        self._transcoder = Transcoder(audio, ULAW_8K)

    def convert(self, audio: bytes) -> bytes:
        """The line's audio; at another rate its last few milliseconds come with the next piece.

        Raises:
            ProtocolBroken: the audio ends in the middle of a sample.
        """
        if len(audio) % self._sample_octets:
            raise ProtocolBroken("media.payload ends in the middle of a sample", "audio")
        return self._transcoder.convert(_byteswapped(audio) if self._swaps else audio)


def _byteswapped(samples: bytes) -> bytes:
    return np.frombuffer(samples, dtype="<i2").byteswap().tobytes()
