from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from voicecall.clock import SystemClock
from voicecall.errors import SpeechError
from voicecall.isolation.guest import AHEAD, MAX_BLOCKING, Guest
from voicecall.isolation.watch import LoopWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytestmark = [pytest.mark.unit, pytest.mark.timed]

T = TypeVar("T")


def visiting(case: Callable[[Guest], Awaitable[T]]) -> T:
    """Run `case` with a guest that is closed afterwards."""

    async def run() -> T:
        watch = LoopWatch(SystemClock())
        guest = Guest("test", watch)
        try:
            async with asyncio.timeout(15):
                return await case(guest)
        finally:
            await guest.close()
            watch.close()

    return asyncio.run(run())


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (another thread brings it about)
            await asyncio.sleep(0.002)


def here() -> str:
    return threading.current_thread().name


def test_asynchronous_work_runs_in_the_guests_thread_and_its_result_comes_back() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return here()

    async def case(guest: Guest) -> list[str]:
        return [await guest.run(work(), 5) for _ in range(2)]

    assert visiting(case) == ["voicecall-test"] * 2


def test_what_work_raises_is_raised() -> None:
    async def work() -> None:
        raise KeyError("x")

    async def case(guest: Guest) -> None:
        with pytest.raises(KeyError):
            await guest.run(work(), 5)

    visiting(case)


def test_work_that_takes_too_long_is_cancelled() -> None:
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def case(guest: Guest) -> None:
        with pytest.raises(TimeoutError):
            await guest.run(work(), 0.02)
        await soon(cancelled.is_set)

    visiting(case)


def test_a_guest_that_blocks_keeps_nobody_waiting_beyond_the_deadline() -> None:
    release = threading.Event()

    async def work() -> None:
        release.wait(10)

    async def case(guest: Guest) -> None:
        with pytest.raises(TimeoutError):
            await guest.run(work(), 0.05)
        release.set()

    visiting(case)


def test_items_come_in_order_and_the_reading_ends_with_them() -> None:
    async def make() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    async def case(guest: Guest) -> list[int]:
        return [number async for number in guest.iterate(make)]

    assert visiting(case) == list(range(100))


def test_an_iteration_without_end_is_read_only_as_fast_as_it_is_taken() -> None:
    made: list[int] = []

    async def make() -> AsyncIterator[int]:
        for number in itertools.count():
            made.append(number)
            yield number

    async def case(guest: Guest) -> None:
        items = guest.iterate(make)
        for _ in range(5):
            await anext(items)
        await soon(lambda: len(made) >= 5 + AHEAD)
        # One more is made than there is room for, and waits.
        assert len(made) <= 5 + AHEAD + 1
        await items.aclose()

    visiting(case)


def test_what_an_iteration_raises_comes_after_its_items() -> None:
    async def make() -> AsyncIterator[int]:
        yield 1
        raise KeyError("x")

    async def case(guest: Guest) -> None:
        items = guest.iterate(make)
        assert await anext(items) == 1
        with pytest.raises(KeyError):
            await anext(items)

    visiting(case)


def test_leaving_an_iteration_closes_it_in_the_guest() -> None:
    closed: list[str] = []

    async def make() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(here())

    async def case(guest: Guest) -> None:
        items = guest.iterate(make)
        await anext(items)
        await items.aclose()
        await soon(lambda: closed)
        assert closed == ["voicecall-test"]

    visiting(case)


def test_a_blocking_iteration_keeps_no_other_waiting() -> None:
    release = threading.Event()

    def stuck() -> Iterator[str]:
        release.wait(10)
        yield here()

    def quick() -> Iterator[str]:
        yield here()

    async def case(guest: Guest) -> None:
        waiting = asyncio.ensure_future(anext(guest.iterate(stuck)))
        assert [each async for each in guest.iterate(quick)] == ["voicecall-test-call"]
        assert not waiting.done()
        release.set()
        assert await waiting == "voicecall-test-call"

    visiting(case)


def test_more_blocking_functions_than_threads_are_refused() -> None:
    release = threading.Event()

    def stuck() -> Iterator[None]:
        release.wait(10)
        yield None

    async def case(guest: Guest) -> None:
        stucks = [asyncio.ensure_future(anext(guest.iterate(stuck))) for _ in range(MAX_BLOCKING)]
        await soon(lambda: guest._blocking == MAX_BLOCKING)
        with pytest.raises(SpeechError, match="too many"):
            await anext(guest.iterate(stuck))
        release.set()
        await asyncio.gather(*stucks)
        assert [each async for each in guest.iterate(stuck)] == [None]

    visiting(case)


def test_a_guest_that_does_not_end_is_left_behind_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voicecall.isolation.guest.END_TIMEOUT_S", 0.05)
    release = threading.Event()

    async def work() -> None:
        release.wait(10)

    async def case(guest: Guest) -> Guest:
        with pytest.raises(TimeoutError):
            await guest.run(work(), 0.01)
        return guest

    guest = visiting(case)
    assert [vars(record)["guest"] for record in caplog.records if "end" in record.msg] == ["test"]
    release.set()
    guest._thread.join(5)
    assert not guest._thread.is_alive()


def test_after_its_end_a_guest_refuses_work() -> None:
    async def work() -> None:
        """Never begun."""

    async def case(guest: Guest) -> Any:
        await guest.run(work(), 5)
        return guest

    guest = visiting(case)

    async def late() -> None:
        guest.soon(lambda: None)
        with pytest.raises(SpeechError, match="not running"):
            await guest.run(work(), 1)

    asyncio.run(late())
