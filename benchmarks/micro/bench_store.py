"""Storing changes of 1, 50 and 1000 calls at once, against one commit a change.

Both write the same rows with the same promise: a change is on the disk once it is acknowledged.
"""

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from voicecall.call.record import CallRecord, CallState, Direction, Speaker, TranscriptEntry
from voicecall.clock import SystemClock
from voicecall.store.database import make_private, open_to_write
from voicecall.store.rows import CallRow, encoded
from voicecall.store.sqlite import SqliteCallStore

Benchmark = Callable[..., Any]

CHANGE = {"type": "call.speech", "timestamp": 1, "transcript": "When are you open?"}


def records(count: int) -> list[dict[str, Any]]:
    """As many calls, each in the middle of a conversation."""
    said = [TranscriptEntry(n, Speaker.USER, "When are you open?") for n in range(8)]
    return [
        CallRecord(
            call_id=f"call-{n}",
            provider="mock",
            direction=Direction.OUTBOUND,
            state=CallState.LISTENING,
            from_number="+15550000001",
            to_number="+15550000002",
            session_key="voice:15550000002",
            started_at=n,
            provider_call_id=f"CA{n}",
            transcript=said,
            metadata={"mode": "conversation", "turnCount": 4},
        ).to_json()
        for n in range(count)
    ]


@contextlib.contextmanager
def new_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="voicecall-bench-") as folder:
        yield Path(folder) / "calls"


def save_together(benchmark: Benchmark, count: int) -> None:
    with new_file() as path, asyncio.Runner() as runner:
        store = SqliteCallStore(path, clock=SystemClock())
        runner.run(store.open())
        calls = records(count)

        async def save() -> None:
            await asyncio.gather(*(store.save(call, CHANGE) for call in calls))

        benchmark(lambda: runner.run(save()))
        runner.run(store.close())


def commit_each(benchmark: Benchmark, count: int) -> None:
    with new_file() as path:
        make_private(path)
        connection = open_to_write(path)
        benchmark(commit_all, connection, records(count))
        connection.close()


def commit_all(connection: sqlite3.Connection, calls: list[dict[str, Any]]) -> None:
    for call in calls:
        connection.execute("BEGIN IMMEDIATE")
        CallRow.of(call).write(connection, encoded(CHANGE))
        connection.execute("COMMIT")


@pytest.mark.benchmark(group="store 1 at once")
def test_save__1(benchmark: Benchmark) -> None:
    save_together(benchmark, 1)


@pytest.mark.benchmark(group="store 1 at once")
def test_baseline_commit_each__1(benchmark: Benchmark) -> None:
    commit_each(benchmark, 1)


@pytest.mark.benchmark(group="store 50 at once")
def test_save__50(benchmark: Benchmark) -> None:
    save_together(benchmark, 50)


@pytest.mark.benchmark(group="store 50 at once")
def test_baseline_commit_each__50(benchmark: Benchmark) -> None:
    commit_each(benchmark, 50)


@pytest.mark.benchmark(group="store 1000 at once")
def test_save__1000(benchmark: Benchmark) -> None:
    save_together(benchmark, 1000)


@pytest.mark.benchmark(group="store 1000 at once")
def test_baseline_commit_each__1000(benchmark: Benchmark) -> None:
    commit_each(benchmark, 1000)
