"""Sentences spoken over sockets that all calls share.

A vendor gives a way to open a socket, and a `Dialect`, which knows what the messages on it mean and
does no I/O. Several sentences are spoken at once over each socket. There is always one socket with
room for another sentence, opened before it is needed, up to a limit; sockets grow old and are
replaced, and one that breaks before it has said anything of a sentence is not the end of it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from voicecall.ports import AudioFormat
    from voicecall.speech.realtime.link import Socket

_log = logging.getLogger("voicecall.speech")

_CLOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Audio of sentence `key`."""

    key: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more of sentence `key` follows.

    Attributes:
        key: which.
        error: why, unless it is complete or was stopped.
    """

    key: str
    error: SpeechError | None = None


Spoken: TypeAlias = Piece | End


class Dialect(Protocol):
    """One vendor's protocol over one socket, without I/O."""

    @property
    def outbox(self) -> deque[str]:
        """Messages to be sent, oldest first; whoever calls any method sends them."""
        ...

    def say(self, key: str, text: str) -> None:
        """Ask for a sentence; exactly one `End` answers it, whatever happens."""
        ...

    def stop(self, key: str) -> None:
        """A sentence that was asked for, and has not ended, is not wanted any more."""
        ...

    def rest(self) -> None:
        """Nothing has been sent for a while: keep the socket alive, where it needs that."""
        ...

    def receive(self, message: bytes) -> Sequence[Spoken]:
        """What a message means.

        Raises:
            SpeechError: the vendor ends the session.
            KeyError, TypeError, ValueError, AttributeError, IndexError: it makes no sense.
        """
        ...


Connect: TypeAlias = Callable[[], Awaitable["tuple[Socket, Dialect]"]]
"""Opens and configures a socket. Raises `SpeechError`; cancelled, it leaves nothing open."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how long what may take.

    Attributes:
        sentences: so many at once on each socket, those included that were stopped and have not
            ended yet.
        sockets: at most.
        waiting: so many sentences wait for room; one more is refused.
        connect_ms: from nothing to a socket that is configured.
        begin_ms: from a sentence's being asked for to its first audio, waiting for room, connecting
            and a second attempt included.
        gap_ms: between two pieces of its audio.
        send_ms: handing a message to a socket.
        stop_ms: from a sentence's being stopped to its end; a socket that takes longer is given up.
        ahead_ms: so much audio of a sentence may wait to be taken; one that has more fails.
        rest_ms: a socket is kept alive when nothing was sent for so long.
        idle_ms: one that had nothing to say for so long is closed, unless it is the last with room.
        session_ms: an older one gets no more sentences, and is closed after its last.
        settled_ms: one that breaks earlier, before it has said anything, counts as not opened.
        retry_ms: after a failure the next attempt is made so much later, or when somebody wants to
            speak. Doubles with each.
        max_retry_ms: at most.
        tick_ms: how often all this is looked at.
    """

    sentences: int = 4
    sockets: int = 32
    waiting: int = 64
    connect_ms: int = 5_000
    begin_ms: int = 8_000
    gap_ms: int = 5_000
    send_ms: int = 2_000
    stop_ms: int = 5_000
    ahead_ms: int = 300_000
    rest_ms: int = 60_000
    idle_ms: int = 600_000
    session_ms: int = 50 * 60_000
    settled_ms: int = 10_000
    retry_ms: int = 1_000
    max_retry_ms: int = 60_000
    tick_ms: int = 1_000


class SentencePool:
    """Speaks sentences over as many sockets as they need.

    Overflow rules: `Limits.waiting` sentences wait for room, one more is refused; of the audio of a
    sentence `Limits.ahead_ms` wait to be taken, one that has more fails.

    Args:
        connect: opens a socket.
        service: what to call the vendor in errors.
        audio: what it makes.
        limits: how much at once, and how long what may take.
    """

    def __init__(
        self, connect: Connect, *, service: str, audio: AudioFormat, limits: Limits | None = None
    ) -> None:
        self._connect = connect
        self._service = service
        self._limits = limits or Limits()
        self._ahead_octets = self._limits.ahead_ms * audio.octets_per_second // 1000
        self._keys = itertools.count(1)
        self._lines: dict[_Line, asyncio.Task[None]] = {}
        self._waiting: deque[asyncio.Future[_Sentence]] = deque()
        self._owner: asyncio.Task[None] | None = None
        self._closed = False
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        # Whether somebody has begun to wait since the last attempt to open a socket.
        self._asked = False
        self._failures = 0
        self._retry_s = -math.inf

    @property
    def sockets(self) -> int:
        """How many sockets are open."""
        return len(self._lines)

    async def prepare(self) -> None:
        """Open the first socket, so that no call waits for it.

        Failing is logged only: it is tried again, and voices that have others to fall back on are
        not to keep a server from starting.
        """
        self._start()
        await self._tried.wait()

    async def speak(self, text: str) -> AsyncGenerator[bytes]:
        """Speak a sentence: audio as it comes. Closing it stops the sentence.

        Raises:
            SpeechError: it could not be spoken, or not to its end.
        """
        self._start()
        sentence, piece = await self._begin(text)
        gap_s = self._limits.gap_ms / 1000
        try:
            while piece is not None:
                yield piece
                piece = await sentence.next(_now_s() + gap_s)
        finally:
            await sentence.leave()

    async def close(self) -> None:
        """Close all sockets; sentences in progress fail."""
        self._closed = True
        self._refuse_waiting(SpeechError(f"{self._service} was closed"))
        tasks = set(self._lines.values())
        if self._owner is not None:
            tasks.add(self._owner)
        for task in tasks:
            task.cancel()
        lines = tuple(self._lines)
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT_S)
        for line in lines:
            await line.close()

    def _start(self) -> None:
        if self._closed:
            raise SpeechError(f"{self._service} was closed")
        if self._owner is None:
            self._owner = asyncio.get_running_loop().create_task(self._tend())

    # --- sentences ------------------------------------------------------------------------------

    async def _begin(self, text: str) -> tuple[_Sentence, bytes | None]:
        """A sentence and its first audio; None when it has none."""
        deadline_s = _now_s() + self._limits.begin_ms / 1000
        spare = True
        while True:
            sentence = await self._seat(deadline_s)
            try:
                await sentence.ask(text)
                return sentence, await sentence.next(deadline_s)
            except SpeechError as error:
                await sentence.leave()
                if not (spare and error.retryable and sentence.orphaned):
                    raise
                spare = False
            except BaseException:
                await sentence.leave()
                raise

    async def _seat(self, deadline_s: float) -> _Sentence:
        """Room for a sentence."""
        if not self._waiting and (line := self._roomiest()) is not None:
            return self._seated(line)
        if len(self._waiting) >= self._limits.waiting:
            raise SpeechError(f"too many sentences wait for {self._service}", retryable=True)
        place: asyncio.Future[_Sentence] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._asked = True
        self._wake.set()
        try:
            async with asyncio.timeout_at(deadline_s):
                sentence = await place
        except TimeoutError as error:
            raise SpeechError(f"{self._service} has no room in time", retryable=True) from error
        else:
            sentence.unclaimed = False
            return sentence
        finally:
            self._unwait(place)

    def _unwait(self, place: asyncio.Future[_Sentence]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        if not place.done() or place.cancelled() or place.exception() is not None:
            return
        sentence = place.result()
        if sentence.unclaimed:
            # Given to somebody who left at that moment.
            sentence.forgo()

    def _seated(self, line: _Line) -> _Sentence:
        sentence = line.seat(f"sentence_{next(self._keys)}", self._ahead_octets)
        # It may have been the last room; then there is to be another socket.
        self._wake.set()
        return sentence

    def _roomiest(self) -> _Line | None:
        with_room = [line for line in self._lines if line.room]
        return max(with_room, key=lambda line: line.room, default=None)

    def _serve_waiting(self) -> None:
        while self._waiting and (line := self._roomiest()) is not None:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(self._seated(line))
        self._wake.set()

    def _refuse_waiting(self, error: SpeechError) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(_bare(error))

    # --- sockets --------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """The owner of all sockets: opens them ahead of need, and closes them in time."""
        try:
            while True:
                self._wake.clear()
                await self._look_after_lines()
                if self._wants_socket():
                    await self._open()
                self._tried.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.tick_ms / 1000):
                        await self._wake.wait()
        finally:
            self._tried.set()

    def _wants_socket(self) -> bool:
        if self._closed or len(self._lines) >= self._limits.sockets:
            return False
        if any(line.room for line in self._lines):
            return False
        return self._asked or _now_s() >= self._retry_s

    async def _open(self) -> None:
        self._asked = False
        try:
            async with asyncio.timeout(self._limits.connect_ms / 1000):
                socket, dialect = await self._connect()
        except TimeoutError:
            error = SpeechError(f"{self._service} could not be reached in time", retryable=True)
        except SpeechError as refusal:
            error = _bare(refusal)
        except Exception as crash:  # noqa: BLE001  (a request's boundary: told to who waits)
            _log.error("a voice's socket could not be opened", exc_info=crash)
            error = SpeechError(f"{self._service} failed: {type(crash).__name__}", retryable=True)
        else:
            self._take_in(_Line(socket, dialect, self._service, self._limits, self._serve_waiting))
            # A task that is cancelled before it has begun would not close its socket.
            await asyncio.sleep(0)
            return
        self._failed(error)
        if not any(line.usable for line in self._lines):
            self._refuse_waiting(error)

    def _take_in(self, line: _Line) -> None:
        task = asyncio.get_running_loop().create_task(line.run())
        line.task = task
        self._lines[line] = task
        task.add_done_callback(lambda _: self._ended(line))
        self._serve_waiting()

    def _ended(self, line: _Line) -> None:
        del self._lines[line]
        task, line.task = line.task, None
        if task is not None and not task.cancelled() and (crash := task.exception()) is not None:
            _log.error("a voice's socket failed", exc_info=crash)
        if line.spoke or _now_s() - line.opened_s >= self._limits.settled_ms / 1000:
            self._failures = 0
            self._retry_s = -math.inf
        elif line.failure is not None:
            self._failed(line.failure)
        self._wake.set()

    def _failed(self, error: SpeechError) -> None:
        """Opening a socket has failed: when to try again unasked."""
        self._failures += 1
        limits = self._limits
        delay_ms = min(limits.max_retry_ms, limits.retry_ms << min(self._failures - 1, 16))
        # What will not go away by itself is tried again only for somebody who wants to speak.
        self._retry_s = _now_s() + delay_ms / 1000 if error.retryable else math.inf
        _log.warning(
            "a voice's socket failed",
            extra={"failures": self._failures, "status": error.status, "reason": str(error)},
        )

    async def _look_after_lines(self) -> None:
        limits, now_s = self._limits, _now_s()
        for line in tuple(self._lines):
            if line.stubborn(now_s):
                error = SpeechError(f"{self._service} does not stop when told to", retryable=True)
                line.fail(error)
            if now_s - line.opened_s >= limits.session_ms / 1000 or self._superfluous(line, now_s):
                line.retire()
            if line.usable and now_s - line.sent_s >= limits.rest_ms / 1000:
                await line.rest()

    def _superfluous(self, line: _Line, now_s: float) -> bool:
        if line.busy or now_s - line.used_s < self._limits.idle_ms / 1000:
            return False
        return any(other.room for other in self._lines if other is not line)


class _Sentence:
    """One sentence on a socket, from getting room there to its end.

    Args:
        line: the socket.
        key: of the sentence.
        ahead_octets: so much of its audio may wait.
    """

    def __init__(self, line: _Line, key: str, ahead_octets: int) -> None:
        self._line = line
        self._key = key
        self._ahead_octets = ahead_octets
        self._pieces: deque[bytes] = deque()
        self._octets = 0
        self._news = asyncio.Event()
        self._asked = False
        self._ended = False
        self._error: SpeechError | None = None
        self.unclaimed = True
        self.left_s: float | None = None

    @property
    def orphaned(self) -> bool:
        """Whether it was its socket that failed."""
        return self._line.failure is not None

    async def ask(self, text: str) -> None:
        """Have it spoken. Raises `SpeechError`."""
        if self._error is not None:
            raise _bare(self._error)
        self._asked = True
        await self._line.say(self._key, text)

    async def next(self, deadline_s: float) -> bytes | None:
        """Its next audio, None at its end; raises `SpeechError`."""
        try:
            async with asyncio.timeout_at(deadline_s):
                while not self._pieces and not self._ended:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            # Whatever is wrong with the socket, no other sentence is to suffer from it.
            self._line.retire()
            raise SpeechError(f"{self._line.service} fell silent", retryable=True) from error
        if self._pieces:
            piece = self._pieces.popleft()
            self._octets -= len(piece)
            return piece
        if self._error is not None:
            raise _bare(self._error)
        return None

    async def leave(self) -> None:
        """Nobody wants more of it."""
        self._pieces.clear()
        if self._ended or self.left_s is not None:
            return
        if not self._asked:
            self.forgo()
            return
        self.left_s = _now_s()
        await self._line.stop(self._key)

    def forgo(self) -> None:
        """Give the room back unused."""
        self._line.free(self._key)

    def add(self, audio: bytes) -> bool:
        """Take more of its audio; returns whether more of it is wanted."""
        if self.left_s is not None:
            return True
        if self._octets + len(audio) > self._ahead_octets:
            self.left_s = _now_s()
            self.end(SpeechError("speech comes faster than it is played", retryable=True))
            return False
        self._pieces.append(audio)
        self._octets += len(audio)
        self._news.set()
        return True

    def end(self, error: SpeechError | None) -> None:
        """Nothing more of it follows."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._news.set()


class _Line:
    """One open socket and the sentences on it.

    Args:
        socket: open, and the session configured.
        dialect: what is spoken over it.
        service: what to call the vendor in errors.
        limits: as of the pool.
        freed: called when there is room for another sentence.
    """

    def __init__(
        self,
        socket: Socket,
        dialect: Dialect,
        service: str,
        limits: Limits,
        freed: Callable[[], None],
    ) -> None:
        self.service = service
        self._socket = socket
        self._dialect = dialect
        self._limits = limits
        self._freed = freed
        self._sentences: dict[str, _Sentence] = {}
        self._retired = False
        self._closed = False
        self.opened_s = self.sent_s = self.used_s = _now_s()
        self.spoke = False
        self.failure: SpeechError | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether it may be given sentences, now or when there is room."""
        return not self._retired and self.failure is None

    @property
    def busy(self) -> bool:
        """Whether any sentence is on it."""
        return bool(self._sentences)

    @property
    def room(self) -> int:
        """How many more sentences it can take."""
        return self._limits.sentences - len(self._sentences) if self.usable else 0

    def stubborn(self, now_s: float) -> bool:
        """Whether a sentence that was stopped has not ended for too long."""
        limit_s = now_s - self._limits.stop_ms / 1000
        return any(
            sentence.left_s is not None and sentence.left_s <= limit_s
            for sentence in self._sentences.values()
        )

    def seat(self, key: str, ahead_octets: int) -> _Sentence:
        """Room for a sentence."""
        sentence = self._sentences[key] = _Sentence(self, key, ahead_octets)
        return sentence

    def free(self, key: str) -> None:
        """A sentence has ended, or gives its room back."""
        if self._sentences.pop(key, None) is not None:
            self.used_s = _now_s()
            self._settle()
            self._freed()

    async def say(self, key: str, text: str) -> None:
        """Ask for a sentence. Raises `SpeechError`."""
        self._dialect.say(key, text)
        await self._flush()

    async def stop(self, key: str) -> None:
        """A sentence is not wanted any more; its room is free once the vendor has ended it."""
        self._dialect.stop(key)
        self._settle()
        if self.failure is None:
            await self._try_flush()

    async def rest(self) -> None:
        """Keep the socket alive."""
        self._dialect.rest()
        self.sent_s = _now_s()
        await self._try_flush()

    def retire(self) -> None:
        """Take no more sentences, and end after the last."""
        self._retired = True
        self._settle()

    def fail(self, error: SpeechError) -> None:
        """The socket cannot be used any more."""
        if self.failure is None:
            self.failure = error
        self._end_all(error)
        self._hang_up()

    def _end_all(self, error: SpeechError) -> None:
        sentences, self._sentences = self._sentences, {}
        for sentence in sentences.values():
            sentence.end(error)

    async def run(self) -> None:
        """Read from the socket until it fails or is not needed any more; then close it."""
        try:
            while True:
                self._take(await self._socket.receive())
                await self._flush()
        except SpeechError as error:
            self.fail(_bare(error))
        finally:
            # Cancelled by whoever retired it, or by the pool's end.
            self._retired = True
            self._end_all(SpeechError(f"{self.service} was closed", retryable=True))
            await self.close()

    async def close(self) -> None:
        """Close the socket, once."""
        if not self._closed:
            self._closed = True
            await self._socket.close()

    def _settle(self) -> None:
        unwanted = all(sentence.left_s is not None for sentence in self._sentences.values())
        if self._retired and unwanted:
            self._hang_up()

    def _hang_up(self) -> None:
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def _take(self, message: bytes) -> None:
        try:
            spoken = self._dialect.receive(message)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            # The error's text may hold what was said.
            _log.warning("a voice sent an unusable message", extra={"kind": type(error).__name__})
            return
        for event in spoken:
            sentence = self._sentences.get(event.key)
            if sentence is None:
                continue
            if isinstance(event, End):
                sentence.end(event.error)
                self.free(event.key)
                continue
            self.spoke = True
            if not sentence.add(event.audio):
                self._dialect.stop(event.key)

    async def _flush(self) -> None:
        """Send what is to be sent. Raises `SpeechError`."""
        outbox = self._dialect.outbox
        try:
            async with asyncio.timeout(self._limits.send_ms / 1000):
                while outbox:
                    self.sent_s = _now_s()
                    await self._socket.send(outbox.popleft())
        except TimeoutError as error:
            failure = SpeechError(f"{self.service} does not listen", retryable=True)
            self.fail(failure)
            raise _bare(failure) from error
        except SpeechError as error:
            self.fail(_bare(error))
            raise

    async def _try_flush(self) -> None:
        try:
            await self._flush()
        except SpeechError:
            # The socket has failed for everybody on it; nobody here waits for it.
            _log.debug("a voice could not be told something")


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _bare(error: SpeechError) -> SpeechError:
    """The same error without its history, which would hold everything that was going on."""
    return SpeechError(str(error), retryable=error.retryable, status=error.status)
