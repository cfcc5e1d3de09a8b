from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from tests.store.stores import run
from voicecall.errors import StoreError
from voicecall.store import reader
from voicecall.store.reader import Reader

pytestmark = pytest.mark.unit


def connection() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


def one(asked: sqlite3.Connection) -> int:
    return int(asked.execute("SELECT 1").fetchone()[0])


def test_questions_are_answered_off_the_loop() -> None:
    async def case() -> None:
        asked = Reader(connection())
        assert await asked.ask(one) == 1
        assert await asked.ask(lambda _: threading.current_thread().name) != "MainThread"
        await asked.close(5)
        await asked.close(5)
        with pytest.raises(StoreError, match="closed"):
            await asked.ask(one)

    run(case())


def test_questions_that_fail_say_why() -> None:
    def undecodable(_: sqlite3.Connection) -> None:
        raise ValueError("no JSON")

    async def case() -> None:
        asked = Reader(connection())
        with pytest.raises(StoreError, match="could not be read: no such table: calls"):
            await asked.ask(lambda database: database.execute("SELECT * FROM calls"))
        with pytest.raises(StoreError, match="could not be read: no JSON"):
            await asked.ask(undecodable)
        assert await asked.ask(one) == 1
        await asked.close(5)

    run(case())


def test_nobody_waits_for_ever_and_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_TIMEOUT_S", 0.01)

    async def case() -> None:
        gate = threading.Event()
        asked = Reader(connection(), max_waiting=2)
        slow = asyncio.create_task(asked.ask(lambda _: gate.wait(10)))
        with pytest.raises(StoreError, match="did not answer in time"):
            await slow
        # The thread is still at it, so the question still counts.
        waiting = asyncio.create_task(asked.ask(one))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="does not keep up: 2 questions"):
            await asked.ask(one)
        with pytest.raises(StoreError, match="did not answer in time"):
            await waiting
        with pytest.raises(StoreError, match="still being read"):
            await asked.close(0.01)
        gate.set()

    run(case())
