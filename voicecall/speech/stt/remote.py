"""Recognition elsewhere, over connections that may break.

A vendor gives a way to open a `Channel`. What all of them share is here: audio waits for a
connection but not for long, one that breaks is followed by another, one that grows old is replaced
before the vendor ends it, and the call goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from voicecall.clock import NS_PER_MS, NS_PER_S
from voicecall.errors import SpeechError
from voicecall.ports import FinalTranscript, PartialTranscript, SpeechStarted, SpeechStopped
from voicecall.speech.stt.channel import Channel
from voicecall.speech.stt.results import ResultQueue
from voicecall.speech.stt.sending import Backlog, Piece
from voicecall.speech.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, SttEvent

_log = logging.getLogger("voicecall.speech")

_CLOSE_TIMEOUT_S = 3.0
_DRAIN_TIMEOUT_S = 0.2

Connect: TypeAlias = Callable[[], Awaitable[Channel]]
"""Opens and configures a connection. Raises `SpeechError`; cancelled, it leaves nothing open."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may take, and how often it is tried. All in milliseconds but `attempts`.

    Attributes:
        connect_ms: from nothing to a connection that is configured.
        replace_ms: likewise, for one that follows a connection which still works.
        send_ms: handing audio to a connection.
        answer_ms: from the end of a turn to its final transcript; a connection that takes longer is
            given up.
        rest_ms: a connection is kept alive when nothing was sent for so long.
        session_ms: a connection older than this is replaced as soon as the caller is silent.
        patience_ms: so long that moment is waited for. Vendors end sessions after an hour.
        overlap_ms: so much of what the old connection heard is told to the new one.
        attempts: after so many failures in a row recognition fails.
        first_delay_ms: before the second attempt; the first is made at once. Doubles each time.
        max_delay_ms: at most.
        settled_ms: a connection that lasted so long was none of the failures in a row, nor was one
            that recognised something.
        backlog_ms: so much audio waits for a connection; beyond that the oldest is dropped.
        stale_ms: once a call has had a connection, audio older than this is not sent to the next.
        batch_ms: so much audio is sent at once, at least.
    """

    connect_ms: int = 10_000
    replace_ms: int = 1_500
    send_ms: int = 5_000
    answer_ms: int = 15_000
    rest_ms: int = 3_000
    session_ms: int = 50 * 60_000
    patience_ms: int = 8 * 60_000
    overlap_ms: int = 300
    attempts: int = 8
    first_delay_ms: int = 250
    max_delay_ms: int = 4_000
    settled_ms: int = 10_000
    backlog_ms: int = 2_000
    stale_ms: int = 1_000
    batch_ms: int = 40

    def delay_ms(self, failures: int) -> int:
        """How long to wait after so many failures in a row, at most."""
        if failures <= 1:
            return 0
        return min(self.max_delay_ms, self.first_delay_ms << (failures - 2))


class RemoteSttStream:
    """One call's recognition elsewhere; implements `ports.SttStream`.

    Overflow rules: of audio that waits `Limits.backlog_ms` are kept, the oldest is dropped and
    counted; of results see `ResultQueue`.

    Args:
        connect: opens a connection.
        service: what to call it in errors.
        audio: what it takes.
        clock: the time.
        limits: how long what may take.
        sleep: waits for so many seconds between attempts.

    Attributes:
        connections: how many have been opened.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        service: str,
        audio: AudioFormat,
        clock: Clock,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._service = service
        self._audio = audio
        self._clock = clock
        self._limits = limits or Limits()
        self._sleep = sleep
        self._timeline = Timeline()
        self._backlog = Backlog(audio, self._limits.backlog_ms)
        self._batch_octets = self._limits.batch_ms * audio.octets_per_second // 1000
        self._recent = _Recent(self._limits.overlap_ms * audio.octets_per_second // 1000)
        self._progress = _Progress()
        self._results = ResultQueue()
        self._wake = asyncio.Event()
        self._flowed = False
        self.connections = 0
        self._loop = asyncio.get_running_loop()
        self._ending: set[asyncio.Task[None]] = set()
        self._owner = self._loop.create_task(self._run())

    @property
    def dropped_octets(self) -> int:
        """Of audio that no connection heard, because there was none or it was too slow."""
        return self._backlog.dropped_octets + self._backlog.stale_octets

    def push(self, audio: bytes) -> None:
        """Listen to more audio. Never blocks."""
        duration_ns = len(audio) * NS_PER_S // self._audio.octets_per_second
        self.send(Piece(audio, self._timeline.date(duration_ns, self._clock.now_ns())))

    def send(self, piece: Piece) -> None:
        """Listen to audio that is dated already. Never blocks."""
        self._backlog.push(piece)
        if self._ready_to_send:
            self._wake.set()

    def tell(self, event: SpeechStarted | SpeechStopped) -> None:
        """Pass on what we noticed ourselves; then nothing such is expected of connections."""
        self._progress.own_turns = True
        self._progress.note(event, self._clock.now_ns())
        self._results.put(event)

    def fail(self, error: SpeechError) -> None:
        """Recognition cannot go on."""
        self._results.fail(error)

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        return self._results

    async def close(self) -> None:
        """Close the connection; iteration ends."""
        self._results.close()
        self._owner.cancel()
        await asyncio.wait({self._owner}, timeout=_CLOSE_TIMEOUT_S)
        if self._ending:
            await asyncio.wait(set(self._ending), timeout=_CLOSE_TIMEOUT_S)

    async def _run(self) -> None:
        """The one task of the recognition, and the boundary of its failures."""
        try:
            failure = await self._stay_connected()
        except Exception as error:  # noqa: BLE001  (a task's boundary: logged, and told)
            _log.warning("a recogniser's connection failed", exc_info=error)
            failure = SpeechError(f"{self._service} failed")
        self._results.fail(failure)

    async def _stay_connected(self) -> SpeechError:
        """Use one connection after the other; why that ended."""
        limits = self._limits
        channel: Channel | None = None
        failures = 0
        while True:
            opened_ns: int | None = None
            try:
                channel = channel or await self._open(limits.connect_ms)
                opened_ns = self._clock.now_ns()
                channel = await self._use(channel, opened_ns)
                failures = 0
                continue
            except SpeechError as error:
                failure = _bare(error)
            channel = None
            self._tell_all(self._progress.cut(self._clock.now_ns()))
            if self._recovered_since(opened_ns):
                failures = 0
            failures += 1
            if not failure.retryable or failures >= limits.attempts:
                return failure
            _log.warning(
                "a recogniser's connection broke",
                extra={"failures": failures, "status": failure.status, "reason": str(failure)},
            )
            # Random, so that calls do not come back as one.
            spread = random.uniform(0.75, 1.0)  # noqa: S311  (no secret)
            await self._sleep(limits.delay_ms(failures) * spread / 1000)

    def _recovered_since(self, opened_ns: int | None) -> bool:
        if opened_ns is None:
            return False
        lasted_ns = self._clock.now_ns() - opened_ns
        return self._flowed or lasted_ns >= self._limits.settled_ms * NS_PER_MS

    async def _open(self, timeout_ms: int) -> Channel:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                channel = await self._connect()
        except TimeoutError as error:
            message = f"{self._service} did not become ready in time"
            raise SpeechError(message, retryable=True) from error
        if self.connections:
            stale_ns = self._clock.now_ns() - self._limits.stale_ms * NS_PER_MS
            self._backlog.forget_before(stale_ns)
        self.connections += 1
        self._flowed = False
        return channel

    async def _use(self, channel: Channel, opened_ns: int) -> Channel:
        """Recognise with a connection until it is worn out; returns the one that replaces it.

        Raises:
            SpeechError: it broke.
        """
        reader = self._loop.create_task(self._read(channel))
        reader.add_done_callback(self._on_read)
        due_ns = opened_ns + self._limits.session_ms * NS_PER_MS
        self._wake.set()
        try:
            while True:
                rested = await self._awake()
                self._check(reader)
                if rested:
                    await self._deliver(channel.rest())
                await self._send_waiting(channel)
                if self._worn_out(due_ns):
                    successor = await self._successor()
                    if successor is not None:
                        return successor
                    due_ns += self._limits.settled_ms * NS_PER_MS
        except SpeechError:
            # A socket that takes nothing more may still have something for us.
            await asyncio.wait({reader}, timeout=_DRAIN_TIMEOUT_S)
            raise
        finally:
            reader.cancel()
            self._let_end(reader)
            # In the background: the next connection does not wait for that.
            self._let_end(self._loop.create_task(channel.close()))

    async def _read(self, channel: Channel) -> None:
        async for event in channel:
            self._flowed = True
            self._progress.note(event, self._clock.now_ns())
            self._tell_all([event])

    def _on_read(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled():
            # Taken note of; `_check` raises it, unless the connection was given up already.
            reader.exception()
        self._wake.set()

    def _tell_all(self, events: list[SttEvent]) -> None:
        for event in events:
            if not isinstance(event, FinalTranscript) or event.text:
                self._results.put(event)

    async def _awake(self) -> bool:
        """Wait for something to do; whether there was nothing for long."""
        try:
            async with asyncio.timeout(self._limits.rest_ms / 1000):
                await self._wake.wait()
        except TimeoutError:
            return True
        self._wake.clear()
        return False

    def _check(self, reader: asyncio.Task[None]) -> None:
        """Raise `SpeechError` if the connection has become useless."""
        if reader.done():
            raise self._why(reader)
        if self._progress.waited_ns(self._clock.now_ns()) > self._limits.answer_ms * NS_PER_MS:
            raise SpeechError(f"{self._service} does not answer", retryable=True)

    def _why(self, reader: asyncio.Task[None]) -> SpeechError:
        """Why a connection gives no more events."""
        match reader.exception():
            case None:
                return SpeechError(f"{self._service} closed the connection", retryable=True)
            case SpeechError() as error:
                return _bare(error)
            case error:
                _log.warning("a recogniser's events could not be read", exc_info=error)
                return SpeechError(f"{self._service} failed")

    @property
    def _ready_to_send(self) -> bool:
        return self._backlog.octets >= self._batch_octets or self._backlog.ends_turn

    async def _send_waiting(self, channel: Channel) -> None:
        while self._ready_to_send and (piece := self._backlog.take()) is not None:
            if piece.ends_turn:
                self._progress.owe(self._clock.now_ns())
            await self._deliver(channel.send(piece))
            self._recent.push(piece)

    async def _deliver(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_ms / 1000):
                await sending
        except TimeoutError as error:
            raise SpeechError(f"{self._service} does not listen", retryable=True) from error

    def _worn_out(self, due_ns: int) -> bool:
        """Whether to replace the connection now, before the vendor ends it."""
        now_ns = self._clock.now_ns()
        if now_ns < due_ns:
            return False
        # Somebody who never falls silent is interrupted by us rather than by the vendor.
        return self._progress.quiet or now_ns >= due_ns + self._limits.patience_ms * NS_PER_MS

    async def _successor(self) -> Channel | None:
        """Another connection, while the one in use still listens; None if there is none now."""
        try:
            channel = await self._open(self._limits.replace_ms)
        except SpeechError as error:
            _log.warning(
                "a recogniser's connection could not be replaced",
                extra={"status": error.status, "reason": str(error)},
            )
            return None
        # What the old one may not have noticed yet.
        if (recent := self._recent.take()) is not None:
            self._backlog.put_back(recent)
        self._tell_all(self._progress.cut(self._clock.now_ns()))
        return channel

    def _let_end(self, task: asyncio.Task[None]) -> None:
        """Keep a task that is about to end until it has; `close` waits for it."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Progress:
    """What is known of the caller's turn, so that it can be ended when the connection breaks."""

    def __init__(self) -> None:
        self.own_turns = False
        self._speaking = False
        self._partial = ""
        self._owed_ns: int | None = None

    @property
    def quiet(self) -> bool:
        """Whether the caller is silent and everything said has been recognised."""
        return not self._speaking and not self._partial and self._owed_ns is None

    def note(self, event: SttEvent, now_ns: int) -> None:
        """Something was noticed or recognised."""
        match event:
            case SpeechStarted():
                self._speaking = True
            case SpeechStopped():
                self._speaking = False
                if not self.own_turns:
                    self.owe(now_ns)
            case PartialTranscript(text=text):
                self._partial = text
            case FinalTranscript():
                self._partial = ""
                self._owed_ns = None

    def owe(self, now_ns: int) -> None:
        """A turn has ended, and its final transcript has to follow."""
        if self._owed_ns is None:
            self._owed_ns = now_ns

    def waited_ns(self, now_ns: int) -> int:
        """For how long a final transcript has been waited for."""
        return 0 if self._owed_ns is None else now_ns - self._owed_ns

    def cut(self, now_ns: int) -> list[SttEvent]:
        """The connection is gone: what has to be told instead of it.

        Where it noticed the caller speaking it will not notice the end. What had been understood of
        the turn is all that anybody will know of it.
        """
        events: list[SttEvent] = []
        if self._speaking and not self.own_turns:
            self._speaking = False
            events.append(SpeechStopped(now_ns))
        if self._partial.strip():
            events.append(FinalTranscript(self._partial.strip()))
        self._partial = ""
        self._owed_ns = None
        return events


class _Recent:
    """The last audio that was sent of a turn that has not ended.

    Memory is bounded by `octets` and one piece.

    Args:
        octets: so much is kept.
    """

    def __init__(self, octets: int) -> None:
        self._least_octets = octets
        self._pieces: deque[Piece] = deque()
        self._octets = 0

    def push(self, piece: Piece) -> None:
        """`piece` was sent."""
        if piece.ends_turn:
            self._clear()
            return
        self._pieces.append(piece)
        self._octets += len(piece.audio)
        while self._octets - len(self._pieces[0].audio) >= self._least_octets:
            self._octets -= len(self._pieces.popleft().audio)

    def take(self) -> Piece | None:
        """All of it as one piece, and forget it."""
        if not self._pieces:
            return None
        audio = b"".join(piece.audio for piece in self._pieces)
        recent = Piece(audio, self._pieces[-1].until_ns)
        self._clear()
        return recent

    def _clear(self) -> None:
        self._pieces.clear()
        self._octets = 0


def _bare(error: SpeechError) -> SpeechError:
    """The same error without its history, which would hold everything that was going on."""
    return SpeechError(str(error), retryable=error.retryable, status=error.status)
