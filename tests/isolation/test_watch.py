from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest

from voicecall.clock import ManualClock, SystemClock
from voicecall.isolation.watch import Blocked, Heartbeat, LoopWatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [pytest.mark.unit, pytest.mark.timed]


def block(seconds: float) -> None:
    time.sleep(seconds)


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (another thread brings it about)
            await asyncio.sleep(0.005)


def stand_still(clock: ManualClock) -> None:
    clock.advance_ms(500)


def watched(case: Callable[[LoopWatch], Awaitable[None]]) -> list[Blocked]:
    """Everything that was reported while `case` ran in a loop under watch."""
    found: list[Blocked] = []
    watch = LoopWatch(SystemClock(), found.append)

    async def run() -> None:
        heart = watch.attach("loop")
        await asyncio.sleep(0.03)
        await case(watch)
        await asyncio.sleep(0.03)
        watch.detach(heart)

    asyncio.run(run())
    watch.close()
    return found


def test_what_blocks_the_loop_is_named_with_how_long_it_took() -> None:
    async def case(_: LoopWatch) -> None:
        block(0.3)

    blocked = max(watched(case), key=lambda each: each.blocked_ms)
    assert blocked.loop == "loop"
    assert 250 < blocked.blocked_ms < 500
    assert blocked.stack[0].startswith("isolation/test_watch.py:")
    assert blocked.stack[0].endswith(":block")
    assert any(line.endswith("case") for line in blocked.stack)
    assert blocked.cpu_ms < 100


def test_computing_is_told_from_waiting() -> None:
    async def case(_: LoopWatch) -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass

    blocked = max(watched(case), key=lambda each: each.blocked_ms)
    assert blocked.cpu_ms > 150


def test_a_loop_that_only_waits_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def case(_: LoopWatch) -> None:
        await asyncio.sleep(0.3)

    # The machine itself may stop for a moment; then nothing of ours is named.
    assert all("test_watch" not in line for each in watched(case) for line in each.stack)
    del caplog


def test_a_loop_that_does_not_come_back_is_reported_while_it_is_blocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = threading.Event()
    released: list[bool] = []

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "has not come back" in record.msg:
                told.set()

    handler = Telling()
    logging.getLogger("voicecall.isolation").addHandler(handler)

    async def case(_: LoopWatch) -> None:
        # Blocks until it has been reported.
        released.append(told.wait(10))

    try:
        assert watched(case)
    finally:
        logging.getLogger("voicecall.isolation").removeHandler(handler)
    assert released == [True]
    stuck = [each for each in caplog.records if "has not come back" in each.message]
    assert len(stuck) == 1
    assert "test_watch.py" in vars(stuck[0])["blocked_in"]


def test_another_thread_that_keeps_the_interpreter_is_named() -> None:
    begun = threading.Event()

    def hold() -> None:
        begun.wait(5)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            # One call in which the interpreter is not given away.
            sum(range(15_000_000))

    async def case(_: LoopWatch) -> None:
        holding = asyncio.create_task(asyncio.to_thread(hold))
        await asyncio.sleep(0.02)
        begun.set()
        await holding

    assert any(
        line.endswith("hold") for each in watched(case) for line in (*each.others, *each.stack)
    )


def test_reports_that_come_fast_are_logged_once_a_second_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    found: list[Blocked] = []

    async def run() -> None:
        heart = Heartbeat("loop", clock, 50, found.append, None)
        for _ in range(25):
            clock.advance_ms(100)
            heart._beat()
        heart.stop()

    asyncio.run(run())
    assert len(found) == 25
    assert [round(each.blocked_ms) for each in found] == [75] * 25
    assert [vars(record)["unreported"] for record in caplog.records] == [0, 9, 9]


def test_what_a_beat_itself_does_is_not_counted_as_blocking() -> None:
    clock = ManualClock()
    found: list[Blocked] = []

    async def run() -> None:
        heart = Heartbeat("loop", clock, 50, found.append, lambda: stand_still(clock))
        for _ in range(3):
            clock.advance_ms(20)
            heart._beat()
        heart.stop()

    asyncio.run(run())
    assert found == []


def test_several_loops_are_watched_by_one_thread_which_ends() -> None:
    found: list[Blocked] = []
    watch = LoopWatch(SystemClock(), found.append)

    async def other() -> None:
        heart = watch.attach("other")
        await asyncio.sleep(0.03)
        block(0.15)
        await asyncio.sleep(0.03)
        watch.detach(heart)

    async def run() -> None:
        heart = watch.attach("main")
        await asyncio.to_thread(asyncio.run, other())
        await soon(lambda: any(each.loop == "other" for each in found))
        watch.detach(heart)

    asyncio.run(run())
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("voicecall-watch") == 1
    watch.close()
    assert "voicecall-watch" not in [thread.name for thread in threading.enumerate()]
