from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import FakePath, FakeStt, FakeSttStream, Identity, run, soon, until
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.ports import PCM16_8K, ULAW_8K, AudioFormat, PartialTranscript, SttEvent
from voicecall.session import listen
from voicecall.session.listen import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.unit


class Doubling:
    """A conversion to twice the rate."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        assert (source.encoding, source.rate_hz * 2) == ("pcm16", target.rate_hz)

    def convert(self, audio: bytes, last: bool = False) -> bytes:
        return audio * 2


class Reopened(FakeStt):
    """Each stream is a new one, of which the test gets hold."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[FakeSttStream] = []

    async def open(self) -> FakeSttStream:
        if self.failure is not None:
            raise self.failure
        self.streams.append(FakeSttStream())
        return self.streams[-1]


@asynccontextmanager
async def listening(
    stt: FakeStt, events: list[SttEvent] | None = None, audio: list[bytes] | None = None
) -> AsyncIterator[Listener]:
    convert = Doubling if stt.input.rate_hz == 16000 else Identity
    events = [] if events is None else events
    audio = [] if audio is None else audio
    listener = Listener(stt, convert, events.append, audio.append)
    task = asyncio.create_task(listener.run())
    yield listener
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() or task.exception() is None


def test_the_callers_audio_reaches_the_recogniser_and_results_come_back() -> None:
    async def case() -> None:
        path, stt = FakePath(audio=ULAW_8K), FakeStt()
        events, audio = list[SttEvent](), list[bytes]()
        async with listening(stt, events, audio) as listener:
            await listener.ready.wait()
            assert listener.attach(path) == PCM16_8K
            assert path.sink is not None
            assert not path.coded
            path.sink(b"ab")
            assert stt.stream.pushed == audio == [b"ab"]
            stt.stream.give(PartialTranscript("hi"))
            await until(lambda: events)
            assert events == [PartialTranscript("hi")]
        assert stt.stream.closed
        assert path.sink is None

    run(case())


def test_a_recogniser_that_takes_what_the_carrier_sends_gets_it_as_it_is() -> None:
    async def case() -> None:
        path, stt = FakePath(audio=ULAW_8K), FakeStt(ULAW_8K)
        async with listening(stt) as listener:
            await listener.ready.wait()
            assert listener.attach(path) == ULAW_8K
            assert path.coded
            assert path.sink is not None
            path.sink(b"\xff")
            assert stt.stream.pushed == [b"\xff"]

    run(case())


def test_audio_is_converted_to_what_the_engine_takes() -> None:
    async def case() -> None:
        path, stt, audio = FakePath(), FakeStt(AudioFormat("pcm16", 16000)), list[bytes]()
        async with listening(stt, audio=audio) as listener:
            await listener.ready.wait()
            listener.attach(path)
            assert path.sink is not None
            path.sink(b"ab")
            assert stt.stream.pushed == [b"abab"]
            assert audio == [b"ab"]

    run(case())


def test_what_is_said_before_the_recogniser_is_there_is_kept_for_it() -> None:
    async def case() -> None:
        path, stt = FakePath(), FakeStt()
        stt.may_open.clear()
        async with listening(stt) as listener:
            listener.attach(path)
            assert path.sink is not None
            for number in range(60):
                path.sink(bytes([number]))
            stt.may_open.set()
            await listener.ready.wait()
            assert stt.stream.pushed == [bytes([number]) for number in range(10, 60)]
            path.sink(b"on")
            assert stt.stream.pushed[-1] == b"on"

    run(case())


def test_a_call_that_is_never_answered_leaves_nothing_open() -> None:
    async def case() -> None:
        stt = FakeStt()
        async with listening(stt) as listener:
            await listener.ready.wait()
        assert stt.stream.closed

    run(case())


def test_an_engine_that_is_not_installed_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        path, stt = FakePath(), FakeStt()
        stt.failure = DependencyMissing("none")
        listener = Listener(stt, Identity, lambda _: None, lambda _: None)
        listener.attach(path)
        with caplog.at_level(logging.WARNING, "voicecall.session"):
            await listener.run()
        assert listener.ready.is_set()
        assert path.sink is None
        assert len(caplog.records) == 1

    run(case())


@pytest.mark.parametrize("failure", [SpeechError("down"), TimeoutError()])
def test_an_engine_that_does_not_open_is_tried_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "_FIRST_PAUSE_S", 0.001)

    async def case() -> None:
        path, stt = FakePath(), Reopened()
        stt.failure = failure
        async with listening(stt) as listener:
            listener.attach(path)
            await listener.ready.wait()
            assert not stt.streams
            stt.failure = None
            await soon(lambda: stt.streams)
            assert path.sink is not None
            path.sink(b"ab")
            assert stt.streams[0].pushed == [b"ab"]

    run(case())


def test_a_stream_that_fails_is_replaced_and_what_was_said_meanwhile_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "_FIRST_PAUSE_S", 0.001)

    async def case() -> None:
        path, stt, events = FakePath(), Reopened(), list[SttEvent]()
        async with listening(stt, events) as listener:
            await listener.ready.wait()
            listener.attach(path)
            assert path.sink is not None
            stt.streams[0].give(SpeechError("gone"))
            await until(lambda: stt.streams[0].closed)
            path.sink(b"lost")
            await soon(lambda: len(stt.streams) == 2)
            path.sink(b"ab")
            assert stt.streams[1].pushed == [b"ab"]
            stt.streams[1].give(PartialTranscript("hi"))
            await until(lambda: events)

    run(case())


def test_pauses_between_attempts_grow_up_to_a_bound_and_are_short_again_after_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    stt = Reopened()

    async def note(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 8:
            stt.failure = None
        elif len(pauses) == 9:
            raise asyncio.CancelledError

    monkeypatch.setattr(listen, "_sleep", note)
    stt.failure = SpeechError("down")

    async def case() -> None:
        listener = Listener(stt, Identity, lambda _: None, lambda _: None)
        task = asyncio.create_task(listener.run())
        await until(lambda: stt.streams)
        stt.streams[0].give(PartialTranscript("hi"), SpeechError("gone"))
        await asyncio.wait({task})
        assert pauses == [0.5, 1, 2, 4, 8, 16, 16, 16, 0.5]

    run(case())


def test_a_stream_that_does_not_close_properly_is_left(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(FakeSttStream):
        async def close(self) -> None:
            raise SpeechError("stuck")

    async def case() -> None:
        stt = FakeStt()
        stt.stream = Stuck()
        with caplog.at_level(logging.WARNING, "voicecall.session"):
            async with listening(stt) as listener:
                await listener.ready.wait()
        assert "could not be closed" in caplog.text

    run(case())
