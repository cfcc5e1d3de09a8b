from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr

from tests.speech.signals import frames, silence, tone
from voicecall.audio import from_pcm16, to_pcm16
from voicecall.clock import Clock, ManualClock
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import (
    PCM16_8K,
    FinalTranscript,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
    SttEvent,
)
from voicecall.speech.stt.local import LocalSpeechToText, LocalSttStream, modern_spelling
from voicecall.speech.tts.local import LocalTextToSpeech
from voicecall.speech.vad import Endpointing, EnergyVad

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from voicecall.ports import VoiceActivity

pytestmark = pytest.mark.e2e

RULES = Endpointing(min_speech_ms=60, silence_ms=500)


class FakeModel:
    """Says how long the audio was, and remembers how loud."""

    def __init__(self) -> None:
        self.peaks: list[float] = []

    def words(self, samples: npt.NDArray[np.float32], rate_hz: int) -> str:
        self.peaks.append(float(samples.max()))
        return f"{samples.size * 1000 // rate_hz} ms to-day "


class BrokenModel(FakeModel):
    def words(self, samples: npt.NDArray[np.float32], rate_hz: int) -> str:
        raise RuntimeError("no memory")


def engine_with(
    model: FakeModel, clock: Clock, detector: Callable[[], VoiceActivity] = EnergyVad
) -> LocalSpeechToText:
    engine = LocalSpeechToText(clock=clock, rules=RULES, detector=detector)
    engine._model = model
    return engine


async def events(stream: LocalSttStream, count: int) -> list[SttEvent]:
    """The next events; not the guesses, which come when a decoder is done with them."""

    async def read() -> list[SttEvent]:
        found: list[SttEvent] = []
        async for event in stream:
            if not isinstance(event, PartialTranscript):
                found.append(event)
            if len(found) == count:
                break
        return found

    return await asyncio.wait_for(read(), 20)


async def push(stream: LocalSttStream, pcm: bytes, clock: ManualClock) -> None:
    """At the pace of the detector, whatever the time it takes."""
    for frame in frames(pcm):
        clock.advance_ms(20)
        stream.push(frame)
        # The detector has one thread: what is done there now comes after the frame.
        await asyncio.get_running_loop().run_in_executor(stream._detection._worker, int)


def test_speech_is_found_decoded_and_told_in_order() -> None:
    async def case() -> None:
        clock = ManualClock(now_ns=0)
        model = FakeModel()
        engine = engine_with(model, clock)
        stream = await engine.open()
        await push(stream, silence(400) + tone(400, level=2000) + silence(600), clock)
        found = await events(stream, 3)
        await stream.close()
        await engine.close()
        assert found == [
            SpeechStarted(400_000_000),
            SpeechStopped(800_000_000),
            FinalTranscript("1440 ms today"),
        ]
        assert model.peaks == [pytest.approx(0.61, abs=0.01)]

    asyncio.run(case())


def test_what_was_decoded_in_advance_is_not_decoded_again() -> None:
    async def case() -> None:
        clock = ManualClock(now_ns=0)
        model = FakeModel()
        engine = engine_with(model, clock)
        stream = await engine.open()
        await push(stream, tone(400) + silence(600), clock)
        assert len(await events(stream, 3)) == 3
        assert len(model.peaks) == 1
        await push(stream, tone(400) + silence(400) + tone(400) + silence(600), clock)
        *_, final = await events(stream, 3)
        assert final == FinalTranscript("2000 ms today")
        assert len(model.peaks) <= 3
        await stream.close()
        await engine.close()

    asyncio.run(case())


def test_what_was_decoded_in_advance_is_told_at_once_though_more_may_follow() -> None:
    async def case() -> None:
        clock = ManualClock(now_ns=0)
        engine = engine_with(FakeModel(), clock)
        stream = await engine.open()
        # A pause, and not an end.
        await push(stream, tone(400) + silence(400), clock)
        results = aiter(stream)
        async with asyncio.timeout(20):
            assert isinstance(await anext(results), SpeechStarted)
            assert await anext(results) == PartialTranscript("1100 ms today")
        await stream.close()
        await engine.close()

    asyncio.run(case())


def test_nothing_is_decoded_in_advance_while_all_decoders_are_busy() -> None:
    async def case() -> None:
        clock = ManualClock(now_ns=0)
        model = FakeModel()
        engine = engine_with(model, clock)
        stream = await engine.open()
        engine._decoding = 2
        await push(stream, tone(400) + silence(400) + tone(400) + silence(400), clock)
        engine._decoding = 0
        assert model.peaks == []
        await push(stream, silence(200), clock)
        assert len(await events(stream, 3)) == 3
        assert len(model.peaks) == 1
        await stream.close()
        await engine.close()

    asyncio.run(case())


def test_utterances_are_decoded_in_their_order() -> None:
    async def case() -> None:
        clock = ManualClock(now_ns=0)
        engine = engine_with(FakeModel(), clock)
        stream = await engine.open()
        for ms in (200, 800, 400):
            await push(stream, silence(400) + tone(ms) + silence(600), clock)
        found = await events(stream, 9)
        await stream.close()
        await engine.close()
        lengths = [
            int(event.text.split()[0]) for event in found if isinstance(event, FinalTranscript)
        ]
        assert lengths[1] - lengths[0] == 600
        assert lengths[1] - lengths[2] == 400

    asyncio.run(case())


def test_audio_that_nobody_looks_at_is_dropped_from_its_oldest_end() -> None:
    async def case() -> None:
        free = threading.Event()
        clock = ManualClock()
        engine = engine_with(FakeModel(), clock)
        stream = await engine.open()
        block = asyncio.get_running_loop().run_in_executor(engine._detect_worker, free.wait, 10)
        for frame in frames(silence(3000)):
            stream.push(frame)
        assert stream.dropped_octets == 1000 * 16
        free.set()
        assert await block
        await stream.close()
        await engine.close()

    asyncio.run(case())


def test_a_decoder_that_fails_ends_the_recognition() -> None:
    async def case() -> None:
        clock = ManualClock(now_ns=0)
        engine = engine_with(BrokenModel(), clock)
        stream = await engine.open()
        await push(stream, tone(400) + silence(600), clock)
        with pytest.raises(SpeechError, match="recognition failed"):
            await events(stream, 3)
        await stream.close()
        await engine.close()

    asyncio.run(case())


def test_a_detector_that_fails_ends_the_recognition() -> None:
    class BrokenDetector(EnergyVad):
        def probability(self, pcm: bytes) -> float:
            raise ZeroDivisionError

    async def case() -> None:
        clock = ManualClock(now_ns=0)
        engine = engine_with(FakeModel(), clock, BrokenDetector)
        stream = await engine.open()
        stream.push(tone(100))
        with pytest.raises(SpeechError, match="detection failed"):
            await events(stream, 1)
        await stream.close()
        await engine.close()

    asyncio.run(case())


def test_a_closed_stream_takes_no_audio_and_ends() -> None:
    async def case() -> None:
        engine = engine_with(FakeModel(), ManualClock())
        stream = await engine.open()
        await stream.close()
        stream.push(tone(400))
        assert await events(stream, 1) == []
        await engine.close()

    asyncio.run(case())


def test_a_stream_of_a_closed_engine_fails() -> None:
    async def case() -> None:
        engine = engine_with(FakeModel(), ManualClock())
        stream = await engine.open()
        await engine.close()
        stream.push(tone(400))
        with pytest.raises(SpeechError, match="closed"):
            await events(stream, 1)
        await stream.close()

    asyncio.run(case())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)
    monkeypatch.delitem(sys.modules, "voicecall.speech.stt.moonshine", raising=False)

    async def case() -> None:
        engine = LocalSpeechToText(clock=ManualClock(), detector=EnergyVad)
        with pytest.raises(DependencyMissing, match=r"voicecall\[local\]"):
            await engine.open()
        await engine.close()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("To-day or to-morrow", "Today or tomorrow"),
        ("to-night, good-by", "tonight, goodbye"),
        ("Good-bye!", "Goodbye!"),
        ("goodbye and goodby", "goodbye and goodbye"),
        ("Good by now", "Good by now"),
        ("a good-byte", "a good-byte"),
        ("to-do", "to-do"),
    ],
)
def test_old_spellings_become_modern(old: str, new: str) -> None:
    assert modern_spelling(old) == new


SENTENCES = (
    "What are your opening hours on Monday?",
    "I would like to book an appointment, please.",
    "Thank you very much, goodbye.",
)


def words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalpha() or c == " ").split()


def telephone(pcm_24k: bytes) -> bytes:
    """As it comes out of a mu-law line."""
    wide = np.frombuffer(pcm_24k, dtype="<i2").astype(np.float32)
    narrow = np.clip(soxr.resample(wide, 24000, PCM16_8K.rate_hz), -32768, 32767)
    return to_pcm16(from_pcm16(narrow.astype("<i2").tobytes(), "ulaw"), "ulaw")


def test_what_the_local_voice_says_over_mu_law_the_local_recogniser_understands() -> None:
    pytest.importorskip("hibari")
    pytest.importorskip("moonshine_voice")

    async def case() -> None:
        clock = ManualClock(now_ns=0)
        voice = LocalTextToSpeech()
        engine = LocalSpeechToText(clock=clock, rules=RULES)
        stream = await engine.open()
        for sentence in SENTENCES:
            spoken = b"".join([piece async for piece in voice.synthesize(sentence)])
            await push(stream, silence(320) + telephone(spoken) + silence(600), clock)
            started, stopped, final = await events(stream, 3)
            assert isinstance(started, SpeechStarted)
            assert isinstance(stopped, SpeechStopped)
            assert isinstance(final, FinalTranscript)
            assert words(final.text) == words(sentence)
        await stream.close()
        await engine.close()
        await voice.close()

    asyncio.run(case())
