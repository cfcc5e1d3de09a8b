from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr

if TYPE_CHECKING:
    import numpy.typing as npt

pytestmark = pytest.mark.e2e

RATE_HZ = 16000


def spoken(text: str) -> npt.NDArray[np.float32]:
    from voicecall.speech.tts.local import LocalTextToSpeech  # noqa: PLC0415  (an optional package)

    async def say() -> bytes:
        voice = LocalTextToSpeech()
        try:
            return b"".join([piece async for piece in voice.synthesize(text)])
        finally:
            await voice.close()

    samples = np.frombuffer(asyncio.run(say()), "<i2").astype(np.float32) / 32768
    rested = np.append(soxr.resample(samples, 24000, RATE_HZ), np.zeros(RATE_HZ // 2))
    return rested.astype(np.float32)


def test_a_block_of_memory_is_understood_as_a_list_of_samples_is() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")
    from voicecall.speech.stt.moonshine import Moonshine  # noqa: PLC0415  (an optional package)

    model = Moonshine()
    try:
        samples = spoken("The library opens at nine.")
        lines = model.transcribe_without_streaming(samples.tolist(), RATE_HZ).lines
        heard = model.words(samples, RATE_HZ)
        assert heard == " ".join(line.text.strip() for line in lines)
        assert "library" in heard.lower()
        assert model.words(np.zeros(RATE_HZ, np.float32), RATE_HZ) == ""
    finally:
        model.close()
