"""What every store of calls does alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.store import databases
from tests.store.stores import CREATED, opened, run, stored
from voicecall.call.record import CallRecord, CallState
from voicecall.ports import CallStore
from voicecall.store.memory import MemoryCallStore

pytestmark = pytest.mark.unit

Make: TypeAlias = Callable[[Path], AbstractAsyncContextManager[CallStore]]


@asynccontextmanager
async def in_memory(path: Path) -> AsyncIterator[CallStore]:
    del path
    store = MemoryCallStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "redis":
        server: databases.DatabaseServer = request.getfixturevalue("database")
        return lambda path: databases.opened(server.address(prefix=f"{path}:".replace("/", ".")))
    makers: dict[str, Make] = {"memory": in_memory, "sqlite": opened}
    return makers[request.param]


def test_a_call_is_found_by_either_id_while_live_and_after(make: Make, tmp_path: Path) -> None:
    async def case() -> None:
        async with make(tmp_path / "calls") as store:
            live = stored(provider_call_id="CA1", words=2)
            await store.save(live, CREATED)
            assert await store.get("call-1") == await store.get("CA1") == live
            assert await store.live() == [live]
            over = stored(CallState.BUSY, provider_call_id="CA1", words=2, ended_at=9)
            await store.save(over, CREATED)
            assert await store.live() == []
            assert await store.get("call-1") == await store.get("CA1") == over
            assert await store.get("other") is None

    run(case())


def test_a_record_comes_back_as_it_was_given(make: Make, tmp_path: Path) -> None:
    async def case() -> None:
        async with make(tmp_path / "calls") as store:
            given = stored(
                CallState.HANGUP_USER,
                words=3,
                answered_at=1_500,
                ended_at=9_999,
                end_reason=CallState.HANGUP_USER,
                metadata={"mode": "notify", "number": {"tts": None}, "odd": "half \ud83d, ✓, '"},
            )
            await store.save(given, CREATED)
            found = await store.get("call-1")
            assert found == given
            assert found is not None
            assert CallRecord.from_json(found).to_json() == given

    run(case())


def test_changes_of_all_calls_are_numbered_and_read_in_parts(make: Make, tmp_path: Path) -> None:
    async def case() -> None:
        async with make(tmp_path / "calls") as store:
            assert (await store.newest_change(), await store.changes()) == (0, [])
            given = [{"type": "call.ringing", "timestamp": n} for n in range(5)]
            for n, change in enumerate(given):
                await store.save(stored(call_id=f"c{n % 2}"), change)
            told = await store.changes()
            numbers = [number for number, _ in told]
            assert [change for _, change in told] == given
            assert numbers == sorted(set(numbers))
            assert await store.newest_change() == numbers[-1]
            assert await store.changes(after=numbers[1], limit=2) == told[2:4]
            assert await store.changes(after=numbers[-1]) == []

    run(case())


def test_the_newest_state_and_all_words_are_kept(make: Make, tmp_path: Path) -> None:
    async def case() -> None:
        async with make(tmp_path / "calls") as store:
            for words in (0, 1, 1, 4):
                await store.save(stored(words=words, metadata={"turnCount": words}), CREATED)
            assert await store.get("call-1") == stored(words=4, metadata={"turnCount": 4})
            # The last words are heard after the end.
            await store.save(stored(CallState.COMPLETED, words=5), CREATED)
            assert await store.get("call-1") == stored(CallState.COMPLETED, words=5)

    run(case())


def test_live_calls_come_oldest_first(make: Make, tmp_path: Path) -> None:
    async def case() -> None:
        async with make(tmp_path / "calls") as store:
            for n, state in enumerate((CallState.RINGING, CallState.BUSY, CallState.SPEAKING)):
                await store.save(stored(state, call_id=f"c{n}", started_at=n), CREATED)
            assert [found["callId"] for found in await store.live()] == ["c0", "c2"]

    run(case())


def test_recent_calls_come_newest_first(make: Make, tmp_path: Path) -> None:
    async def case() -> None:
        async with make(tmp_path / "calls") as store:
            for n, state in enumerate((CallState.COMPLETED, CallState.ACTIVE, CallState.BUSY)):
                await store.save(stored(state, call_id=f"c{n}", started_at=n), CREATED)
            # Of two calls of the same millisecond the later one is the newer.
            await store.save(stored(CallState.BUSY, call_id="c3", started_at=2), CREATED)
            assert [found["callId"] for found in await store.recent(3)] == ["c3", "c2", "c1"]
            assert await store.recent(0) == []
            assert await store.recent(-1) == []

    run(case())
