"""The session's neighbours, in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.ports import PCM16_8K, AudioFormat, Playback, ReplyPart, ReplyRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from voicecall.call.events import CallEvent
    from voicecall.ports import Briefing, SpeechToSpeechEvent, SttEvent

T = TypeVar("T")


def run(case: Coroutine[Any, Any, T]) -> T:
    """Run a test case, at most ten seconds."""

    async def bounded() -> T:
        return await asyncio.wait_for(case, 10)

    return asyncio.run(bounded())


async def until(condition: Callable[[], object], turns: int = 2000) -> None:
    """Let other tasks run until `condition` holds."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def soon(condition: Callable[[], object]) -> None:
    """Wait, at most five seconds, for what a timer of a few milliseconds brings about."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came true")


class FakeUtterance:
    def __init__(self, path: FakePath) -> None:
        self.path = path
        self.audio = b""
        self.heard = 0.0
        self.finished = False
        self.cut = False
        self.over = asyncio.Event()

    @property
    def total_ms(self) -> int:
        return int(self.path.audio.duration_ms(len(self.audio)))

    async def write(self, audio: bytes) -> None:
        await self.path.room.wait()
        if not self.cut:
            self.audio += audio

    def finish(self) -> None:
        self.finished = True
        if self.path.instant or self.heard >= self.total_ms:
            self.play(self.total_ms)

    def play(self, ms: float) -> None:
        """The carrier plays `ms` more."""
        self.heard = min(self.total_ms, self.heard + ms)
        if self.finished and self.heard >= self.total_ms:
            self.over.set()

    def interrupt(self) -> None:
        if not self.over.is_set():
            self.cut = True
            self.over.set()

    async def played(self) -> Playback:
        await self.over.wait()
        return Playback(int(self.heard), self.total_ms, interrupted=self.cut)

    def heard_ms(self) -> int:
        return int(self.heard)


class FakePath:
    """Plays at once, or (not `instant`) when a test says so."""

    def __init__(self, *, instant: bool = True, audio: AudioFormat = PCM16_8K) -> None:
        self.audio = audio
        self.instant = instant
        self.utterances: list[FakeUtterance] = []
        self.sink: Callable[[bytes], None] | None = None
        self.coded = False
        self.clears = 0
        self.closed = False
        self.room = asyncio.Event()
        self.room.set()

    def utterance(self) -> FakeUtterance:
        self.utterances.append(FakeUtterance(self))
        return self.utterances[-1]

    def clear(self) -> None:
        self.clears += 1
        for utterance in self.utterances:
            utterance.interrupt()

    def listen(self, sink: Callable[[bytes], None] | None, *, coded: bool = False) -> None:
        self.sink = sink
        self.coded = coded

    def close(self) -> None:
        self.closed = True
        self.clear()


class Identity:
    """A conversion between equal formats."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        assert source == target

    def convert(self, audio: bytes, last: bool = False) -> bytes:
        return audio


class FakeCalls:
    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.ended: list[tuple[str, CallState]] = []
        self.keys: list[tuple[str, str]] = []
        self.send: Callable[[str], Awaitable[object]] | None = None
        self.transfers: list[tuple[str, str]] = []
        self.transfer_error: Exception | None = None
        self.awaited = False
        self.on_end: Callable[[], Awaitable[None]] | None = None

    async def apply(self, event: CallEvent) -> None:
        await asyncio.sleep(0)
        self.events.append(event)

    async def end(self, call_id: str, reason: CallState = CallState.HANGUP_BOT) -> None:
        self.ended.append((call_id, reason))
        if self.on_end is not None:
            await self.on_end()

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        self.keys.append((call_id, digits))
        if self.send is not None:
            await self.send(digits)

    async def transfer(self, call_id: str, to: str) -> None:
        self.transfers.append((call_id, to))
        if self.transfer_error is not None:
            raise self.transfer_error

    def awaits_transcript(self, call_id: str) -> bool:
        return self.awaited

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


class FakeSttStream:
    def __init__(self) -> None:
        self.pushed: list[bytes] = []
        self.events: asyncio.Queue[SttEvent | Exception | None] = asyncio.Queue(100)
        self.closed = False

    def push(self, audio: bytes) -> None:
        self.pushed.append(audio)

    def give(self, *events: SttEvent | Exception) -> None:
        for event in events:
            self.events.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[SttEvent]:
        while (event := await self.events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    async def close(self) -> None:
        self.closed = True
        self.events.put_nowait(None)


class FakeStt:
    def __init__(self, audio: AudioFormat = PCM16_8K) -> None:
        self.input = audio
        self.stream = FakeSttStream()
        self.opened = 0
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.failure: Exception | None = None

    async def open(self) -> FakeSttStream:
        await self.may_open.wait()
        if self.failure is not None:
            raise self.failure
        self.opened += 1
        return self.stream

    async def prepare(self) -> None:
        return None

    async def close(self) -> None:
        pass


class FakeTts:
    """100 ms of sound for each word; remembers what it said and what it was stopped in."""

    def __init__(self, failure: Exception | None = None, pieces_before: int = 0) -> None:
        self.output = PCM16_8K
        self.failure = failure
        self.pieces_before = pieces_before
        self.texts: list[str] = []
        self.stopped: list[str] = []

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        self.texts.append(text)
        try:
            for at, _ in enumerate(text.split()):
                if self.failure is not None and at == self.pieces_before:
                    raise self.failure
                yield b"\x01\x00" * 800
                await asyncio.sleep(0)
        except (GeneratorExit, asyncio.CancelledError):
            self.stopped.append(text)
            raise

    async def prepare(self) -> None:
        return None

    async def close(self) -> None:
        pass


class FakeResponder:
    """Gives the next of `replies`; an exception among the parts is raised, an event waited for."""

    def __init__(self, *replies: Sequence[ReplyPart | Exception | asyncio.Event]) -> None:
        self.replies = list(replies)
        self.requests: list[ReplyRequest] = []
        self.closed = 0

    async def reply(self, request: ReplyRequest) -> AsyncIterator[ReplyPart]:
        self.requests.append(request)
        try:
            for part in self.replies.pop(0) if self.replies else ():
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, asyncio.Event):
                    await part.wait()
                else:
                    yield part
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


class FakeModelStream:
    """A conversation with a model that does what a test says; keeps what it was asked for."""

    def __init__(self) -> None:
        self.pushed: list[bytes] = []
        self.said: list[str] = []
        self.prompts: list[str] = []
        self.cancels = 0
        self.heards: list[tuple[str, int]] = []
        self.results: list[tuple[str, str]] = []
        self.closed = False
        self._events: asyncio.Queue[SpeechToSpeechEvent | Exception | None] = asyncio.Queue(1000)

    def push(self, audio: bytes) -> None:
        self.pushed.append(audio)

    def say(self, text: str) -> None:
        self.said.append(text)

    def prompt(self, text: str) -> None:
        self.prompts.append(text)

    def cancel(self) -> None:
        self.cancels += 1

    def heard(self, reply_id: str, heard_ms: int) -> None:
        self.heards.append((reply_id, heard_ms))

    def tool_result(self, tool_call_id: str, output: str) -> None:
        self.results.append((tool_call_id, output))

    def give(self, *events: SpeechToSpeechEvent | Exception) -> None:
        for event in events:
            self._events.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[SpeechToSpeechEvent]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    async def close(self) -> None:
        self.closed = True
        self._events.put_nowait(None)


class FakeModel:
    """An engine that listens and speaks by itself, as far as a test says."""

    def __init__(self, audio: AudioFormat = PCM16_8K, *, takes_turns: bool = True) -> None:
        self.audio = audio
        self.takes_turns = takes_turns
        self.stream = FakeModelStream()
        self.briefings: list[Briefing] = []
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.failure: Exception | None = None

    async def open(self, briefing: Briefing) -> FakeModelStream:
        self.briefings.append(briefing)
        await self.may_open.wait()
        if self.failure is not None:
            raise self.failure
        return self.stream

    async def prepare(self) -> None:
        return None

    async def close(self) -> None:
        pass


def record(mode: str = "conversation", call_id: str = "call-1") -> CallRecord:
    return CallRecord(
        call_id=call_id,
        provider="mock",
        direction=Direction.OUTBOUND,
        state=CallState.ANSWERED,
        from_number="+15550001",
        to_number="+15550002",
        session_key="phone:+15550002",
        started_at=0,
        metadata={"mode": mode},
    )
