from __future__ import annotations

import asyncio

import numpy as np
import pytest

from voicecall.ports import PCM16_8K, AudioFormat
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

pytestmark = pytest.mark.unit


def pieces(text: str, output: AudioFormat | None = None) -> list[bytes]:
    async def case() -> list[bytes]:
        engine = ScriptedTextToSpeech(output)
        audio = [piece async for piece in engine.synthesize(text)]
        await engine.close()
        return audio

    return asyncio.run(case())


def test_longer_words_last_longer() -> None:
    short, long = pieces("a word", PCM16_8K)
    assert PCM16_8K.duration_ms(len(short)) == 120
    assert PCM16_8K.duration_ms(len(long)) == 300


def test_the_same_text_gives_the_same_octets() -> None:
    assert pieces("Hello there.") == pieces("Hello there.")
    assert pieces("Hello there.") != pieces("Hello where.")


def test_the_default_is_24_khz() -> None:
    assert ScriptedTextToSpeech().output == AudioFormat("pcm16", 24000)
    assert len(pieces("a")[0]) == 120 * 48


def test_a_burst_is_loud_and_has_soft_edges() -> None:
    samples = np.frombuffer(pieces("hello", PCM16_8K)[0], dtype="<i2")
    assert 7000 < np.max(np.abs(samples)) <= 8000
    assert abs(int(samples[0])) < 100


def test_nothing_to_say_makes_no_sound() -> None:
    assert pieces("... !") == []
