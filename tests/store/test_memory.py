from __future__ import annotations

import asyncio

import pytest

from tests.call.calls import record
from voicecall.call.record import CallState
from voicecall.store.memory import MemoryCallStore

pytestmark = pytest.mark.unit

CHANGE = {"type": "call.created", "timestamp": 1}


def test_a_call_is_found_by_either_id_while_live_and_after() -> None:
    async def case() -> None:
        store = MemoryCallStore()
        call = record(provider_call_id="CA1")
        await store.save(call.to_json(), CHANGE)
        assert await store.get("call-1") == await store.get("CA1") == call.to_json()
        assert [found["callId"] for found in await store.live()] == ["call-1"]
        call.state = CallState.COMPLETED
        await store.save(call.to_json(), CHANGE)
        assert await store.live() == []
        assert await store.get("CA1") == call.to_json()
        assert await store.get("other") is None
        await store.close()

    asyncio.run(case())


def test_the_oldest_ended_calls_are_forgotten_and_live_ones_are_not() -> None:
    async def case() -> None:
        store = MemoryCallStore(ended_limit=2)
        await store.save(record(call_id="live").to_json(), CHANGE)
        for n in range(4):
            done = record(CallState.COMPLETED, call_id=f"c{n}", provider_call_id=f"p{n}")
            await store.save(done.to_json(), CHANGE)
        assert await store.get("c1") is None
        assert await store.get("p1") is None
        assert await store.get("p2") is not None
        assert await store.get("live") is not None
        assert not any(key in store._by_provider_id for key in ("p0", "p1"))

    asyncio.run(case())


def test_recent_calls_come_newest_first() -> None:
    async def case() -> None:
        store = MemoryCallStore()
        for n, state in enumerate((CallState.COMPLETED, CallState.ACTIVE, CallState.BUSY)):
            await store.save(record(state, call_id=f"c{n}", started_at=n).to_json(), CHANGE)
        assert [found["callId"] for found in await store.recent(2)] == ["c2", "c1"]
        assert await store.recent(0) == []

    asyncio.run(case())
