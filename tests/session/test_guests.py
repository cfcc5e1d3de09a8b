from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.session.fakes import FakeTts, run, soon
from voicecall.clock import SystemClock
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.isolation.watch import LoopWatch
from voicecall.ports import PCM16_8K, FinalTranscript, ReplyRequest
from voicecall.session.guests import GuestResponder, GuestSpeechToText, GuestTextToSpeech
from voicecall.speech.stt.results import ResultQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from voicecall.ports import AudioFormat, ReplyPart, SttEvent

pytestmark = pytest.mark.unit

T = TypeVar("T")
REQUEST = ReplyRequest("call", ())


def here() -> str:
    return threading.current_thread().name


class Responder:
    def __init__(self, failure: Exception | None = None) -> None:
        self.closed = ""
        self.failure = failure

    async def reply(self, request: ReplyRequest) -> AsyncIterator[ReplyPart]:
        yield request.call_id
        yield here()
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        self.closed = here()


class Generator:
    def reply(self, request: ReplyRequest) -> Iterator[ReplyPart]:
        yield request.call_id
        yield here()

    async def close(self) -> None:
        """Nothing is held."""


class Stream(ResultQueue):
    def __init__(self, engine: Ears) -> None:
        super().__init__()
        self.engine = engine

    def push(self, audio: bytes) -> None:
        self.engine.open_gate.wait(10)
        if audio == b"bad":
            raise ValueError("bad")
        self.engine.heard.append((here(), audio))
        self.put(FinalTranscript(str(len(audio))))

    def __aiter__(self) -> AsyncIterator[SttEvent]:  # type: ignore[override]  # as in ports
        return self

    async def close(self) -> None:  # type: ignore[override]  # asynchronous in ports
        super().close()


class Ears:
    """Hears how long each piece is."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.open_gate = threading.Event()
        self.open_gate.set()
        self.failure: Exception | None = None

    @property
    def input(self) -> AudioFormat:
        return PCM16_8K

    async def prepare(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def open(self) -> Stream:
        if self.failure is not None:
            raise self.failure
        return Stream(self)

    async def close(self) -> None:
        if self.failure is not None:
            raise self.failure


def watched(case: Callable[[LoopWatch], Awaitable[T]]) -> T:
    async def bounded() -> T:
        watch = LoopWatch(SystemClock())
        try:
            return await case(watch)
        finally:
            watch.close()

    return run(bounded())


@pytest.mark.parametrize(
    ("theirs", "thread"),
    [(Responder(), "voicecall-responder"), (Generator(), "voicecall-responder-call")],
)
def test_a_reply_is_made_in_another_thread(theirs: Responder | Generator, thread: str) -> None:
    async def case(watch: LoopWatch) -> list[ReplyPart]:
        responder = GuestResponder(theirs, watch)
        parts = [part async for part in responder.reply(REQUEST)]
        await responder.close()
        return parts

    assert watched(case) == ["call", thread]


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (KeyError("x"), SpeechError),
        (SpeechError("x"), SpeechError),
        (DependencyMissing("x"), DependencyMissing),
        (TimeoutError(), TimeoutError),
    ],
)
def test_what_an_engine_raises_is_an_error_that_calls_know(
    failure: Exception, seen: type[Exception]
) -> None:
    async def case(watch: LoopWatch) -> None:
        theirs = Responder(failure)
        responder = GuestResponder(theirs, watch)
        parts: list[ReplyPart] = []
        with pytest.raises(seen):
            parts.extend([part async for part in responder.reply(REQUEST)])
        await responder.close()
        assert theirs.closed == "voicecall-responder"

    watched(case)


def test_a_voice_is_heard_as_it_speaks() -> None:
    async def case(watch: LoopWatch) -> None:
        theirs = FakeTts()
        voice = GuestTextToSpeech(theirs, watch)
        await voice.prepare()
        expected = [piece async for piece in theirs.synthesize("One two.")]
        assert [piece async for piece in voice.synthesize("One two.")] == expected
        assert voice.output == theirs.output
        await voice.close()

    watched(case)


def test_audio_is_heard_in_another_thread_and_events_come_back_in_order() -> None:
    async def case(watch: LoopWatch) -> None:
        theirs = Ears()
        ears = GuestSpeechToText(theirs, watch)
        await ears.prepare()
        stream = await ears.open()
        events = aiter(stream)
        for size in range(2, 20, 2):
            stream.push(bytes(size))
            assert await anext(events) == FinalTranscript(str(size))
        assert {thread for thread, _ in theirs.heard} == {"voicecall-stt"}
        await stream.close()
        assert [event async for event in events] == []
        stream.push(b"ignored")
        await ears.close()

    watched(case)


def test_of_audio_that_an_engine_does_not_take_the_newest_two_seconds_are_kept() -> None:
    async def case(watch: LoopWatch) -> None:
        theirs = Ears()
        ears = GuestSpeechToText(theirs, watch)
        stream = await ears.open()
        theirs.open_gate.clear()
        stream.push(bytes(2))
        for _ in range(100):
            stream.push(bytes(3200))
        assert 78 * 3200 <= stream.dropped_octets <= 100 * 3200 - 28_800
        theirs.open_gate.set()
        await soon(lambda: sum(len(audio) for _, audio in theirs.heard) >= 28_800)
        total = sum(len(audio) for _, audio in theirs.heard)
        assert total + stream.dropped_octets == 100 * 3200 + 2
        await stream.close()
        await ears.close()

    watched(case)


def test_an_engine_that_fails_to_take_audio_is_given_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case(watch: LoopWatch) -> None:
        theirs = Ears()
        ears = GuestSpeechToText(theirs, watch)
        stream = await ears.open()
        stream.push(b"bad")
        await soon(lambda: stream._closed)
        stream.push(b"good")
        assert theirs.heard == []
        await stream.close()
        await ears.close()

    watched(case)
    assert [record.msg for record in caplog.records] == ["a recogniser does not take audio"]


def test_an_engine_that_cannot_be_opened_or_closed_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case(watch: LoopWatch) -> None:
        theirs = Ears()
        theirs.failure = KeyError("x")
        ears = GuestSpeechToText(theirs, watch)
        for attempt in (ears.prepare, ears.open):
            with pytest.raises(SpeechError):
                await attempt()
        await ears.close()

    watched(case)
    assert [record.msg for record in caplog.records] == ["an engine could not be closed"]
    assert "voicecall-stt" not in [thread.name for thread in threading.enumerate()]


def test_an_engine_that_never_opens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicecall.session.guests.OPEN_TIMEOUT_S", 0.02)

    class Slow(Ears):
        async def open(self) -> Stream:
            await asyncio.Event().wait()
            return Stream(self)

    async def case(watch: LoopWatch) -> None:
        ears = GuestSpeechToText(Slow(), watch)
        with pytest.raises(TimeoutError):
            await ears.open()
        await ears.close()

    watched(case)
