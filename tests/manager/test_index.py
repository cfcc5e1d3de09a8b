from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.call.calls import record
from tests.manager.fakes import FakeStore
from voicecall.manager.actor import CallActor
from voicecall.manager.index import CallIndex, LiveCall

pytestmark = pytest.mark.unit


def live(call_id: str, **fields: Any) -> LiveCall:
    def ignore(*_: object) -> None:
        pass

    call = record(call_id=call_id, **fields)
    return LiveCall(CallActor(call, {}, store=FakeStore(), on_applied=ignore), opened_ns=0)


def test_a_call_is_found_by_either_id_until_it_is_forgotten() -> None:
    async def case() -> None:
        index = CallIndex(ended_limit=1)
        first, second = live("c1"), live("c2")
        for call in (first, second):
            index.add(call)
        assert index.learn(first, "p1")
        first.record.provider_call_id = "p1"
        assert index.live("c1") is index.live("p1") is first
        index.retire(first)
        assert index.live("p1") is None
        assert index.record("p1") is index.record("c1") is first.record
        index.retire(second)
        assert index.record("p1") is index.record("c1") is None
        assert index.record("c2") is second.record
        assert len(index) == 0

    asyncio.run(case())


def test_the_carriers_id_belongs_to_one_call_and_a_call_has_one() -> None:
    async def case() -> None:
        index = CallIndex()
        first, second = live("c1"), live("c2")
        assert index.learn(first, "p1")
        assert index.learn(first, "p1")
        assert not index.learn(first, "p2")
        assert not index.learn(second, "p1")
        assert second.provider_call_id is None

    asyncio.run(case())
