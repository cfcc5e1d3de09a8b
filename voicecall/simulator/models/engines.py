"""What simulated models hear and speak with."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from voicecall.ports import AudioFormat
from voicecall.speech.stt.local import LocalSpeechToText, default_detector
from voicecall.speech.tts.local import LocalTextToSpeech
from voicecall.speech.vad import EnergyVad

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import TextToSpeech, VoiceActivity

MODEL_AUDIO = AudioFormat("pcm16", 24000)
"""What OpenAI's models make where nothing else is asked for."""

_TONE_HZ = 440
_TONE_PEAK = 8000
_PIECE_MS = 200
_MS_PER_CHARACTER = 60


class ModelEngines(Protocol):
    """Recognition and synthesis, shared by all services of a server."""

    @property
    def voice(self) -> TextToSpeech:
        """Synthesis."""
        ...

    async def detector(self) -> VoiceActivity:
        """A voice activity detector for one connection."""
        ...

    async def transcribe(self, pcm: bytes) -> str:
        """The words of one utterance, PCM16 at 8 kHz. Raises `SpeechError`."""
        ...

    async def prepare(self) -> None:
        """Load what is needed, so that no request waits for it.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it cannot be loaded.
        """
        ...

    async def close(self) -> None:
        """Free everything."""
        ...


class LocalEngines:
    """The engines on this machine; their models are loaded at first use.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._voice = LocalTextToSpeech()
        self._ears = LocalSpeechToText(clock=clock)

    @property
    def voice(self) -> TextToSpeech:
        """The local voice."""
        return self._voice

    async def detector(self) -> VoiceActivity:
        """The neural detector where it is installed."""
        return await asyncio.to_thread(default_detector)

    async def transcribe(self, pcm: bytes) -> str:
        """The words of one utterance, PCM16 at 8 kHz. Raises `SpeechError`."""
        return await self._ears.transcribe(pcm)

    async def prepare(self) -> None:
        """Load the models, about a second.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: one cannot be loaded.
        """
        await self._voice.prepare()
        await self._ears.prepare()

    async def close(self) -> None:
        """Let running work end and free the models."""
        await self._voice.close()
        await self._ears.close()


class InstantEngines:
    """Engines that take no time: what then passes is the time of everything else.

    Args:
        transcripts: what is heard, one for each utterance; after the last the first again.
    """

    def __init__(self, transcripts: Sequence[str] = ("Hello.",)) -> None:
        self._transcripts = itertools.cycle(transcripts)
        self._voice = ToneVoice()

    @property
    def voice(self) -> TextToSpeech:
        """A tone."""
        return self._voice

    async def detector(self) -> VoiceActivity:
        """The detector that needs no model."""
        return EnergyVad()

    async def transcribe(self, pcm: bytes) -> str:
        """The next transcript."""
        return next(self._transcripts)

    async def prepare(self) -> None:
        """Nothing has to be loaded."""

    async def close(self) -> None:
        """Nothing is held."""


class ToneVoice:
    """Speaks in a tone that lasts as long as the words would, and takes no time to make."""

    def __init__(self) -> None:
        samples = MODEL_AUDIO.rate_hz * _PIECE_MS // 1000
        phase = np.arange(samples) * (2 * math.pi * _TONE_HZ / MODEL_AUDIO.rate_hz)
        self._piece: bytes = (np.sin(phase) * _TONE_PEAK).astype("<i2").tobytes()

    @property
    def output(self) -> AudioFormat:
        """PCM16 at 24 kHz."""
        return MODEL_AUDIO

    async def prepare(self) -> None:
        """Nothing has to be loaded."""

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """A tone of 60 ms for each character, in pieces of 200 ms."""
        for _ in range(math.ceil(len(text) * _MS_PER_CHARACTER / _PIECE_MS)):
            yield self._piece

    async def close(self) -> None:
        """Nothing is held."""
