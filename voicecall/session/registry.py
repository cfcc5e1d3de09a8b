"""All conversations of this process: makes them, finds them, and lets media sockets in."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from voicecall.dialog.history import Memories
from voicecall.errors import CarrierError, VoicecallError
from voicecall.session.equipment import Surroundings
from voicecall.session.realtime import RealtimeSession
from voicecall.session.session import Session
from voicecall.session.spoken import SpokenSession

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from voicecall.call.record import CallRecord, CallState
    from voicecall.clock import Clock
    from voicecall.ports import AudioFormat, CallControl, CarrierVoice, PathEvents, StreamStart
    from voicecall.session.equipment import Equipment
    from voicecall.session.speak import MakeConversion
    from voicecall.session.timing import TurnTiming

_log = logging.getLogger("voicecall.session")

AnySession: TypeAlias = Session | RealtimeSession | SpokenSession

_END_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 10.0


class Sessions:
    """Implements `ports.Conversations` and `ports.StreamGate`.

    The call manager needs the conversations and they need it; so it is given afterwards, with
    `attach`, before the first call.

    Args:
        equip: what a call is held with; asked once a call, when its conversation begins.
        clock: the time.
        convert: makes conversions between audio formats.
        tones: what keys sound like, where the carrier cannot send them without cutting the media
            stream; None leaves keys to the carrier.
        voice: the carrier's, where no media are streamed to us and it speaks and listens instead.
        on_turn: told the timing of each answered turn.
        on_cleared: told how long each interruption took to act on, in milliseconds.
        hold: told the id of each conversation that has opened, which the program then holds
            itself; None leaves them to us.
    """

    def __init__(  # noqa: PLR0913  (each is independent of the others)
        self,
        equip: Callable[[CallRecord], Equipment],
        *,
        clock: Clock,
        convert: MakeConversion,
        tones: Callable[[str, AudioFormat], Iterable[bytes]] | None = None,
        voice: CarrierVoice | None = None,
        on_turn: Callable[[TurnTiming], None] = lambda _: None,
        on_cleared: Callable[[float], None] = lambda _: None,
        hold: Callable[[str], None] | None = None,
    ) -> None:
        self._equip = equip
        self._clock = clock
        self._convert = convert
        self._tones = tones
        self._voice = voice
        self._on_turn = on_turn
        self._on_cleared = on_cleared
        self._hold = hold
        self._memories = Memories()
        self._sessions: dict[str, AnySession] = {}
        # Hang-ups and transfers are not the sessions' own tasks: each ends the session that asked.
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: CallControl | None = None
        self._learn_provider_id: Callable[[str, str], bool] | None = None

    def attach(self, calls: CallControl, learn_provider_id: Callable[[str, str], bool]) -> None:
        """Say who owns the calls.

        Args:
            calls: where events go and calls are ended.
            learn_provider_id: told (our id, the carrier's id); False when they do not belong
                together or the call is over.
        """
        self._calls = calls
        self._learn_provider_id = learn_provider_id

    def open(self, record: CallRecord, opening: str | None) -> AnySession:
        """Begin the conversation of a call that may not be answered yet."""
        if self._calls is None:
            raise RuntimeError("attach the call manager before the first call")
        surroundings = Surroundings(
            calls=self._calls,
            clock=self._clock,
            convert=self._convert,
            end=self._end,
            transfer=self._transfer,
            on_turn=self._on_turn,
            on_cleared=self._on_cleared,
            on_closed=self._forget,
            tones=self._tones,
            hold=self._hold,
        )
        history = self._memories.of(record.session_key)
        equipment = self._equip(record)
        begin: Callable[..., AnySession] = Session
        if self._voice is not None:
            begin = partial(SpokenSession, voice=self._voice)
        elif equipment.model is not None and self._hold is None:
            begin = partial(RealtimeSession, model=equipment.model)
        session = begin(record, opening, equipment, history, surroundings)
        self._sessions[record.call_id] = session
        return session

    def admit(self, call_id: str, start: StreamStart) -> PathEvents | None:
        """The conversation of call `call_id`, or None when there is none or `start` names another.

        A socket that names no call at all is not let in.
        """
        session = self._sessions.get(call_id)
        if not isinstance(session, Session | RealtimeSession) or self._learn_provider_id is None:
            return None
        if not start.provider_call_id:
            return None
        return session if self._learn_provider_id(call_id, start.provider_call_id) else None

    def find(self, call_id: str) -> AnySession | None:
        """The live conversation of a call."""
        return self._sessions.get(call_id)

    async def close(self) -> None:
        """End all conversations and wait, at most 10 s, for the hang-ups they had asked for."""
        await asyncio.gather(*(session.close() for session in list(self._sessions.values())))
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _forget(self, call_id: str) -> None:
        self._sessions.pop(call_id, None)

    def _end(self, call_id: str, reason: CallState) -> None:
        self._start(self._end_call(call_id, reason))

    def _transfer(
        self, call_id: str, to: str, on_failure: Callable[[VoicecallError], None]
    ) -> None:
        self._start(self._transfer_call(call_id, to, on_failure))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_call(self, call_id: str, reason: CallState) -> None:
        try:
            if self._calls is not None:
                async with asyncio.timeout(_END_TIMEOUT_S):
                    await self._calls.end(call_id, reason)
        except Exception:  # noqa: BLE001  (a task's boundary: nobody waits for its result)
            _log.exception("a call could not be ended", extra={"call_id": call_id})

    async def _transfer_call(
        self, call_id: str, to: str, on_failure: Callable[[VoicecallError], None]
    ) -> None:
        try:
            if self._calls is not None:
                async with asyncio.timeout(_END_TIMEOUT_S):
                    await self._calls.transfer(call_id, to)
        except VoicecallError as error:
            on_failure(error)
        except TimeoutError:
            on_failure(CarrierError("the carrier did not answer in time"))
