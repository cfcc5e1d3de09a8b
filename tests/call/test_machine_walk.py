"""The machine against an account of its own of what every event does in every state."""

from __future__ import annotations

import itertools
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.call.calls import event, record
from voicecall.call import events, machine
from voicecall.call.machine import NoOp
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.errors import IllegalTransition

pytestmark = pytest.mark.unit

_RANK = {
    CallState.INITIATED: 0,
    CallState.RINGING: 1,
    CallState.ANSWERED: 2,
    CallState.ACTIVE: 3,
    CallState.SPEAKING: 4,
    CallState.LISTENING: 4,
}
LIVE = tuple(_RANK)
TERMINAL = tuple(state for state in CallState if state not in _RANK)


@dataclass(frozen=True)
class Case:
    """One kind of event, in one of its variants.

    Attributes:
        kind: of the event.
        to: where it takes a live call; None where the call stays as it is, but for what is noted.
        noop: why it changes nothing in a live call.
        fields: of the event.
    """

    name: str
    kind: type[events.CallEvent]
    to: CallState | None = None
    noop: NoOp | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


PROGRESS = (
    Case("initiated", events.CallInitiated, CallState.INITIATED),
    Case("ringing", events.CallRinging, CallState.RINGING),
    Case("answered", events.CallAnswered, CallState.ANSWERED),
    Case("active", events.CallActive, CallState.ACTIVE),
)
TALK = (
    Case("speaking", events.CallSpeaking, CallState.SPEAKING, fields={"text": "Hi"}),
    Case("speech", events.CallSpeech, CallState.LISTENING, fields={"text": "Hello"}),
    Case(
        "speech of this turn",
        events.CallSpeech,
        CallState.LISTENING,
        fields={"text": "Hello", "turn_token": "now", "confidence": 0.5},
    ),
)
SPOKEN = tuple(
    Case(
        f"spoken, {heard or 'nothing'} heard",
        events.CallSpoken,
        CallState.LISTENING,
        fields={"text": "Hi there", "heard": heard, "interrupted": heard != "Hi there"},
    )
    for heard in ("", "Hi", "Hi there")
)
ENDS = tuple(
    Case(f"ended as {reason}", events.CallEnded, reason, fields={"reason": reason})
    for reason in TERMINAL
)
FAILURE = Case(
    "final error", events.CallErrored, CallState.ERROR, fields={"message": "x", "retryable": False}
)
STAYING = (
    Case("turn", events.CallTurn, fields={"turn_token": "next"}),
    Case("silence", events.CallSilence, fields={"duration_ms": 700}),
    Case("error", events.CallErrored, fields={"message": "x"}),
)
DTMF = Case("dtmf", events.CallDtmf, fields={"digits": "1#"})
NOOPS = (
    Case(
        "partial speech",
        events.CallSpeech,
        noop=NoOp.PARTIAL,
        fields={"text": "He", "is_final": False},
    ),
    Case("wordless speech", events.CallSpeech, noop=NoOp.PARTIAL, fields={"text": " "}),
    Case(
        "stale speech",
        events.CallSpeech,
        noop=NoOp.STALE,
        fields={"text": "Hello", "turn_token": "before"},
    ),
)
EVERY = (*PROGRESS, *TALK, *SPOKEN, *ENDS, FAILURE, *STAYING, DTMF, *NOOPS)
WORDS = (*TALK[1:], *SPOKEN)


def expected(state: CallState, case: Case) -> CallState | NoOp | None:
    """What the call becomes, why it stays, or None where the event is impossible."""
    if state in TERMINAL:
        return state if case in WORDS else NoOp.OVER
    if case in SPOKEN:
        return CallState.LISTENING if _RANK[state] == _RANK[CallState.SPEAKING] else None
    if case.noop is not None:
        return case.noop
    if case in PROGRESS:
        return _progress(state, case)
    if case is DTMF:
        return max(state, CallState.ANSWERED, key=_RANK.__getitem__)
    if case in STAYING:
        return state
    if case.kind is events.CallSpeech and state is CallState.SPEAKING:
        return state
    assert case.to is not None
    return case.to


def _progress(state: CallState, case: Case) -> CallState | NoOp:
    assert case.to is not None
    if case.to is state:
        return NoOp.REPEATED
    return case.to if _RANK[case.to] > _RANK[state] else NoOp.LATE


def call_in(state: CallState, direction: Direction, *, named: bool) -> CallRecord:
    call = record(state, direction=direction, metadata={"turnToken": "now"})
    if state not in {CallState.INITIATED, CallState.RINGING}:
        call.answered_at = 1_200
    if state in TERMINAL:
        call.ended_at, call.end_reason = 1_500, state
    call.provider_call_id = "CA1" if named else None
    return call


def test_the_account_covers_every_type_of_event_and_every_end() -> None:
    own = {kind for kind in vars(events).values() if isinstance(kind, type)}
    types = {kind for kind in own if issubclass(kind, events.CallEvent)} - {events.CallEvent}
    assert {case.kind for case in EVERY} == types
    assert {case.to for case in ENDS} == set(TERMINAL)


@pytest.mark.parametrize("direction", list(Direction), ids=str)
@pytest.mark.parametrize("case", EVERY, ids=str)
@pytest.mark.parametrize("state", list(CallState), ids=str)
def test_every_event_in_every_state(state: CallState, case: Case, direction: Direction) -> None:
    for named, tells in itertools.product((False, True), repeat=2):
        call = call_in(state, direction, named=named)
        told = event(case.kind, provider_call_id="CA1" if tells else None, **case.fields)
        check(call, told, expected(state, case))


def check(call: CallRecord, told: events.CallEvent, outcome: CallState | NoOp | None) -> None:
    before = deepcopy(call)
    if outcome is None:
        with pytest.raises(IllegalTransition):
            machine.apply(call, told)
        assert call == before
        return
    applied = machine.apply(call, told)
    learned = before.provider_call_id is None and told.provider_call_id is not None
    assert call.provider_call_id == (before.provider_call_id or told.provider_call_id)
    if isinstance(outcome, NoOp):
        assert applied.ignored is outcome
        assert (applied.change is not None) == learned
        assert applied.effects == ()
        call.provider_call_id = before.provider_call_id
        assert call == before
        return
    assert applied.ignored is None
    assert applied.change is not None
    assert applied.change["state"] == call.state == outcome
    check_times(before, call, told)
    check_effects(before, call, applied)


def check_times(before: CallRecord, call: CallRecord, told: events.CallEvent) -> None:
    unanswered = {CallState.INITIATED, CallState.RINGING, *TERMINAL}
    if before.answered_at is None and call.state not in unanswered:
        assert call.answered_at == told.timestamp
    else:
        assert call.answered_at == before.answered_at
    if call.state in TERMINAL and before.state in LIVE:
        assert (call.ended_at, call.end_reason) == (told.timestamp, call.state)
    else:
        assert (call.ended_at, call.end_reason) == (before.ended_at, before.end_reason)


def check_effects(before: CallRecord, call: CallRecord, applied: machine.Applied) -> None:
    ended = call.state in TERMINAL and before.state in LIVE
    answered = call.answered_at is not None and before.answered_at is None
    kinds = [type(effect) for effect in applied.effects]
    assert kinds.count(machine.Release) == ended
    assert kinds.count(machine.StartMaxDuration) == answered
    assert kinds.count(machine.StopRing) == (ended or answered)
    heard = len(call.transcript) > len(before.transcript) and call.transcript[-1].speaker == "user"
    assert kinds.count(machine.Heard) == heard


@pytest.mark.parametrize("answered", [False, True])
def test_times_never_run_backwards_whatever_clock_a_carrier_has(*, answered: bool) -> None:
    call = record(started_at=5_000)
    if answered:
        machine.apply(call, event(events.CallAnswered, timestamp=4_000))
        assert call.answered_at == 5_000
        call.answered_at = 9_000
    machine.apply(call, event(events.CallEnded, reason=CallState.COMPLETED, timestamp=3_000))
    assert call.ended_at == (9_000 if answered else 5_000)
