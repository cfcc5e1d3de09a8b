from __future__ import annotations

import io
import wave

import pytest

from tests.control.fakes import run, services, serving

pytestmark = pytest.mark.socket


def test_hold_music_is_audio_that_can_be_looped() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            answer = await served.http.get("/voice/hold-music")
            assert answer.headers["content-type"] == "audio/x-wav"
            with wave.open(io.BytesIO(answer.content)) as music:
                assert (music.getnchannels(), music.getframerate()) == (1, 8000)
                samples = memoryview(music.readframes(music.getnframes())).cast("h")
            assert music.getnframes() / 8000 == 12
            assert max(map(abs, samples)) > 3000
            assert abs(samples[0]) < 10
            assert abs(samples[-1]) < 10

    run(case)
