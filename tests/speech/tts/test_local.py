from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import AudioFormat
from voicecall.speech.tts.local import LocalTextToSpeech

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


class FakeVoice:
    """Makes 300 ms of audio for each full stop."""

    def __init__(self, level: float = 0.25) -> None:
        self.level = level
        self.sentences = 0
        self.threads: set[str] = set()

    def stream(
        self, text: str, *, seed: int
    ) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        for _ in range(text.count(".")):
            self.sentences += 1
            self.threads.add(threading.current_thread().name)
            yield np.full(7200, self.level, dtype=np.float32)


class SlowSpeaker(FakeVoice):
    """Begins and ends with a second of silence."""

    def stream(
        self, text: str, *, seed: int
    ) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        for said in super().stream(text, seed=seed):
            yield np.pad(said, 24_000)


class BrokenVoice(FakeVoice):
    def stream(
        self, text: str, *, seed: int
    ) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        raise ValueError(text)


def engine_with(voice: FakeVoice) -> LocalTextToSpeech:
    engine = LocalTextToSpeech()
    engine._engine = voice
    return engine


def test_of_the_silence_around_a_sentence_only_a_pause_is_left() -> None:
    async def case() -> None:
        engine = engine_with(SlowSpeaker())
        audio = b"".join([piece async for piece in engine.synthesize("One.")])
        await engine.close()
        samples = np.frombuffer(audio, "<i2")
        loud = np.flatnonzero(samples)
        assert loud[0] == 24_000 * 0.03
        assert loud[-1] - loud[0] + 1 == 7200
        assert len(samples) - loud[-1] == 24_000 * 0.2

    asyncio.run(case())


def test_a_sentence_without_a_sound_is_left_as_it_is() -> None:
    async def case() -> None:
        engine = engine_with(FakeVoice(level=0.0))
        audio = b"".join([piece async for piece in engine.synthesize("One.")])
        await engine.close()
        assert len(audio) == 14_400

    asyncio.run(case())


def test_audio_comes_in_pieces_of_at_most_200_ms() -> None:
    async def case() -> None:
        engine = engine_with(FakeVoice())
        pieces = [len(piece) async for piece in engine.synthesize("One. Two.")]
        await engine.close()
        assert engine.output == AudioFormat("pcm16", 24000)
        assert pieces == [9600, 4800, 9600, 4800]

    asyncio.run(case())


def test_the_voice_is_made_louder_and_clipped() -> None:
    async def case() -> None:
        for level, loudest in ((0.25, 0.25 * 10 ** (7 / 20)), (0.9, 1.0)):
            engine = engine_with(FakeVoice(level))
            audio = b"".join([piece async for piece in engine.synthesize("One.")])
            await engine.close()
            samples = np.frombuffer(audio, dtype="<i2")
            assert np.max(samples) == pytest.approx(loudest * 32767, abs=2)

    asyncio.run(case())


def test_synthesis_runs_in_one_thread_of_its_own() -> None:
    async def case() -> None:
        voice = FakeVoice()
        engine = engine_with(voice)

        async def say() -> None:
            async for _ in engine.synthesize("One. Two."):
                pass

        await asyncio.gather(say(), say(), say())
        await engine.close()
        assert voice.threads == {"voicecall-tts_0"}

    asyncio.run(case())


def test_closing_the_iterator_stops_between_sentences() -> None:
    async def case() -> None:
        voice = FakeVoice()
        engine = engine_with(voice)
        async with aclosing(engine.synthesize("One. Two. Three.")) as audio:
            await anext(audio)
        await engine.close()
        assert voice.sentences == 1

    asyncio.run(case())


def test_what_the_engine_cannot_say_is_a_speech_error() -> None:
    async def case() -> None:
        engine = engine_with(BrokenVoice())
        with pytest.raises(SpeechError, match="synthesis failed"):
            await anext(engine.synthesize("One."))
        await engine.close()

    asyncio.run(case())


def test_a_closed_engine_refuses() -> None:
    async def case() -> None:
        engine = engine_with(FakeVoice())
        await engine.close()
        with pytest.raises(SpeechError):
            await anext(engine.synthesize("One."))

    asyncio.run(case())


def test_too_many_waiting_sentences_are_refused() -> None:
    async def case() -> None:
        free = threading.Event()
        engine = engine_with(FakeVoice())
        block = asyncio.get_running_loop().run_in_executor(engine._worker, free.wait, 10)
        waiting = [asyncio.ensure_future(anext(engine.synthesize("One."))) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(SpeechError, match="overloaded") as caught:
            await anext(engine.synthesize("One."))
        assert caught.value.retryable
        free.set()
        assert len(await asyncio.gather(*waiting)) == 64
        assert await block
        await engine.close()

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)

    async def case() -> None:
        engine = LocalTextToSpeech()
        with pytest.raises(DependencyMissing, match=r"voicecall\[local\]"):
            await engine.prepare()
        await engine.close()

    asyncio.run(case())
