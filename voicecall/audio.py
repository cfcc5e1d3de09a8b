"""Audio between any two formats; the rest of the package meets the codecs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall._codec import (
    DtmfDetector,
    Resampler,
    alaw_decode,
    alaw_encode,
    dtmf_tones,
    ulaw_decode,
    ulaw_encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.ports import AudioFormat, Encoding

__all__ = [
    "SILENCE_OCTET",
    "DtmfDetector",
    "Resampler",
    "Transcoder",
    "dtmf_tones",
    "from_pcm16",
    "to_pcm16",
]

# What padding is made of: the code of the smallest value, or zero.
SILENCE_OCTET: dict[Encoding, int] = {"ulaw": 0xFF, "alaw": 0xD5, "pcm16": 0x00}


def _same(audio: bytes) -> bytes:
    return audio


_DECODE: dict[Encoding, Callable[[bytes], bytes]] = {
    "ulaw": ulaw_decode,
    "alaw": alaw_decode,
    "pcm16": _same,
}
_ENCODE: dict[Encoding, Callable[[bytes], bytes]] = {
    "ulaw": ulaw_encode,
    "alaw": alaw_encode,
    "pcm16": _same,
}


def to_pcm16(audio: bytes, encoding: Encoding) -> bytes:
    """Linear PCM16 of `audio`, at its own rate.

    Raises:
        CodecError: PCM16 with an odd number of octets.
    """
    return _DECODE[encoding](audio)


def from_pcm16(pcm: bytes, encoding: Encoding) -> bytes:
    """`pcm` in `encoding`, at its own rate.

    Raises:
        CodecError: an odd number of octets.
    """
    return _ENCODE[encoding](pcm)


class Transcoder:
    """Turns a stream of audio from one format into another, piece by piece.

    The resampler's state and an odd octet are kept from piece to piece, so that the pieces' edges
    are not heard.

    Args:
        source: the format of what is given.
        target: the format of what is returned.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._same = source == target
        self._decode = None if source.encoding == "pcm16" else _DECODE[source.encoding]
        self._sample_octets = source.sample_octets
        self._odd = b""
        self._resampler = Resampler(source.rate_hz, target.rate_hz, target.encoding)

    def convert(self, audio: bytes, last: bool = False) -> bytes:
        """The next piece of audio; shorter or longer than given while the resampler fills.

        Args:
            audio: any number of octets of the source format.
            last: no more follows: return what the resampler still holds. A new stream begins.

        Raises:
            CodecError: the stream ends in the middle of a sample.
        """
        if self._same:
            return audio
        if self._odd or len(audio) % self._sample_octets:
            audio = self._whole_samples(audio, last)
        if self._decode is not None:
            audio = self._decode(audio)
        return self._resampler.process(audio, last)

    def _whole_samples(self, audio: bytes, last: bool) -> bytes:
        audio = self._odd + audio
        whole = len(audio) if last else len(audio) - len(audio) % self._sample_octets
        self._odd = audio[whole:]
        return audio[:whole]
