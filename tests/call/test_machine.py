from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import event, record
from voicecall.call import events, machine
from voicecall.call.machine import Ends, Heard, Input, NoOp, Release, StartMaxDuration, StopRing
from voicecall.call.record import LIVE_STATES, TERMINAL_STATES, CallState, Speaker
from voicecall.errors import IllegalTransition

pytestmark = pytest.mark.unit

# One event of every kind the machine tells apart.
KINDS: dict[Input, tuple[type[events.CallEvent], dict[str, Any]]] = {
    Input.INITIATED: (events.CallInitiated, {}),
    Input.RINGING: (events.CallRinging, {}),
    Input.ANSWERED: (events.CallAnswered, {}),
    Input.ACTIVE: (events.CallActive, {}),
    Input.SPEAKING: (events.CallSpeaking, {"text": "Good day."}),
    Input.SPOKEN: (events.CallSpoken, {"text": "Good day.", "heard": "Good"}),
    Input.TURN: (events.CallTurn, {"turn_token": "t1"}),
    Input.SPEECH: (events.CallSpeech, {"text": "Hello."}),
    Input.PARTIAL_SPEECH: (events.CallSpeech, {"text": "Hel", "is_final": False}),
    Input.STALE_SPEECH: (events.CallSpeech, {"text": "Hello.", "turn_token": "another"}),
    Input.SILENCE: (events.CallSilence, {"duration_ms": 800}),
    Input.DTMF: (events.CallDtmf, {"digits": "1"}),
    Input.ENDED: (events.CallEnded, {"reason": CallState.HANGUP_USER}),
    Input.ERROR: (events.CallErrored, {"message": "odd"}),
    Input.FAILURE: (events.CallErrored, {"message": "gone", "retryable": False}),
}
ORDER = list(CallState)
STATES = sorted(CallState, key=ORDER.index)
UNHEARD = (CallState.INITIATED, CallState.RINGING, CallState.ANSWERED, CallState.ACTIVE)
IMPOSSIBLE = {(state, Input.SPOKEN) for state in UNHEARD}


def make(kind: Input, **fields: Any) -> events.CallEvent:
    cls, own = KINDS[kind]
    return event(cls, **{**own, **fields})


def test_every_kind_of_event_has_a_place_in_the_table() -> None:
    assert set(KINDS) == set(Input)
    assert {kind for _, kind in machine.TRANSITIONS} == set(Input)
    every = {(state, kind) for state in CallState for kind in Input}
    assert set(machine.TRANSITIONS) == every - IMPOSSIBLE


@pytest.mark.parametrize("kind", list(Input), ids=str)
@pytest.mark.parametrize("state", STATES, ids=str)
def test_every_event_in_every_state_does_what_the_table_says(state: CallState, kind: Input) -> None:
    call = record(state)
    before = call.to_json()
    outcome = machine.TRANSITIONS.get((state, kind))
    if outcome is None:
        with pytest.raises(IllegalTransition):
            machine.apply(call, make(kind))
        assert call.to_json() == before
        return
    applied = machine.apply(call, make(kind))
    if isinstance(outcome, NoOp):
        assert applied == machine.Applied(None, ignored=outcome)
        assert call.to_json() == before
        return
    expected = CallState.HANGUP_USER if outcome is Ends.BY_REASON else outcome
    assert call.state is expected
    assert applied.change is not None
    assert applied.change["state"] == expected.value
    assert json.loads(json.dumps(applied.change)) == applied.change


@pytest.mark.parametrize("state", sorted(LIVE_STATES), ids=str)
@pytest.mark.parametrize("kind", list(Input), ids=str)
def test_a_live_call_never_moves_backwards(state: CallState, kind: Input) -> None:
    outcome = machine.TRANSITIONS.get((state, kind))
    if isinstance(outcome, CallState) and not outcome.terminal:
        alternating = {CallState.SPEAKING, CallState.LISTENING}
        assert ORDER.index(outcome) >= ORDER.index(state) or {state, outcome} == alternating


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES), ids=str)
@pytest.mark.parametrize("kind", list(Input), ids=str)
def test_no_event_changes_a_terminal_state(state: CallState, kind: Input) -> None:
    call = record(state, ended_at=1_500, end_reason=state)
    applied = machine.apply(call, make(kind))
    assert (call.state, call.end_reason, call.ended_at) == (state, state, 1_500)
    assert not any(isinstance(effect, Release) for effect in applied.effects)


@pytest.mark.parametrize("reason", sorted(TERMINAL_STATES), ids=str)
@pytest.mark.parametrize("state", sorted(LIVE_STATES), ids=str)
def test_any_live_call_ends_for_any_reason(state: CallState, reason: CallState) -> None:
    call = record(state)
    applied = machine.apply(call, make(Input.ENDED, reason=reason))
    assert (call.state, call.end_reason, call.ended_at) == (reason, reason, 2_000)
    assert applied.effects == (StopRing(), Release(reason))


@pytest.mark.parametrize("state", sorted(LIVE_STATES), ids=str)
def test_a_call_cannot_end_for_a_reason_that_is_no_end(state: CallState) -> None:
    call = record()
    with pytest.raises(IllegalTransition):
        machine.apply(call, make(Input.ENDED, reason=state))
    assert call.state is CallState.INITIATED


@pytest.mark.parametrize(
    "kind", [Input.ANSWERED, Input.ACTIVE, Input.SPEAKING, Input.SPEECH, Input.DTMF], ids=str
)
@pytest.mark.parametrize("state", [CallState.INITIATED, CallState.RINGING], ids=str)
def test_whatever_proves_an_answer_starts_the_limit_on_the_duration_once(
    state: CallState, kind: Input
) -> None:
    call = record(state)
    assert machine.apply(call, make(kind)).effects[:2] == (StopRing(), StartMaxDuration())
    assert call.answered_at == 2_000
    later = machine.apply(call, make(Input.ACTIVE, timestamp=3_000))
    assert StartMaxDuration() not in later.effects
    assert call.answered_at == 2_000


def test_the_transcript_holds_what_was_heard_and_said() -> None:
    call = record(CallState.ACTIVE)
    machine.apply(call, make(Input.SPEAKING, text="Good day, how are you?"))
    assert call.transcript == []
    spoken = make(Input.SPOKEN, text="Good day, how are you?", heard="Good day,", interrupted=True)
    machine.apply(call, spoken)
    assert call.state is CallState.LISTENING
    applied = machine.apply(call, make(Input.SPEECH, text="Fine."))
    assert applied.effects == (Heard("Fine."),)
    words = [(entry.speaker, entry.text) for entry in call.transcript]
    assert words == [(Speaker.BOT, "Good day,"), (Speaker.USER, "Fine.")]


def test_an_utterance_nobody_heard_leaves_no_entry() -> None:
    call = record(CallState.SPEAKING)
    machine.apply(call, make(Input.SPOKEN, heard=""))
    assert call.transcript == []
    assert call.state is CallState.LISTENING


def test_last_words_complete_the_transcript_of_a_call_that_is_over() -> None:
    call = record(CallState.HANGUP_USER)
    machine.apply(call, make(Input.SPOKEN, heard="Goodb"))
    machine.apply(call, make(Input.SPEECH, text="Bye."))
    assert [entry.text for entry in call.transcript] == ["Goodb", "Bye."]
    assert call.state is CallState.HANGUP_USER


def test_a_final_result_without_words_is_no_answer() -> None:
    call = record(CallState.LISTENING)
    assert machine.apply(call, make(Input.SPEECH, text="  ")).ignored is NoOp.PARTIAL
    assert call.transcript == []


def test_speech_of_another_turn_is_ignored_and_a_turn_is_answered_once() -> None:
    call = record(CallState.LISTENING)
    machine.apply(call, make(Input.TURN, turn_token="new"))
    assert machine.apply(call, make(Input.SPEECH, turn_token="old")).ignored is NoOp.STALE
    assert machine.apply(call, make(Input.SPEECH, turn_token="new")).ignored is None
    assert machine.apply(call, make(Input.SPEECH, turn_token="new")).ignored is NoOp.STALE
    assert len(call.transcript) == 1


def test_turns_are_counted_and_both_waits_are_measured() -> None:
    call = record(CallState.ACTIVE)
    machine.apply(call, make(Input.SPEAKING, timestamp=10_000))
    machine.apply(call, make(Input.SPOKEN, timestamp=11_000))
    machine.apply(call, make(Input.SPEECH, timestamp=13_500))
    assert call.metadata["turnCount"] == 1
    assert call.metadata["lastTurnListenWaitMs"] == 2_500
    assert call.metadata["lastTurnCompletedAt"] == 13_500
    assert "lastTurnLatencyMs" not in call.metadata
    machine.apply(call, make(Input.SPEAKING, timestamp=14_200))
    assert call.metadata["lastTurnLatencyMs"] == 700
    machine.apply(call, make(Input.SPOKEN, timestamp=15_000, timing={"latencyMs": 650.4}))
    assert call.metadata["lastTurnLatencyMs"] == 650


def test_what_was_measured_of_each_turn_is_kept() -> None:
    call = record(CallState.ACTIVE)
    # A greeting answers nobody.
    machine.apply(call, make(Input.SPEAKING, timestamp=10_000))
    machine.apply(call, make(Input.SPOKEN, timestamp=11_000, timing={"latencyMs": 5.0}))
    assert machine.TURNS not in call.metadata
    machine.apply(call, make(Input.SPEECH, timestamp=13_500))
    machine.apply(call, make(Input.SPEAKING, timestamp=14_200))
    before = call.metadata[machine.TURNS]
    assert before == [{"listenWaitMs": 2_500, "latencyMs": 700}]
    machine.apply(
        call, make(Input.SPOKEN, timestamp=15_000, timing={"latencyMs": 650.4, "finalMs": 300.0})
    )
    # What follows in the same turn was waited for by nobody.
    machine.apply(call, make(Input.SPEAKING, timestamp=15_100))
    machine.apply(call, make(Input.SPOKEN, timestamp=16_000, timing={"firstFrameMs": 1.0}))
    machine.apply(call, make(Input.SPEECH, timestamp=17_000))
    assert call.metadata[machine.TURNS] == [
        {"listenWaitMs": 2_500, "latencyMs": 650.4, "finalMs": 300.0},
        {"listenWaitMs": 1_000},
    ]
    # Whoever stores an earlier state has its own.
    assert before == [{"listenWaitMs": 2_500, "latencyMs": 700}]


def test_the_measurements_of_the_latest_turns_are_kept() -> None:
    call = record(CallState.LISTENING)
    for number in range(machine.MAX_TURNS + 20):
        machine.apply(call, make(Input.SPEECH, timestamp=number * 1000))
        machine.apply(call, make(Input.SPEAKING, timestamp=number * 1000 + number))
        machine.apply(call, make(Input.SPOKEN, timestamp=number * 1000 + 500))
    turns = call.metadata[machine.TURNS]
    assert [turn["latencyMs"] for turn in turns] == list(range(20, machine.MAX_TURNS + 20))


def test_a_call_that_was_handed_on_says_to_whom() -> None:
    call = record(CallState.LISTENING)
    ended = make(Input.ENDED, reason=CallState.COMPLETED, transferred_to="+15550000009")
    applied = machine.apply(call, ended)
    assert call.metadata["transferredTo"] == "+15550000009"
    assert applied.change is not None
    assert applied.change["transferredTo"] == "+15550000009"
    other = record(CallState.LISTENING)
    change = machine.apply(other, make(Input.ENDED)).change
    assert change is not None
    assert "transferredTo" not in change | other.metadata


def test_an_event_that_comes_late_still_teaches_the_carriers_id() -> None:
    call = record(CallState.ANSWERED)
    applied = machine.apply(call, make(Input.RINGING, provider_call_id="CA1"))
    assert applied.ignored is NoOp.LATE
    assert applied.change is not None
    assert applied.change["providerCallId"] == "CA1"
    assert applied.change["type"] == machine.NAMED
    assert call.state is CallState.ANSWERED
    machine.apply(call, make(Input.ACTIVE, provider_call_id="CA2"))
    assert call.provider_call_id == "CA1"


def test_the_carriers_other_name_of_the_call_is_kept_whatever_else_the_event_says() -> None:
    call = record(CallState.ANSWERED, provider_call_id="request-1")
    late = make(Input.RINGING, provider_call_id="request-1", provider_alias="call-1")
    applied = machine.apply(call, late)
    assert call.metadata[machine.ALIAS] == "call-1"
    assert applied.change is not None
    assert applied.change["type"] == machine.NAMED
    assert machine.apply(call, late).change is None


def test_a_failure_ends_the_call_and_a_passing_error_is_noted() -> None:
    call = record(CallState.LISTENING)
    machine.apply(call, make(Input.ERROR))
    assert (call.state, call.metadata["lastError"]) == (CallState.LISTENING, "odd")
    assert machine.apply(call, make(Input.FAILURE)).effects[-1] == Release(CallState.ERROR)


@given(st.lists(st.sampled_from(list(Input)), max_size=40))
def test_any_order_of_events_ends_at_most_once_and_keeps_the_record_consistent(
    kinds: list[Input],
) -> None:
    call = record()
    ends = 0
    for kind in kinds:
        before = call.state
        try:
            applied = machine.apply(call, make(kind))
        except IllegalTransition:
            assert (before, kind) in IMPOSSIBLE
            continue
        ends += sum(isinstance(effect, Release) for effect in applied.effects)
        assert not before.terminal or call.state is before
    assert ends == int(call.state.terminal)
    assert (call.end_reason is not None) == (call.ended_at is not None) == call.state.terminal
    assert type(call).from_json(json.loads(json.dumps(call.to_json()))) == call
