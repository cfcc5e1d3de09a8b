"""The local engines in virtual time, and what they have said, kept for the next time."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import soxr

from benchmarks.barge_in.sounds import RATE_HZ
from benchmarks.barge_in.virtual import InlineExecutor
from voicecall.ports import AudioFormat
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.tts.local import LocalTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from benchmarks.barge_in.sounds import Sound
    from voicecall.clock import Clock

DECODING_S = 0.1
"""What decoding an utterance takes in virtual time: as much as on a busy machine of two cores."""

_FORMAT = AudioFormat("pcm16", 24000)
_PIECE_OCTETS = _FORMAT.octets_per_second // 5


class VirtualEars(LocalSpeechToText):
    """The local recogniser, its work done in no time but for `DECODING_S`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._detect_worker = InlineExecutor()
        self._decode_workers = InlineExecutor()

    async def transcribe(self, pcm: bytes) -> str:
        """The words of one utterance."""
        text = await super().transcribe(pcm)
        await asyncio.sleep(DECODING_S)
        return text


class Recordings:
    """What the local voice says, from a folder where it is once it has been made.

    Implements `ports.TextToSpeech`.

    Args:
        folder: where it is kept; may be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._voice: LocalTextToSpeech | None = None
        self._made: dict[str, bytes] = {}

    @property
    def output(self) -> AudioFormat:
        """PCM16 at 24 kHz."""
        return _FORMAT

    async def prepare(self) -> None:
        """Nothing: the voice is loaded when something new is to be said."""

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text` in pieces of 200 ms."""
        pcm = await self._pcm(text)
        for start in range(0, len(pcm), _PIECE_OCTETS):
            yield pcm[start : start + _PIECE_OCTETS]

    async def spoken(self, text: str, speed: float) -> Sound:
        """`text` at 8 kHz, by a voice that is higher and faster by `speed`."""
        samples = np.frombuffer(await self._pcm(text), "<i2") / 32768
        spoken: Sound = soxr.resample(samples, _FORMAT.rate_hz * speed, RATE_HZ)
        return spoken

    async def close(self) -> None:
        """Free the voice."""
        if self._voice is not None:
            await self._voice.close()

    async def _pcm(self, text: str) -> bytes:
        if text not in self._made:
            name = hashlib.sha256(text.encode()).hexdigest()[:16]
            path = self._folder / f"{name}.pcm"
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(await self._say(text))
            self._made[text] = path.read_bytes()
        return self._made[text]

    async def _say(self, text: str) -> bytes:
        if self._voice is None:
            self._voice = VirtualVoice()
        return b"".join([piece async for piece in self._voice.synthesize(text)])


class VirtualVoice(LocalTextToSpeech):
    """The local voice, its work done in no time."""

    def __init__(self) -> None:
        super().__init__()
        self._worker = InlineExecutor()
