from __future__ import annotations

import asyncio
import logging

import pytest

from tests.session.fakes import FakePath, FakeStt, Identity, run, until
from tests.speech.signals import tone
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import ULAW_8K, AudioFormat, PartialTranscript, SttEvent
from voicecall.session.listen import Listener

pytestmark = pytest.mark.unit


class Doubling:
    """A conversion to twice the rate."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        assert (source.encoding, source.rate_hz * 2) == ("pcm16", target.rate_hz)

    def convert(self, audio: bytes, last: bool = False) -> bytes:
        return audio * 2


def test_the_callers_audio_reaches_the_recogniser_and_results_come_back() -> None:
    async def case() -> None:
        path, stt, heard = FakePath(audio=ULAW_8K), FakeStt(), list[SttEvent]()
        listener = Listener(path, stt, Identity, heard.append)
        task = asyncio.create_task(listener.run())
        await listener.ready.wait()
        assert path.sink is not None
        path.sink(b"ab")
        assert stt.stream.pushed == [b"ab"]
        stt.stream.give(PartialTranscript("hi"))
        await until(lambda: heard)
        assert heard == [PartialTranscript("hi")]
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert stt.stream.closed
        assert path.sink is None

    run(case())


def test_audio_is_converted_to_what_the_engine_takes() -> None:
    async def case() -> None:
        path, stt = FakePath(), FakeStt(AudioFormat("pcm16", 16000))
        listener = Listener(path, stt, Doubling, lambda _: None)
        task = asyncio.create_task(listener.run())
        await listener.ready.wait()
        assert path.sink is not None
        path.sink(b"ab")
        assert stt.stream.pushed == [b"abab"]
        task.cancel()
        await asyncio.wait({task})

    run(case())


def test_the_level_is_that_of_the_last_200_ms() -> None:
    async def case() -> None:
        path = FakePath()
        listener = Listener(path, FakeStt(), Identity, lambda _: None)
        assert listener.level_dbfs() == -96
        task = asyncio.create_task(listener.run())
        await listener.ready.wait()
        assert path.sink is not None
        for _ in range(10):
            path.sink(tone(20, 3277, hz=100))
        assert listener.level_dbfs() == pytest.approx(-23, abs=0.2)
        for _ in range(10):
            path.sink(bytes(320))
        assert listener.level_dbfs() == -96
        task.cancel()
        await asyncio.wait({task})

    run(case())


@pytest.mark.parametrize(
    "failure", [SpeechError("down"), DependencyMissing("none"), TimeoutError()]
)
def test_an_engine_that_does_not_open_is_warned_of_once(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        path, stt = FakePath(), FakeStt()
        stt.failure = failure
        listener = Listener(path, stt, Identity, lambda _: None)
        with caplog.at_level(logging.WARNING, "voicecall.session"):
            await listener.run()
        assert listener.ready.is_set()
        assert path.sink is None
        assert len(caplog.records) == 1

    run(case())


def test_an_engine_that_fails_later_is_closed() -> None:
    async def case() -> None:
        path, stt = FakePath(), FakeStt()
        stt.stream.give(SpeechError("gone"))
        await Listener(path, stt, Identity, lambda _: None).run()
        assert stt.stream.closed
        assert path.sink is None

    run(case())
