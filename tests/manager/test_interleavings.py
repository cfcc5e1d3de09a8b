"""Whatever happens to a call, in whatever order: it ends, is let go, and is recorded rightly."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manager.course import (
    ENDS,
    FACTS,
    NAME,
    Asked,
    Course,
    Delivery,
    Outcome,
    Wish,
    take,
)
from tests.manager.virtual_time import loop, run
from voicecall.call.events import CallEnded
from voicecall.call.machine import TRANSFERRED_TO
from voicecall.call.record import LIVE_STATES, CallState, Direction
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord

pytestmark = pytest.mark.unit

LATEST_MS = 80_000
# Moments that coincide, that come just before or after something, and any others.
MOMENTS_MS = st.one_of(
    st.sampled_from((0, 1, 99, 100, 101, 14_999, 15_000, 29_999, 30_000, 30_100, 60_000)),
    st.integers(0, 500),
    st.integers(0, LATEST_MS),
)
UNANSWERED = {CallState.INITIATED, CallState.RINGING}
ORDER = list(CallState)


@st.composite
def courses(draw: st.DrawFn, direction: Direction) -> Course:
    outbound = direction is Direction.OUTBOUND
    arrivals = draw(
        st.lists(
            st.builds(
                Delivery,
                at_ms=MOMENTS_MS,
                fact=st.sampled_from(sorted(FACTS)),
                # Only of calls that we placed does a carrier know our id.
                named=st.booleans() if outbound else st.just(True),
                ours=st.just(outbound),
            ),
            max_size=10,
        )
    )
    repeated = draw(st.lists(st.sampled_from(arrivals), max_size=4)) if arrivals else []
    begin_ms = draw(MOMENTS_MS)
    return Course(
        direction=direction,
        dialled=draw(st.sampled_from(("placed", "placed", "lost", "refused", "broken", "silent"))),
        dial_ms=draw(st.one_of(MOMENTS_MS.filter(lambda ms: ms <= 20_000), st.just(100))),
        hung_up=draw(st.sampled_from(("done", "flaky", "refused", "silent"))),
        hang_up_ms=draw(st.sampled_from((0, 100, 9_000))),
        handed_on=draw(st.sampled_from(("done", "done", "refused", "silent"))),
        transfer_ms=draw(st.sampled_from((0, 100, 9_000))),
        arrivals=(
            *arrivals,
            *(Delivery(draw(MOMENTS_MS), d.fact, d.named, d.ours) for d in repeated),
        ),
        wishes=tuple(
            draw(
                st.lists(
                    st.builds(
                        Asked,
                        at_ms=MOMENTS_MS,
                        wish=st.sampled_from(get_args(Wish)),
                    ),
                    max_size=3,
                )
            )
        ),
        store_ms=draw(st.sampled_from((0, 0, 5, 300))),
        outage_ms=draw(st.sampled_from((None, None, (begin_ms, begin_ms + 3_000)))),
    )


def in_order(record: CallRecord) -> bool:
    times = [record.started_at, record.answered_at, record.ended_at]
    known = [time for time in times if time is not None]
    return known == sorted(known)


def possible_reasons(course: Course, outcome: Outcome, *, answered: bool) -> set[CallState]:
    facts = {arrival.fact for arrival in course.arrivals}
    possible = {CallState(fact) for fact in facts & ENDS}
    possible.add(CallState.TIMEOUT if answered else CallState.NO_ANSWER)
    # The last moment at which it may be answered is while it is being hung up for want of that.
    possible.add(CallState.NO_ANSWER)
    if "broken" in facts:
        possible.add(CallState.ERROR)
    if any(asked.wish == "end" for asked in course.wishes):
        possible.add(CallState.HANGUP_BOT)
    if any(asked.wish == "media lost" for asked in course.wishes):
        possible.add(CallState.HANGUP_USER)
    if outcome.carrier.handed_on:
        possible.add(CallState.COMPLETED)
    if outcome.failed is not None:
        possible.add(CallState.FAILED)
    return possible


def has_to_be_hung_up(course: Course, outcome: Outcome) -> bool:
    """Whether the carrier still holds a call of ours that we know the name of.

    It did not say its end, and we have not had it handed on.
    """
    if outcome.record is not None and TRANSFERRED_TO in outcome.record.metadata:
        return False
    facts = [arrival for arrival in course.arrivals if arrival.named]
    placed = course.direction is Direction.INBOUND or bool(
        outcome.carrier.dials and course.dialled != "refused"
    )
    told_its_end = any(arrival.fact in ENDS for arrival in course.arrivals)
    known = outcome.carrier.answered or any(arrival.fact not in ENDS for arrival in facts)
    return placed and known and not told_its_end


def check_record(course: Course, outcome: Outcome, record: CallRecord) -> None:
    states = [CallState(change["state"]) for change in outcome.told]
    answered = any(state in LIVE_STATES - UNANSWERED for state in states)
    assert record.state.terminal
    assert record.end_reason is record.state
    assert record.end_reason in possible_reasons(course, outcome, answered=answered)
    assert (record.answered_at is not None) == answered
    assert in_order(record)
    assert record.provider_call_id in {None, NAME}
    assert outcome.stored == record.to_json()
    if TRANSFERRED_TO in record.metadata:
        assert record.end_reason is CallState.COMPLETED
        assert outcome.carrier.handed_on
        assert outcome.carrier.asked == []
    # Forwards only, but for the two that alternate; and nothing after the end.
    ended = next(n for n, state in enumerate(states) if state.terminal)
    assert set(states[ended:]) == {record.state}
    ranks = [min(ORDER.index(state), ORDER.index(CallState.SPEAKING)) for state in states[:ended]]
    assert ranks == sorted(ranks)
    assert sum(change["type"] == CallEnded.type for change in outcome.told) <= 1


def check(course: Course, outcome: Outcome) -> None:
    assert outcome.manager.live_count == 0
    assert len(outcome.manager._calls.index) == 0
    assert len(outcome.manager.timers) == 0
    assert len(outcome.conversations.opened) <= 1
    assert all(conversation.closed for conversation in outcome.conversations.opened)
    assert len(outcome.carrier.dials) <= 1
    assert outcome.carrier.asked in ([], [NAME], [NAME] * 2, [NAME] * 3)
    if outcome.record is None:
        assert course.direction is Direction.INBOUND
        return
    check_record(course, outcome, outcome.record)
    if has_to_be_hung_up(course, outcome):
        assert outcome.carrier.asked
    if course.direction is Direction.OUTBOUND and course.dialled != "placed" and not course.wishes:
        told_its_end = any(arrival.fact in {*ENDS, "broken"} for arrival in course.arrivals)
        answered = outcome.record.answered_at is not None and course.dialled != "broken"
        assert outcome.failed is not None or told_its_end or answered


def happen(course: Course) -> None:
    async def case() -> None:
        check(course, await take(course))

    run(case())


def test_a_name_learned_while_the_end_waits_to_be_stored_is_hung_up() -> None:
    course = Course(
        dialled="lost",
        dial_ms=10_000,
        store_ms=200,
        arrivals=(Delivery(50, "ringing", named=False), Delivery(110, "answered")),
        wishes=(Asked(100, "end"),),
    )

    async def case() -> None:
        outcome = await take(course)
        check(course, outcome)
        assert outcome.carrier.asked == [NAME]
        assert outcome.record is not None
        assert outcome.record.end_reason is CallState.HANGUP_BOT

    run(case())


def test_a_call_that_is_handed_on_before_its_dial_is_answered_is_not_hung_up() -> None:
    course = Course(
        dial_ms=10_000,
        arrivals=(Delivery(50, "answered"),),
        wishes=(Asked(100, "transfer"),),
    )

    async def case() -> None:
        outcome = await take(course)
        check(course, outcome)
        assert outcome.carrier.handed_on == [NAME]
        assert outcome.record is not None
        assert outcome.record.end_reason is CallState.COMPLETED

    run(case())


@settings(max_examples=300, deadline=None)
@given(course=courses(Direction.OUTBOUND))
def test_a_call_we_place_always_ends_and_is_recorded_rightly(course: Course) -> None:
    happen(course)


@settings(max_examples=150, deadline=None)
@given(course=courses(Direction.INBOUND))
def test_a_call_we_take_always_ends_and_is_recorded_rightly(course: Course) -> None:
    happen(course)


@settings(max_examples=25, deadline=None)
@given(course=st.sampled_from(Direction).flatmap(courses))
def test_the_same_holds_of_the_durable_store(course: Course) -> None:
    async def case(folder: str) -> None:
        store = SqliteCallStore(Path(folder) / "calls.db", clock=loop())
        with loop().outside():
            await store.open()
        try:
            check(course, await take(course, store))
        finally:
            with loop().outside():
                await store.close()

    with tempfile.TemporaryDirectory() as folder:
        run(case(folder))
