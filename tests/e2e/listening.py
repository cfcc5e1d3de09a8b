"""Ears and voice of the tests: what is understood in a recording, what should be heard in it."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
import soxr
from moonshine_voice import ModelArch, Transcriber, get_model_path

from voicecall.audio import Transcoder, to_pcm16
from voicecall.dialog.sentences import SentenceSplitter, speakable
from voicecall.ports import ULAW_8K
from voicecall.speech.tts.local import LocalTextToSpeech

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 8000
MODEL_HZ = 16000
WINDOW = RATE_HZ // 50
LOUD = 0.004
# A shorter pause is one of the speaker's own.
PAUSE_WINDOWS = 40
MARGIN = RATE_HZ // 4
# The model makes up a word where an utterance has no clear end.
REST = np.zeros(RATE_HZ // 2, dtype=np.float32)


def channels(path: Path) -> list[bytes]:
    """The channels of a 16-bit WAV file at 8 kHz, the caller's first."""
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getsampwidth()) == (RATE_HZ, 2)
        count = file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return [samples[side::count].tobytes() for side in range(count)]


def stretches(pcm: bytes) -> list[NDArray[np.float32]]:
    """What is said between pauses, told by energy alone, each with a little silence around it."""
    samples = (np.frombuffer(pcm, dtype="<i2") / 32768).astype(np.float32)
    whole = samples[: len(samples) - len(samples) % WINDOW].reshape(-1, WINDOW)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(whole), axis=1)) > LOUD)
    if not loud.size:
        return []
    breaks = np.flatnonzero(np.diff(loud) > PAUSE_WINDOWS)
    begins = [loud[0], *loud[breaks + 1]]
    ends = [*loud[breaks], loud[-1]]
    return [
        samples[max(0, begin * WINDOW - MARGIN) : (end + 1) * WINDOW + MARGIN]
        for begin, end in zip(begins, ends, strict=True)
    ]


def understood(pcm: bytes) -> list[str]:
    """The words in a recording, by the recogniser's own interface."""
    options = {"return_audio_data": "false"}
    model = Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY, options=options)
    try:
        texts = []
        for stretch in stretches(pcm):
            rested = np.append(stretch, REST) / max(0.05, float(np.abs(stretch).max()))
            audio = soxr.resample(rested, RATE_HZ, MODEL_HZ)
            lines = model.transcribe_without_streaming(audio.tolist(), MODEL_HZ).lines
            texts.append(" ".join(line.text.strip() for line in lines))
        return texts
    finally:
        model.close()


async def spoken(pieces: Iterable[str]) -> bytes:
    """What the bot's text sounds like at the far end of the line, PCM16 at 8 kHz.

    The same steps as the server's, in one go: sentences, synthesis, resampling, coding, decoding.
    """
    splitter = SentenceSplitter()
    sentences = [sentence for piece in pieces for sentence in splitter.feed(piece)]
    return await _line([*sentences, *splitter.flush()])


async def said(text: str) -> bytes:
    """What the caller's text sounds like on the line: said in one go, not sentence by sentence."""
    return await _line([text])


async def _line(sentences: Iterable[str]) -> bytes:
    voice = LocalTextToSpeech(seed=0)
    line = bytearray()
    try:
        for sentence in sentences:
            transcoder = Transcoder(voice.output, ULAW_8K)
            async for piece in voice.synthesize(speakable(sentence)):
                line += transcoder.convert(piece)
            line += transcoder.convert(b"", last=True)
    finally:
        await voice.close()
    return to_pcm16(bytes(line), "ulaw")
