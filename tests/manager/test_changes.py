from __future__ import annotations

import asyncio
import gc

import pytest

from voicecall.clock import ManualClock
from voicecall.manager.changes import ChangeFeed

pytestmark = pytest.mark.unit


def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many() -> None:
    async def case() -> None:
        feed = ChangeFeed(ManualClock(), capacity=3)
        slow = feed.subscribe()
        for n in range(5):
            feed.publish({"type": "call.ringing", "n": n})
        assert slow.dropped == 2
        feed.close()
        told = [change async for change in slow]
        assert told[0]["type"] == "gap"
        assert told[0]["dropped"] == 2
        assert [change["n"] for change in told[1:]] == [2, 3, 4]

    asyncio.run(case())


def test_each_subscriber_hears_what_comes_after_it_subscribed() -> None:
    async def case() -> None:
        feed = ChangeFeed(ManualClock())
        early = feed.subscribe()
        feed.publish({"n": 1})
        late = feed.subscribe()
        waiting = asyncio.ensure_future(anext(late))
        await asyncio.sleep(0)
        feed.publish({"n": 2})
        assert await waiting == {"n": 2}
        feed.close()
        assert [change["n"] async for change in early] == [1, 2]
        assert [change async for change in feed.subscribe()] == []

    asyncio.run(case())


def test_who_follows_one_call_hears_of_that_only_and_until_it_is_over() -> None:
    async def case() -> None:
        feed = ChangeFeed(ManualClock())
        one = feed.subscribe("a")
        feed.publish({"callId": "a", "n": 1})
        feed.publish({"callId": "b", "n": 2})
        feed.publish({"n": 3})
        feed.over("b")
        feed.publish({"callId": "a", "n": 4})
        feed.over("a")
        feed.publish({"callId": "a", "n": 5})
        assert [change["n"] async for change in one] == [1, 4]
        assert not feed._to_one

    asyncio.run(case())


def test_a_closed_or_forgotten_subscription_takes_nothing_more() -> None:
    async def case() -> None:
        feed = ChangeFeed(ManualClock())
        closed, forgotten = feed.subscribe(), feed.subscribe()
        feed.publish({"n": 1})
        await closed.aclose()
        feed.publish({"n": 2})
        assert [change async for change in closed] == []
        assert len(feed._to_all) == 2
        del forgotten
        gc.collect()
        assert len(feed._to_all) == 1

    asyncio.run(case())
