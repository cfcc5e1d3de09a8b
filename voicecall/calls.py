"""Calls for programs that run a server in their own process: a handle for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voicecall.call.record import CallState, Direction
from voicecall.errors import CallHasEnded, InvalidRequest, NotConnected, UnknownCall
from voicecall.manager.dedupe import SeenKeys
from voicecall.session.session import Session
from voicecall.session.talk import Talk

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord, Mode
    from voicecall.manager.changes import Subscription
    from voicecall.manager.manager import CallManager
    from voicecall.ports import Playback
    from voicecall.session.raw_audio import CallerAudio
    from voicecall.session.registry import Sessions

log = logging.getLogger("voicecall.calls")

MIN_RATE_HZ: Final = 8000
MAX_RATE_HZ: Final = 48_000
# Time for a program to wind up when its call is over; then it is cancelled.
WIND_UP_S = 10.0
_TOLD_CALLS = 10_000
_TALKING = frozenset({CallState.ACTIVE, CallState.SPEAKING, CallState.LISTENING})


class Call:
    """One call, as the program that placed or took it uses it. Made by `Calls`.

    What is asked of a call that is over raises `CallHasEnded`; everything waits at most as long as
    the call lasts, whose limits are configured.
    """

    def __init__(self, record: CallRecord, manager: CallManager, sessions: Sessions) -> None:
        self._record = record
        self._manager = manager
        self._sessions = sessions
        self._changes: Subscription | None = manager.follow(record)

    def __repr__(self) -> str:
        return f"<Call {self.id} {self._record.direction} {self._record.state}>"

    @property
    def id(self) -> str:
        """Our id of the call."""
        return self._record.call_id

    @property
    def record(self) -> CallRecord:
        """What is known of the call now, its transcript included. To be read, not written."""
        return self._record

    async def events(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """What happens to the call, from its beginning, or from when this handle was made.

        Ends when the call is over. To be iterated over once. Each is a mapping as `voicecall tail`
        shows it, with `type`, `timestamp`, `callId`, `state` and what belongs to its type.

        Overflow rule: 1000 wait for a slow reader; then the oldest are dropped, and a `gap` with
        their number takes their place.
        """
        changes = self._changes
        if changes is None:
            raise RuntimeError("the events of a call handle can be read once; get another handle")
        self._changes = None
        async for change in changes:
            yield change

    async def connected(self) -> CallRecord:
        """Wait until something can be said on the call.

        Raises:
            CallHasEnded: it has ended first; the message says why.
        """
        await self._until(lambda: self._record.state in _TALKING)
        if self._record.state.terminal:
            raise CallHasEnded(f"the call has ended: {self._record.state}", call_id=self.id)
        return self._record

    async def ended(self) -> CallRecord:
        """Wait until the call is over; its record."""
        await self._until(lambda: False)
        return self._record

    async def say(self, text: str) -> Playback:
        """Say something once the call is connected, after what is being said already.

        Returns:
            When it was played or cut short: how much of it was heard.

        Raises:
            CallHasEnded: the call is over.
            SpeechError: it could not be synthesized, or eight texts are waiting already. The log
                says why, for example which package the voice needs.
            CarrierError: the carrier, which was to say it, could not.
        """
        await self.connected()
        return await self._manager.speak(self.id, text)

    async def ask(self, text: str) -> str:
        """Say something once the call is connected, and wait for what the caller answers.

        Raises:
            TurnPending: another question waits for its answer.
            TranscriptTimeout: nothing was answered within `transcriptTimeoutMs`.
            CallHasEnded: the call is over.
            SpeechError: it could not be synthesized.
        """
        await self.connected()
        if isinstance(session := self._sessions.find(self.id), Talk):
            await session.listen()
        return await self._manager.ask(self.id, text)

    def audio(self, rate: int = 16_000) -> CallerAudio:
        """What the caller says from now on: iterate over it.

        Linear PCM16, mono, little endian, 20 ms a piece; silence is there as well. It ends with
        the call. Up to five seconds wait for a slow reader; then the oldest are dropped, and
        counted in its attribute `dropped`. What the line carries is telephone audio, most often
        8 kHz; other rates are resampled.

        Args:
            rate: samples a second, 8000 to 48000.

        Raises:
            InvalidRequest: the rate is none of these.
            NotConnected: the call has no audio that is streamed to us.
            CallHasEnded: it is over.
        """
        _check_rate(rate)
        return self._session().audio(rate)

    async def play(
        self, pcm: bytes | bytearray | memoryview | AsyncIterable[bytes], rate: int
    ) -> Playback:
        """Play audio of the program's own, after what is being said.

        Args:
            pcm: linear PCM16, mono, little endian; or pieces of it as they are made, any length,
                which are taken at most ten seconds before they are played.
            rate: samples a second, 8000 to 48000.

        Returns:
            When it was played, or cut by `clear` or the end of the call: how much was heard.

        Raises:
            InvalidRequest: the rate is none of these.
            NotConnected: the call has no audio that is streamed to us.
            CallHasEnded: it is over.
            CodecError: an odd number of octets.
        """
        _check_rate(rate)
        await self.connected()
        pieces = pcm if isinstance(pcm, AsyncIterable) else _whole(bytes(pcm))
        return await self._session().play(pieces, rate)

    def clear(self) -> None:
        """Fall silent at once: what is said or played is cut, and what waits for it is skipped.

        For the caller who interrupts; `play` and `say` return with `interrupted` set.
        """
        if isinstance(session := self._sessions.find(self.id), Talk):
            session.clear()

    async def send_dtmf(self, digits: str) -> None:
        """Press keys: 0-9, `*`, `#`, and w or W for a pause. Returns when they were sent.

        Raises:
            InvalidRequest: these are no keys.
            CallHasEnded: the call is over.
            CarrierError: the carrier refused or did not answer.
        """
        await self.connected()
        await self._manager.send_dtmf(self.id, digits)

    async def transfer(self, to: str) -> None:
        """Have the carrier connect the other side with `to`; then the call is over here.

        Raises:
            InvalidRequest: `to` is nobody, or the carrier cannot hand calls on.
            CallHasEnded: the call is over.
            CarrierError: the carrier refused or did not answer; the call goes on.
        """
        await self.connected()
        await self._manager.transfer(self.id, to)

    async def end(self) -> None:
        """Hang up; a call that is over is a success."""
        await self._manager.end(self.id)

    def _session(self) -> Session:
        if self._record.state.terminal:
            raise CallHasEnded(f"the call has ended: {self._record.state}", call_id=self.id)
        session = self._sessions.find(self.id)
        if isinstance(session, Session):
            return session
        raise NotConnected(
            "the audio of this call is not streamed to us, or a realtime model holds it; set "
            "streaming.enabled to true and realtime.enabled to false",
            call_id=self.id,
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true, or for the end of the call."""
        changes = self._manager.follow(self._record)
        try:
            while not condition() and not self._record.state.terminal:
                if await anext(changes, None) is None:
                    return
        finally:
            await changes.aclose()


OnCall: TypeAlias = Callable[[Call], Awaitable[None]]
"""Holds a call that is connected; the call ends when it returns."""


class Calls:
    """The calls of a server in this process.

    Args:
        manager: all calls.
        sessions: their conversations.
    """

    def __init__(self, manager: CallManager, sessions: Sessions) -> None:
        self._manager = manager
        self._sessions = sessions

    async def initiate(
        self,
        message: str = "",
        to: str | None = None,
        mode: Mode | None = None,
        dtmf_sequence: str | None = None,
    ) -> Call:
        """Place a call; returns once the carrier has accepted it, while it may still ring.

        If this is cancelled, the call is placed all the same.

        Args:
            message: what to say first; empty for nothing.
            to: E.164, or a `sip:` address where the carrier takes them; the default is configured.
            mode: `notify` hangs up after the message; the default is configured.
            dtmf_sequence: keys to send once answered, before anything is said.

        Raises:
            InvalidRequest: there is nobody to call, or the keys are no keys.
            CapacityReached: no more calls are taken.
            CarrierError: the carrier refused or did not answer; the call has ended as failed.
            StoreError: the call could not be stored and was not placed.
        """
        opened: list[Call] = []
        await self._manager.initiate(
            message, to, mode, dtmf_sequence, lambda record: opened.append(self._call(record))
        )
        return opened[0]

    def get(self, call_id: str) -> Call:
        """A call, live or ended not long ago, by our id or the carrier's. Raises UnknownCall."""
        record = self._manager.find(call_id)
        if record is None:
            raise UnknownCall("no call has that id", call_id=call_id)
        return self._call(record)

    def live(self) -> list[Call]:
        """The calls that have not ended."""
        return [self._call(record) for record in self._manager.live()]

    @property
    def live_count(self) -> int:
        """How many calls have not ended."""
        return self._manager.live_count

    async def lookup(self, call_id: str) -> CallRecord | None:
        """The record of a call as far back as the store reaches. Raises StoreError."""
        return await self._manager.lookup(call_id)

    async def recent(self, limit: int = 100) -> list[CallRecord]:
        """The records of the newest calls, newest first. Raises StoreError."""
        return await self._manager.recent(limit)

    def subscribe(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """What happens to all calls from now on, as `Call.events` tells it of one."""
        return self._manager.subscribe()

    async def incoming(self) -> AsyncGenerator[Call, None]:
        """Each call that comes in and is taken, from when this is first waited for."""
        told: SeenKeys[str] = SeenKeys(_TOLD_CALLS)
        async for change in self._manager.subscribe():
            call_id = change.get("callId", "")
            record = self._manager.find(call_id)
            if record is None or record.direction is not Direction.INBOUND:
                continue
            if call_id not in told and not record.state.terminal:
                told.add(call_id)
                yield self._call(record)

    def _call(self, record: CallRecord) -> Call:
        return Call(record, self._manager, self._sessions)


class Programs:
    """The calls that a program holds itself, each in a task of its own.

    They run in the server's event loop, so one that computes or blocks holds up all calls; what
    blocks is reported like anything else that does.

    Args:
        on_call: holds a call.
        calls: the calls.
        sessions: their conversations.
    """

    def __init__(self, on_call: OnCall, calls: Calls, sessions: Sessions) -> None:
        self._on_call = on_call
        self._calls = calls
        self._sessions = sessions
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self, call_id: str) -> None:
        """Begin to hold a connected call; it ends with the program, or the program soon after."""
        task = asyncio.create_task(self._run(self._calls.get(call_id)), name=f"program {call_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is left, when no call is."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=WIND_UP_S)

    async def _run(self, call: Call) -> None:
        reason = CallState.HANGUP_BOT
        try:
            await self._held(call)
        except CallHasEnded:
            log.debug("a program was surprised by the end of its call")
        except Exception:
            log.exception("the program that holds a call failed", extra={"call_id": call.id})
            reason = CallState.ERROR
        if isinstance(session := self._sessions.find(call.id), Talk):
            await session.hang_up(reason)

    async def _held(self, call: Call) -> None:
        program = asyncio.ensure_future(self._on_call(call))
        ended = asyncio.create_task(call.ended())
        try:
            await asyncio.wait({program, ended}, return_when=asyncio.FIRST_COMPLETED)
            # What it waits for has failed or ended by now; it may have something to put away.
            await asyncio.wait({program}, timeout=WIND_UP_S)
        finally:
            for task in (program, ended):
                task.cancel()
            await asyncio.wait({program, ended}, timeout=WIND_UP_S)
        if not program.cancelled():
            program.result()


def _check_rate(rate: int) -> None:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise InvalidRequest(f"rate: {rate} is not within {MIN_RATE_HZ} and {MAX_RATE_HZ} Hz")


async def _whole(pcm: bytes) -> AsyncGenerator[bytes, None]:
    yield pcm
