from __future__ import annotations

import asyncio

import pytest

from voicecall.audio import to_pcm16
from voicecall.clock import SystemClock
from voicecall.simulator.engines import speak_ulaw
from voicecall.simulator.transcribe import transcribe
from voicecall.simulator.verify import check_transcript
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.tts.local import LocalTextToSpeech

pytestmark = pytest.mark.unit

SAID = ["The train leaves at seven.", "Please bring your own lunch."]


def test_the_utterances_of_a_recording_are_understood_in_their_order() -> None:
    async def case() -> list[str]:
        mouth, ears = LocalTextToSpeech(), LocalSpeechToText(clock=SystemClock())
        try:
            spoken = [to_pcm16(await speak_ulaw(mouth, text), "ulaw") for text in SAID]
            pause = bytes(2 * 16_000)
            return await transcribe(ears, pause + pause.join(spoken))
        finally:
            await mouth.close()
            await ears.close()

    heard = asyncio.run(case())
    assert len(heard) == len(SAID)
    assert check_transcript(SAID, heard).error_rate <= 0.10


@pytest.mark.parametrize("pcm", [b"", bytes(16_000 * 3)])
def test_in_silence_nothing_is_understood(pcm: bytes) -> None:
    async def case() -> list[str]:
        ears = LocalSpeechToText(clock=SystemClock())
        try:
            return await transcribe(ears, pcm)
        finally:
            await ears.close()

    assert asyncio.run(case()) == []
