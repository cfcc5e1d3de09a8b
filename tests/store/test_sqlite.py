from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.store.stores import CREATED, ended, opened, run, stored
from voicecall.call.record import CallState
from voicecall.clock import ManualClock
from voicecall.errors import StoreError
from voicecall.store import sqlite
from voicecall.store.retention import Retention
from voicecall.store.sqlite import SqliteCallStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

DAY_MS = 86_400_000


def change(number: int, call_id: str = "call-1") -> dict[str, Any]:
    return {"type": "call.turn", "timestamp": number, "callId": call_id}


def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        async with opened(path) as store:
            await store.save(stored(words=2), CREATED)
        async with opened(path) as store:
            assert await store.live() == [stored(words=2)]
            assert await store.history("call-1") == [CREATED]

    run(case())
    assert sorted(found.name for found in tmp_path.iterdir()) == ["calls", "calls.lock"]


def test_changes_are_kept_in_order_of_all_calls_and_of_one(tmp_path: Path) -> None:
    async def case() -> None:
        async with opened(tmp_path / "calls") as store:
            for n in range(6):
                call_id = f"c{n % 2}"
                await store.save(stored(call_id=call_id), change(n, call_id))
            told = await store.changes()
            assert [each["timestamp"] for _, each in told] == list(range(6))
            numbers = [number for number, _ in told]
            assert numbers == sorted(set(numbers))
            assert await store.changes(after=numbers[3]) == told[4:]
            assert await store.changes(after=numbers[0], limit=2) == told[1:3]
            assert await store.history("c1") == [change(n, "c1") for n in (1, 3, 5)]
            assert await store.history("other") == []

    run(case())


def test_changes_that_come_together_share_commits(tmp_path: Path) -> None:
    async def case() -> None:
        elapsed: list[float] = []
        async with opened(tmp_path / "calls", on_stored=elapsed.append) as store:
            connection = sqlite3.connect(tmp_path / "calls")
            seen: set[int] = set()
            seen.add(connection.execute("PRAGMA data_version").fetchone()[0])

            async def save(n: int) -> None:
                await store.save(stored(call_id=f"c{n}"), change(n))
                seen.add(connection.execute("PRAGMA data_version").fetchone()[0])

            await asyncio.gather(*(save(n) for n in range(500)))
            connection.close()
            assert len(await store.live()) == 500
        # The first may go alone, the others gather meanwhile.
        assert len(seen) - 1 <= 5
        assert len(elapsed) == 500
        assert all(each > 0 for each in elapsed)

    run(case())


def test_a_change_that_nobody_waited_for_and_that_comes_again_is_kept_once(tmp_path: Path) -> None:
    async def case() -> None:
        async with opened(tmp_path / "calls") as store:
            gate = threading.Event()
            stuck = store._opened.writer.submit(lambda _: gate.wait(10))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await store.save(stored(), first := change(1))
            again = asyncio.create_task(store.save(stored(words=1), first))
            await asyncio.sleep(0)
            gate.set()
            await again
            assert await stuck
            await store.save(stored(words=1), change(2))
            assert await store.history("call-1") == [change(1), change(2)]
            assert await store.get("call-1") == stored(words=1)
            assert not store._abandoned

    run(case())


def test_changes_that_were_abandoned_are_remembered_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_ABANDONED_LIMIT", 3)

    async def case() -> None:
        async with opened(tmp_path / "calls") as store:
            for n in range(5):
                saving = asyncio.create_task(store.save(stored(call_id=f"c{n}"), change(n)))
                await asyncio.sleep(0)
                saving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await saving
            assert list(store._abandoned) == ["c2", "c3", "c4"]
        async with opened(tmp_path / "calls") as store:
            assert len(await store.live()) == 5

    run(case())


def test_a_record_that_cannot_be_stored_is_refused_and_the_others_are_stored(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        async with opened(tmp_path / "calls") as store:
            with pytest.raises(StoreError, match="no call record: KeyError"):
                await store.save({"callId": "c0"}, CREATED)
            with pytest.raises(StoreError, match="no JSON"):
                await store.save(stored(metadata={"odd": object()}), CREATED)
            with pytest.raises(StoreError, match="no JSON"):
                await store.save(stored(), {"odd": object()})
            unwritable = stored(call_id="half \ud83d")
            outcomes = await asyncio.gather(
                store.save(stored(call_id="c1"), CREATED),
                store.save(unwritable, CREATED),
                store.save(stored(call_id="c2"), CREATED),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [type(None), StoreError, type(None)]
            assert [found["callId"] for found in await store.live()] == ["c1", "c2"]

    run(case())


def test_closing_stores_what_is_waiting_and_then_refuses(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        store = SqliteCallStore(path, clock=ManualClock())
        with pytest.raises(StoreError, match="not open"):
            await store.save(stored(), CREATED)
        await store.open()
        saves = [
            asyncio.create_task(store.save(stored(call_id=f"c{n}"), CREATED)) for n in range(100)
        ]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*saves)
        await store.close()
        with pytest.raises(StoreError, match="not open"):
            await store.live()
        async with opened(path) as again:
            assert len(await again.live()) == 100

    run(case())


def test_a_second_server_is_kept_off_until_the_first_is_gone(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        async with opened(path):
            with pytest.raises(StoreError, match="used by another voicecall server"):
                await SqliteCallStore(path, clock=ManualClock()).open()
        async with opened(path):
            pass

    run(case())


def test_a_store_that_does_not_open_leaves_no_lock(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        path.write_text("no database, but long enough to look like one" * 100)
        for _ in range(2):
            with pytest.raises(StoreError, match="no call store"):
                await SqliteCallStore(path, clock=ManualClock()).open()
        assert path.read_text().startswith("no database")

    run(case())


def test_pruning_forgets_whole_calls_in_steps_between_which_others_are_stored(
    tmp_path: Path,
) -> None:
    async def case() -> None:
        async with opened(tmp_path / "calls") as store:
            await asyncio.gather(
                *(store.save(ended(f"c{n}", n, words=3), change(n)) for n in range(90)),
                store.save(stored(call_id="live"), change(90)),
            )
            pruning = asyncio.create_task(store.prune(Retention(calls=10)))
            between = 0
            while not pruning.done():
                await store.save(stored(call_id="live"), change(91))
                between += not pruning.done()
            assert await pruning == 80
            assert between >= 2
            assert {found["callId"] for found in await store.recent(200)} == {
                "live",
                *(f"c{n}" for n in range(80, 90)),
            }
            assert await store.get("c79") is None
            assert await store.history("c79") == []
            assert await store.history("c80") == [change(80)]
            assert await store.prune(Retention(calls=10)) == 0

    run(case())


def test_retention_is_looked_after_in_the_background(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        clock = ManualClock()
        now_ms = clock.wall_ms()
        async with opened(path, clock=clock) as store:
            await store.save(ended("old", now_ms - 3 * DAY_MS), CREATED)
            await store.save(ended("new", now_ms - DAY_MS), CREATED)
            await store.save(stored(CallState.ACTIVE, call_id="live", started_at=1), CREATED)
        async with opened(path, clock=clock, retention=Retention(days=2)) as store:
            # The store's own task comes first and leaves nothing.
            await asyncio.sleep(0)
            assert await store.prune(Retention(days=2)) == 0
            assert await store.get("old") is None
            assert await store.get("new") is not None
            assert await store.get("live") is not None

    run(case())


def test_the_numbers_of_changes_never_come_again(tmp_path: Path) -> None:
    """So that whoever follows the changes by number misses none."""

    async def case() -> None:
        async with opened(tmp_path / "calls") as store:
            await store.save(ended("c1", 5), change(1))
            ((first, _),) = await store.changes()
            assert await store.prune(Retention(calls=0)) == 1
            await store.save(ended("c2", 6), change(2))
            assert await store.changes(after=first) == [(first + 1, change(2))]

    run(case())


def test_a_tool_may_prune_while_a_server_is_at_work(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "calls"
        async with opened(path) as server, opened(path, shared=True) as tool:
            await asyncio.gather(*(server.save(ended(f"c{n}", n), CREATED) for n in range(50)))
            pruning = asyncio.create_task(tool.prune(Retention(calls=10)))
            for n in range(50, 60):
                await server.save(stored(call_id=f"c{n}"), CREATED)
            assert await pruning == 40
            assert len(await server.live()) == 10
            assert len(await server.recent(100)) == 20

    run(case())
