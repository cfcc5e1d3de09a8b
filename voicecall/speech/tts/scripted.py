"""Synthesis that makes tones instead of words, as long as the words would be.

For tests and demonstrations without neural models: a burst for each word, longer for longer words,
loud enough to count as speech, the same octets every time.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import numpy as np

from voicecall.ports import AudioFormat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LETTER_MS = 60
_GAP_MS = 60
_EDGE_MS = 5
_LEVEL = 8000
_LOWEST_HZ = 300
_STEP_HZ = 37


class ScriptedTextToSpeech:
    """Speaks in tones.

    Args:
        output: PCM16 at any rate.
    """

    def __init__(self, output: AudioFormat | None = None) -> None:
        self._output = output or AudioFormat("pcm16", 24000)

    @property
    def output(self) -> AudioFormat:
        """The audio it makes."""
        return self._output

    async def prepare(self) -> None:
        """Nothing has to be loaded."""

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """A tone of 60 ms a letter and a pause of 60 ms for each word, one word a piece."""
        for word in re.findall(r"\w+", text):
            yield self._burst(word)
            # Between pieces the caller may stop us, as with an engine that takes its time.
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing is held."""

    def _burst(self, word: str) -> bytes:
        rate_hz = self._output.rate_hz
        count = len(word) * _LETTER_MS * rate_hz // 1000
        # The pitch follows from the letters, so that different words sound different.
        pitch_hz = _LOWEST_HZ + _STEP_HZ * (sum(map(ord, word)) % 16)
        times = np.arange(count) / rate_hz
        edge = np.minimum(times, times[::-1]) * 1000 / _EDGE_MS
        tone = np.sin(2 * np.pi * pitch_hz * times) * np.minimum(edge, 1) * _LEVEL
        pause = np.zeros(_GAP_MS * rate_hz // 1000)
        return np.concatenate([tone, pause]).astype("<i2").tobytes()
