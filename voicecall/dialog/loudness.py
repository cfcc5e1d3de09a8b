"""How loud audio is, block by block, whatever it is coded in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from voicecall.audio import to_pcm16

if TYPE_CHECKING:
    import numpy.typing as npt

    from voicecall.ports import AudioFormat

BLOCK_MS: Final = 20
"""How long a block is."""

SILENCE_DBFS: Final = -96.0
"""The level of digital silence."""

_FULL_SCALE = 32768.0
_SILENCE_POWER = 10 ** (SILENCE_DBFS / 10)
_EVERY_CODE = bytes(range(256))


class Loudness:
    """Measures one stream of audio. What is shorter than a block waits for the rest of it.

    Coded audio is looked up, not decoded: a second of mu-law costs some microseconds.

    Args:
        audio: how it is coded.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self._block_samples = audio.rate_hz * BLOCK_MS // 1000
        self._block_octets = self._block_samples * audio.sample_octets
        self._power_of_code: npt.NDArray[np.float32] | None = None
        if audio.encoding != "pcm16":
            self._power_of_code = _power(to_pcm16(_EVERY_CODE, audio.encoding))
        self._rest = b""

    def feed(self, audio: bytes) -> list[float]:
        """The levels of the blocks that are complete with `audio`, in dB below full scale."""
        audio = self._rest + audio
        count = len(audio) // self._block_octets
        end = count * self._block_octets
        self._rest = audio[end:]
        if not count:
            return []
        whole = audio[:end]
        if self._power_of_code is None:
            power = _power(whole)
        else:
            power = self._power_of_code[np.frombuffer(whole, np.uint8)]
        means = power.reshape(count, self._block_samples).mean(axis=1)
        levels: list[float] = (10 * np.log10(np.maximum(means, _SILENCE_POWER))).tolist()
        return levels


def _power(pcm: bytes) -> npt.NDArray[np.float32]:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
    power: npt.NDArray[np.float32] = samples * samples
    return power
