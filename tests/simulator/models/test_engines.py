from __future__ import annotations

import asyncio

import numpy as np
import pytest

from voicecall.clock import ManualClock
from voicecall.simulator.models.engines import MODEL_AUDIO, InstantEngines, LocalEngines

pytestmark = pytest.mark.unit


def test_instant_engines_hear_what_is_planned_in_turn() -> None:
    async def case() -> None:
        engines = InstantEngines(["One.", "Two."])
        heard = [await engines.transcribe(b"") for _ in range(3)]
        assert heard == ["One.", "Two.", "One."]

    asyncio.run(case())


def test_an_instant_voice_lasts_as_long_as_the_words_would() -> None:
    async def case() -> None:
        voice = InstantEngines().voice
        audio = b"".join([piece async for piece in voice.synthesize("x" * 50)])
        assert MODEL_AUDIO.duration_ms(len(audio)) == 3000
        samples = np.frombuffer(audio, "<i2")
        # Pieces join without a click: no step is larger than the tone's own.
        assert np.abs(np.diff(samples.astype(np.int32))).max() < 1000

    asyncio.run(case())


def test_an_instant_detector_tells_the_tone_from_silence() -> None:
    async def case() -> None:
        detector = await InstantEngines().detector()
        octets = detector.window_samples * 2
        tone = (np.sin(np.arange(detector.window_samples)) * 8000).astype("<i2").tobytes()
        assert detector.probability(bytes(octets)) < 0.2
        assert detector.probability(tone) > 0.8

    asyncio.run(case())


def test_local_engines_hear_their_own_voice() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")

    async def case() -> None:
        engines = LocalEngines(ManualClock())
        try:
            await engines.prepare()
            wide = b"".join([p async for p in engines.voice.synthesize("Good morning, everyone.")])
            thirds = len(wide) // 6 * 6
            narrow = np.frombuffer(wide[:thirds], "<i2").reshape(-1, 3).mean(axis=1)
            words = await engines.transcribe(narrow.astype("<i2").tobytes())
            assert "good morning" in words.lower()
        finally:
            await engines.close()

    asyncio.run(case())
