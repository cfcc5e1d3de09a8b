from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.contract.modem import RATE_HZ, ModemEars, sound
from voicecall.audio import DtmfDetector, from_pcm16, to_pcm16
from voicecall.media.tones import key_tones
from voicecall.ports import PCM16_8K, FinalTranscript

pytestmark = pytest.mark.unit

TEXT = "The quick brown fox: 0123456789, #*!"
SILENCE = b"\0\0" * RATE_HZ


def understood(audio: bytes, piece: int = 320) -> list[str]:
    async def case() -> list[str]:
        stream = await ModemEars().open()
        for begin in range(0, len(audio), piece):
            stream.push(audio[begin : begin + piece])
        await stream.close()
        return [event.text async for event in stream if isinstance(event, FinalTranscript)]

    return asyncio.run(case())


@pytest.mark.parametrize("piece", [2, 318, 320, 10_000])
@pytest.mark.parametrize("lead", [0, 1, 77])
def test_what_is_said_is_understood(piece: int, lead: int) -> None:
    line = SILENCE[: 2 * lead] + sound(TEXT) + sound("And more.") + SILENCE
    assert understood(line, piece) == [TEXT, "And more."]


def test_a_telephone_line_changes_nothing() -> None:
    line = to_pcm16(from_pcm16(SILENCE + sound(TEXT) + SILENCE, "ulaw"), "ulaw")
    assert understood(line) == [TEXT]


def test_a_hold_up_changes_nothing() -> None:
    audio = sound(TEXT)
    assert understood(audio[:4800] + SILENCE[:3200] + audio[4800:] + SILENCE) == [TEXT]


def test_what_is_missing_is_noticed() -> None:
    audio = sound(TEXT)
    assert understood(audio[:4800] + audio[5120:] + SILENCE) == [TEXT[:15] + TEXT[16:]]


def test_what_is_cut_is_understood_as_far_as_it_went() -> None:
    assert understood(sound(TEXT)[: 320 * 9] + SILENCE) == [TEXT[:9]]


def test_noise_is_no_word() -> None:
    noise = np.random.default_rng(1).integers(-200, 200, RATE_HZ).astype("<i2")
    assert understood(noise.tobytes()) == []


def test_keys_of_a_telephone_are_no_words() -> None:
    keys = b"".join(key_tones("12#", PCM16_8K))
    assert understood(keys + SILENCE) == []
    assert understood(keys + sound(TEXT) + keys + SILENCE) == [TEXT]


def test_words_are_no_keys_of_a_telephone() -> None:
    text = "".join(map(chr, range(32, 127)))
    assert DtmfDetector(RATE_HZ).feed(sound(text)) == ""
