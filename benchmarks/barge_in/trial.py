"""One case: a whole conversation of ours on a line in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.barge_in import sounds
from benchmarks.barge_in.cases import ANSWER, GREETING
from benchmarks.barge_in.line import Line
from benchmarks.barge_in.virtual import VirtualClock
from voicecall.audio import Transcoder
from voicecall.call.events import CallSpeech, CallSpoken
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.clock import NS_PER_MS
from voicecall.dialog.history import History
from voicecall.session.equipment import Equipment, SessionSettings, Surroundings
from voicecall.session.session import Session

if TYPE_CHECKING:
    from benchmarks.barge_in.cases import Case
    from voicecall.call.events import CallEvent
    from voicecall.dialog.turns import BargeIn
    from voicecall.ports import Playback, SpeechToText, TextToSpeech

_TOO_LATE_MS = 1500
_AFTERWARDS_S = 2.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case.

    Attributes:
        case: it.
        interrupted: whether the bot gave up its answer.
        silent_ms: how long after the sound's onset the bot asked the carrier for silence, if so.
        holds: how often it asked for silence in all.
        pause_ms: how long the answer took beyond its own length.
        turns: what it took for the caller's words.
    """

    case: Case
    interrupted: bool
    silent_ms: float | None
    holds: int
    pause_ms: float
    turns: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the bot did what a person would have."""
        if self.case.kind == "interruption":
            return self.interrupted and self.silent_ms is not None
        return not self.interrupted


async def attempt(
    case: Case, ears: SpeechToText, voice: TextToSpeech, barge_in: BargeIn, seed: int
) -> Outcome:
    """Hold the conversation."""
    clock = VirtualClock()
    calls = _Calls()
    session = Session(
        _record(),
        GREETING if case.greeted else None,
        Equipment((voice,), ears, settings=SessionSettings(barge_in=barge_in)),
        History(),
        Surroundings(
            calls=calls,
            clock=clock,
            convert=Transcoder,
            end=lambda *_: None,
            transfer=lambda *_: None,
            on_turn=lambda _: None,
            on_cleared=lambda _: None,
            on_closed=lambda _: None,
        ),
    )
    line = Line(session, case.surrounding, clock, np.random.default_rng(seed))
    carrying = asyncio.create_task(line.run())
    try:
        await asyncio.sleep(0.1)
        session.on_path_open(line.path)
        if case.greeted:
            await calls.spoken.wait()
        await asyncio.sleep(0.5)
        began_ns = clock.now_ns()
        onset_ns = line.say(case.sound, case.after_ms)
        onset_ns += round(sounds.onset_ms(case.sound) * NS_PER_MS)
        playback = await session.say(ANSWER)
        took_ms = (clock.now_ns() - began_ns) / NS_PER_MS
        await asyncio.sleep(_AFTERWARDS_S)
    finally:
        await session.close()
        carrying.cancel()
        await asyncio.wait({carrying})
    return _outcome(case, playback, took_ms, [at - onset_ns for at in line.cleared_ns], calls)


def _outcome(
    case: Case, playback: Playback, took_ms: float, cleared_ns: list[int], calls: _Calls
) -> Outcome:
    silent_ms = [at / NS_PER_MS for at in cleared_ns]
    in_time = [at for at in silent_ms if 0 <= at <= _TOO_LATE_MS]
    turns = tuple(event.text for event in calls.events if isinstance(event, CallSpeech))
    return Outcome(
        case,
        playback.interrupted,
        in_time[0] if in_time else None,
        len(cleared_ns),
        took_ms - playback.total_ms,
        turns,
    )


class _Calls:
    """Where the conversation's events go."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.spoken = asyncio.Event()

    async def apply(self, event: CallEvent) -> None:
        self.events.append(event)
        if isinstance(event, CallSpoken):
            self.spoken.set()

    async def end(self, call_id: str, reason: CallState = CallState.HANGUP_BOT) -> None:
        del call_id, reason

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        del call_id, digits

    async def transfer(self, call_id: str, to: str) -> None:
        del call_id, to

    def awaits_transcript(self, call_id: str) -> bool:
        """Always: nothing answers here."""
        return bool(call_id)


def _record() -> CallRecord:
    details: dict[str, Any] = {"metadata": {"mode": "conversation"}}
    return CallRecord(
        call_id="call",
        provider="mock",
        direction=Direction.INBOUND,
        state=CallState.ANSWERED,
        from_number="+15550001000",
        to_number="+15550002000",
        session_key="call",
        started_at=0,
        **details,
    )
