"""A conversation with a model over a socket that may break and is opened again.

Two ideas meet here. A `Dialogue` is one vendor's protocol without I/O: messages in, events and
messages out, and what has to be told to a new connection. A `Link` is the connection: it carries
the caller's audio and the dialogue's messages, notices when the model is gone, opens another socket
and gives up when that does not help.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from voicecall.clock import NS_PER_MS
from voicecall.errors import SpeechError
from voicecall.speech.realtime.events import EventQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, SpeechToSpeechEvent

_log = logging.getLogger("voicecall.speech")

_MAX_UNSENT = 512
_CLOSE_TIMEOUT_S = 5.0
_FAREWELL_TIMEOUT_S = 0.5


class Socket(Protocol):
    """An open connection to a model. Every method raises `SpeechError` when it is broken."""

    async def send(self, message: str) -> None:
        """Send one message."""
        ...

    async def receive(self) -> bytes:
        """The next message; cancelling this loses none."""
        ...

    async def close(self) -> None:
        """Close it, within about a second; never fails."""
        ...


class Dialogue(Protocol):
    """One vendor's side of one conversation, without I/O, over however many connections."""

    @property
    def outbox(self) -> deque[str]:
        """Messages to be sent, oldest first."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the connection is configured, so that audio may follow."""
        ...

    @property
    def due(self) -> bool:
        """Whether the model owes us something; if nothing comes for long it is stuck."""
        ...

    @property
    def quiet(self) -> bool:
        """Whether nobody would notice another connection being opened now."""
        ...

    @property
    def expires_ns(self) -> int | None:
        """When the vendor ends this connection, where it told; on the monotonic clock."""
        ...

    def opened(self, now_ns: int) -> None:
        """A new connection is open."""
        ...

    def broken(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """The connection is gone: what that ends."""
        ...

    def receive(self, message: bytes, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """What a message means.

        Raises:
            SpeechError: the vendor ends the conversation; retryable if another connection may do.
        """
        ...

    def tick(self, now_ns: int) -> Sequence[SpeechToSpeechEvent]:
        """What the passing of time means."""
        ...

    def audio(self, audio: bytes, now_ns: int) -> str:
        """The message that carries the caller's audio."""
        ...

    def farewell(self) -> str | None:
        """The message that ends the conversation, where the vendor wants one."""
        ...

    def say(self, text: str) -> None:
        """See `ports.SpeechToSpeechStream.say`; likewise the next four."""
        ...

    def prompt(self, text: str) -> None:
        """Something happened."""
        ...

    def cancel(self) -> None:
        """Stop the reply."""
        ...

    def heard(self, reply_id: str, heard_ms: int) -> None:
        """No more than this was heard."""
        ...

    def tool_result(self, tool_call_id: str, output: str) -> None:
        """What a tool gave."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may take, and how often it is tried. All in milliseconds but `attempts`.

    Attributes:
        ready_ms: from an open socket to one that is configured.
        send_ms: handing one message to a socket.
        stall_ms: nothing comes although the model owes something: the socket is given up.
        session_ms: a connection older than this is replaced at the next quiet moment.
        patience_ms: so long that moment is waited for. Vendors end sessions after an hour.
        attempts: so many failures in a row are survived.
        outage_ms: likewise, failures for so long.
        first_delay_ms: before the second attempt; the first is made at once. Doubles each time.
        max_delay_ms: at most.
        settled_ms: a connection that lasted so long counts as recovered.
        tick_ms: how often time is looked at while nothing comes.
        backlog_ms: so much audio waits for a connection; beyond that the oldest is dropped.
        batch_ms: so much audio is sent at once, at least.
    """

    ready_ms: int = 10_000
    send_ms: int = 5_000
    stall_ms: int = 15_000
    session_ms: int = 50 * 60_000
    patience_ms: int = 8 * 60_000
    attempts: int = 6
    outage_ms: int = 20_000
    first_delay_ms: int = 250
    max_delay_ms: int = 4_000
    settled_ms: int = 10_000
    tick_ms: int = 250
    backlog_ms: int = 2_000
    batch_ms: int = 40


class Link:
    """One call's conversation over sockets; implements `ports.SpeechToSpeechStream`.

    Overflow rules: of the caller's audio `Limits.backlog_ms` wait, the oldest is dropped and
    counted, so that a new connection never hears what is long past; a connection that does not take
    512 messages is given up; unread events make the socket wait.

    Args:
        dial: opens a socket, within a deadline of its own. Raises `SpeechError`.
        dialogue: what is spoken over it.
        audio: the caller's.
        clock: the time.
        limits: how long what may take.

    Attributes:
        dropped_octets: of the caller's audio.
        reopened: how many sockets followed the first one.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[Socket]],
        dialogue: Dialogue,
        *,
        audio: AudioFormat,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._dial = dial
        self._dialogue = dialogue
        self._clock = clock
        self._limits = limits or Limits()
        per_ms = audio.octets_per_second // 1000
        self._max_backlog_octets = self._limits.backlog_ms * per_ms
        self._batch_octets = self._limits.batch_ms * per_ms
        self._backlog: deque[bytes] = deque()
        self._backlog_octets = 0
        self._events = EventQueue()
        self._wake = asyncio.Event()
        self.dropped_octets = 0
        self.reopened = -1
        self._owner: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._run())

    def push(self, audio: bytes) -> None:
        """More of the caller's audio."""
        self._backlog.append(audio)
        self._backlog_octets += len(audio)
        while self._backlog_octets > self._max_backlog_octets:
            oldest = self._backlog.popleft()
            self._backlog_octets -= len(oldest)
            self.dropped_octets += len(oldest)
        if self._backlog_octets >= self._batch_octets:
            self._wake.set()

    def say(self, text: str) -> None:
        """Have it say `text` as its next reply."""
        self._dialogue.say(text)
        self._wake.set()

    def prompt(self, text: str) -> None:
        """Have it react to `text`, which is something that happened."""
        self._dialogue.prompt(text)
        self._wake.set()

    def cancel(self) -> None:
        """Stop the reply that is being made."""
        self._dialogue.cancel()
        self._wake.set()

    def heard(self, reply_id: str, heard_ms: int) -> None:
        """A reply that was cut short was played for `heard_ms`."""
        self._dialogue.heard(reply_id, heard_ms)
        self._wake.set()

    def tool_result(self, tool_call_id: str, output: str) -> None:
        """What a tool gave."""
        self._dialogue.tool_result(tool_call_id, output)
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[SpeechToSpeechEvent]:
        return self._events

    async def close(self) -> None:
        """Hang up; iteration ends."""
        self._events.close()
        # A cancelled task holds its frames, and they this conversation: it is let go.
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner}, timeout=_CLOSE_TIMEOUT_S)

    async def _run(self) -> None:
        """The one task of the conversation, and the boundary of its failures."""
        try:
            failure = await self._stay_connected()
        except Exception as error:  # noqa: BLE001  (a task's boundary: logged, and told)
            _log.warning("a conversation with a model failed", exc_info=error)
            failure = SpeechError("the conversation with the model failed")
        self._events.fail(failure)

    async def _stay_connected(self) -> SpeechError:
        """Open one socket after the other; why that ended."""
        limits = self._limits
        failures = 0
        outage_ns = 0
        while True:
            began_ns = self._clock.now_ns()
            error = await self._connected()
            now_ns = self._clock.now_ns()
            for event in self._dialogue.broken(now_ns):
                await self._events.put(event)
            if error is None:
                failures = 0
                continue
            if now_ns - began_ns >= limits.settled_ms * NS_PER_MS:
                failures = 0
            if failures == 0:
                outage_ns = now_ns
            failures += 1
            if not error.retryable or failures > limits.attempts:
                return error
            if now_ns - outage_ns > limits.outage_ms * NS_PER_MS:
                return error
            _log.warning(
                "the connection to a model broke",
                extra={"failures": failures, "status": error.status, "reason": str(error)},
            )
            await asyncio.sleep(self._delay_s(failures))

    def _delay_s(self, failures: int) -> float:
        """How long to wait before the next attempt; random, so that calls do not come as one."""
        if failures <= 1:
            return 0.0
        doubled_ms = self._limits.first_delay_ms << (failures - 2)
        spread = random.uniform(0.75, 1.0)  # noqa: S311  (no secret)
        return min(self._limits.max_delay_ms, doubled_ms) * spread / 1000

    async def _connected(self) -> SpeechError | None:
        """One socket from beginning to end: why it ended, None for our own wish."""
        try:
            socket = await self._dial()
        except SpeechError as error:
            return _bare(error)
        self.reopened += 1
        now_ns = self._clock.now_ns()
        self._dialogue.opened(now_ns)
        self._wake.set()
        writer = asyncio.get_running_loop().create_task(self._write(socket))
        try:
            await self._read(socket, writer, now_ns)
        except SpeechError as error:
            return _bare(error)
        else:
            return None
        finally:
            writer.cancel()
            await asyncio.wait({writer})
            if not writer.cancelled():
                # A socket that cannot be written to cannot be read from either.
                writer.exception()
            await self._hang_up(socket)

    async def _hang_up(self, socket: Socket) -> None:
        if (farewell := self._dialogue.farewell()) is not None:
            try:
                async with asyncio.timeout(_FAREWELL_TIMEOUT_S):
                    await socket.send(farewell)
            except (SpeechError, TimeoutError):
                _log.debug("a model could not be told that the conversation is over")
        await socket.close()

    async def _read(self, socket: Socket, writer: asyncio.Task[None], opened_ns: int) -> None:
        heard_ns = opened_ns
        while True:
            try:
                async with asyncio.timeout(self._limits.tick_ms / 1000):
                    message = await socket.receive()
            except TimeoutError:
                now_ns = self._clock.now_ns()
                events = self._dialogue.tick(now_ns)
            else:
                heard_ns = now_ns = self._clock.now_ns()
                events = self._dialogue.receive(message, now_ns)
            self._wake.set()
            for event in events:
                await self._events.put(event)
            self._check(writer, opened_ns, heard_ns, now_ns)
            if self._worn_out(opened_ns, now_ns):
                return

    def _check(
        self, writer: asyncio.Task[None], opened_ns: int, heard_ns: int, now_ns: int
    ) -> None:
        """Raise `SpeechError` if the other side has become useless."""
        limits, dialogue = self._limits, self._dialogue
        if writer.done():
            writer.result()
        if len(dialogue.outbox) > _MAX_UNSENT:
            raise SpeechError("the model does not take what it is sent", retryable=True)
        if not dialogue.ready:
            if now_ns - opened_ns > limits.ready_ms * NS_PER_MS:
                raise SpeechError("the model does not become ready", retryable=True)
        elif dialogue.due and now_ns - heard_ns > limits.stall_ms * NS_PER_MS:
            raise SpeechError("the model does not answer", retryable=True)

    def _worn_out(self, opened_ns: int, now_ns: int) -> bool:
        """Whether to replace the connection now, before the vendor ends it."""
        patience_ns = self._limits.patience_ms * NS_PER_MS
        due_ns = opened_ns + self._limits.session_ms * NS_PER_MS
        if self._dialogue.expires_ns is not None:
            due_ns = min(due_ns, self._dialogue.expires_ns - patience_ns)
        if now_ns < due_ns:
            return False
        # Somebody who never falls silent is interrupted by us rather than by the vendor.
        return self._dialogue.quiet or now_ns >= due_ns + patience_ns

    async def _write(self, socket: Socket) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (message := self._next()) is not None:
                try:
                    async with asyncio.timeout(self._limits.send_ms / 1000):
                        await socket.send(message)
                except TimeoutError as error:
                    raise SpeechError("the model does not listen", retryable=True) from error

    def _next(self) -> str | None:
        if self._dialogue.outbox:
            return self._dialogue.outbox.popleft()
        if not self._dialogue.ready or self._backlog_octets < self._batch_octets:
            return None
        audio = b"".join(self._backlog)
        self._backlog.clear()
        self._backlog_octets = 0
        return self._dialogue.audio(audio, self._clock.now_ns())


def _bare(error: SpeechError) -> SpeechError:
    """The same error without its history, which would hold everything that was going on."""
    return SpeechError(str(error), retryable=error.retryable, status=error.status)
