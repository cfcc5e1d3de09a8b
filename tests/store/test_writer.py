from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.store.stores import run
from voicecall.errors import StoreError
from voicecall.store.writer import GroupWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.unit


class Scribe:
    """A writer on a table of numbers, and what it did to its connection."""

    def __init__(self, max_waiting: int) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE numbers (n INTEGER)")
        self.statements: list[str] = []
        self.connection.set_trace_callback(self.statements.append)
        self.writer = GroupWriter(self.connection, max_waiting)
        self.gate = threading.Event()

    def add(self, n: int) -> asyncio.Future[int]:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT INTO numbers VALUES (?)", (n,))
            return n

        return self.writer.submit(work)

    def hold(self) -> asyncio.Future[bool]:
        """Occupy the thread, and it alone, until the gate opens, so that what follows gathers."""
        begun = threading.Event()

        def work(_: sqlite3.Connection) -> bool:
            begun.set()
            return self.gate.wait(10)

        held = self.writer.submit(work)
        assert begun.wait(10)
        return held

    def do(self, what: Callable[[sqlite3.Connection], object]) -> asyncio.Future[object]:
        return self.writer.submit(what)

    async def numbers(self) -> list[int]:
        return await self.writer.submit(
            lambda connection: [n for (n,) in connection.execute("SELECT n FROM numbers")]
        )

    def commits(self) -> int:
        return self.statements.count("COMMIT")


@asynccontextmanager
async def scribe(max_waiting: int = 10_000) -> AsyncIterator[Scribe]:
    made = Scribe(max_waiting)
    try:
        yield made
    finally:
        made.gate.set()
        await made.writer.close(5)


def test_work_is_done_in_order_and_what_waits_shares_a_commit() -> None:
    async def case() -> None:
        async with scribe() as made:
            held = made.hold()
            adding = [made.add(n) for n in range(700)]
            made.gate.set()
            assert await held
            assert await asyncio.gather(*adding) == list(range(700))
            assert made.commits() == 2
            assert await made.numbers() == list(range(700))

    run(case())


def test_a_group_has_a_limit() -> None:
    async def case() -> None:
        async with scribe() as made:
            _ = made.hold()
            adding = [made.add(n) for n in range(2500)]
            made.gate.set()
            await asyncio.gather(*adding)
            assert made.commits() == 4

    run(case())


def test_work_that_fails_is_undone_without_the_rest() -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (-1)")
        raise ZeroDivisionError("half done")

    async def case() -> None:
        async with scribe() as made:
            _ = made.hold()
            before, broken, after = made.add(1), made.do(half), made.add(2)
            made.gate.set()
            assert (await before, await after) == (1, 2)
            with pytest.raises(StoreError, match="half done") as failure:
                await broken
            assert isinstance(failure.value.__cause__, ZeroDivisionError)
            assert await made.numbers() == [1, 2]

    run(case())


def test_trouble_with_the_file_fails_the_whole_group_and_the_next_may_succeed() -> None:
    def full(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def case() -> None:
        async with scribe() as made:
            _ = made.hold()
            adding: list[asyncio.Future[Any]] = [made.add(1), made.do(full), made.add(2)]
            made.gate.set()
            outcomes = await asyncio.gather(*adding, return_exceptions=True)
            assert [str(each) for each in outcomes] == [
                "the change could not be stored: database or disk is full"
            ] * 3
            assert len({id(each) for each in outcomes}) == 3
            assert await made.numbers() == []
            assert await made.add(3) == 3

    run(case())


def test_more_than_may_wait_is_refused_at_once_and_later_there_is_room_again() -> None:
    async def case() -> None:
        async with scribe(max_waiting=3) as made:
            held = made.hold()
            adding = [made.add(1), made.add(2)]
            with pytest.raises(StoreError, match="does not keep up: 3 changes wait"):
                _ = made.add(3)
            made.gate.set()
            await asyncio.gather(held, *adding)
            assert await made.add(4) == 4
            assert await made.numbers() == [1, 2, 4]

    run(case())


def test_whoever_stops_waiting_stops_nothing() -> None:
    async def case() -> None:
        async with scribe() as made:
            _ = made.hold()
            made.add(1).cancel()
            made.gate.set()
            assert await made.add(2) == 2
            assert await made.numbers() == [1, 2]

    run(case())


def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    async def case() -> None:
        made = Scribe(10)
        _ = made.hold()
        adding = [made.add(n) for n in range(5)]
        closing = asyncio.create_task(made.writer.close(5))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="closed"):
            _ = made.add(6)
        made.gate.set()
        await closing
        assert [each.result() for each in adding] == list(range(5))
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            made.connection.execute("SELECT 1")
        await made.writer.close(5)

    run(case())


def test_a_disk_that_hangs_does_not_hold_up_closing_for_ever() -> None:
    async def case() -> None:
        made = Scribe(10)
        held = made.hold()
        with pytest.raises(StoreError, match="1 changes could not be stored in time"):
            await made.writer.close(0.01)
        made.gate.set()
        await held
        await made.writer.close(5)

    run(case())


def test_a_loop_that_ends_without_closing_leaves_no_thread() -> None:
    async def forgetful() -> Scribe:
        return Scribe(10)

    made = asyncio.run(forgetful())
    made.writer._jobs.put(None)
    made.writer._thread.join(5)
    assert not made.writer._thread.is_alive()
