from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.clock import NS_PER_MS, ManualClock, SystemClock
from voicecall.manager.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit


def on_loop(case: Callable[[], None]) -> None:
    async def whole() -> None:
        case()

    asyncio.run(whole())


def test_deadlines_fire_once_in_order_when_they_are_due() -> None:
    def case() -> None:
        clock, fired = ManualClock(0), list[str]()
        timers = Timers(clock)
        for name, due_ms in (("late", 30), ("early", 10), ("middle", 20)):
            timers.start((name,), due_ms * NS_PER_MS, partial(fired.append, name))
        assert timers.fire_due(clock.advance_ms(9)) == 0
        assert timers.fire_due(clock.advance_ms(11)) == 2
        assert fired == ["early", "middle"]
        timers.fire_due(clock.advance_ms(10))
        timers.fire_due(clock.advance_ms(10))
        assert fired == ["early", "middle", "late"]
        assert len(timers) == 0

    on_loop(case)


def test_a_deadline_set_again_replaces_the_first_and_a_cancelled_one_is_silent() -> None:
    def case() -> None:
        clock, fired = ManualClock(0), list[str]()
        timers = Timers(clock)
        timers.start(("a",), 10, lambda: fired.append("first"))
        timers.start(("a",), 20, lambda: fired.append("second"))
        timers.start(("b",), 10, lambda: fired.append("cancelled"))
        timers.cancel(("b",))
        timers.cancel(("never",))
        timers.fire_due(15)
        assert fired == []
        timers.fire_due(20)
        assert fired == ["second"]

    on_loop(case)


def test_the_loop_fires_them_by_itself() -> None:
    async def case() -> None:
        clock, fired = SystemClock(), asyncio.Event()
        timers = Timers(clock)
        timers.start(("later",), clock.now_ns() + 3_600_000 * NS_PER_MS, lambda: None)
        timers.start(("soon",), clock.now_ns() + 5 * NS_PER_MS, fired.set)
        async with asyncio.timeout(2):
            await fired.wait()
        assert len(timers) == 1
        timers.close()
        timers.start(("after",), 0, lambda: None)
        assert len(timers) == 0

    asyncio.run(case())


def test_cancelled_deadlines_do_not_pile_up() -> None:
    def case() -> None:
        timers = Timers(ManualClock(0))
        timers.start(("first",), 1, lambda: None)
        for n in range(10_000):
            timers.start(("call", n), 10**12, lambda: None)
            timers.cancel(("call", n))
        assert len(timers._heap) < 100

    on_loop(case)


def test_what_a_callback_starts_already_due_waits_for_the_next_time() -> None:
    def case() -> None:
        timers = Timers(ManualClock(0))

        def again() -> None:
            timers.start(("again",), 0, again)

        timers.start(("again",), 0, again)
        assert timers.fire_due(10) == 1
        assert len(timers) == 1

    on_loop(case)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=60))
def test_exactly_the_deadlines_that_stand_fire(
    actions: list[tuple[int, int, bool]],
) -> None:
    def case() -> None:
        timers, fired, standing = Timers(ManualClock(0)), list[int](), dict[int, int]()
        for name, due_ns, cancelled in actions:
            if cancelled:
                timers.cancel((name,))
                standing.pop(name, None)
            else:
                timers.start((name,), due_ns, partial(fired.append, name))
                standing[name] = due_ns
        timers.fire_due(25)
        assert sorted(fired) == sorted(name for name, due_ns in standing.items() if due_ns <= 25)

    on_loop(case)
