from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from voicecall.errors import SpeechError
from voicecall.ports import ReplyText
from voicecall.speech.realtime.events import EventQueue

pytestmark = pytest.mark.unit


def test_events_come_in_order_and_end_when_the_queue_is_closed() -> None:
    async def case() -> None:
        queue = EventQueue()
        for text in "abc":
            await queue.put(ReplyText("r", text))
        queue.close()
        await queue.put(ReplyText("r", "too late"))
        assert [event async for event in queue] == [ReplyText("r", text) for text in "abc"]

    asyncio.run(case())


def test_a_full_queue_makes_the_sender_wait_and_loses_nothing() -> None:
    async def case() -> None:
        queue = EventQueue(size=2)
        sending = asyncio.create_task(send(queue))
        await asyncio.sleep(0)
        assert not sending.done()
        heard = [await anext(queue) for _ in range(5)]
        await sending
        assert heard == [ReplyText("r", str(number)) for number in range(5)]

    async def send(queue: EventQueue) -> None:
        for number in range(5):
            await queue.put(ReplyText("r", str(number)))

    asyncio.run(case())


def test_a_sender_does_not_wait_for_a_listener_that_has_closed_the_queue() -> None:
    async def case() -> None:
        queue = EventQueue(size=1)
        await queue.put(ReplyText("r", "1"))
        sending = asyncio.create_task(queue.put(ReplyText("r", "2")))
        await asyncio.sleep(0)
        queue.close()
        await asyncio.wait_for(sending, 1)

    asyncio.run(case())


def test_a_failure_is_raised_once_after_what_came_before_it() -> None:
    async def case() -> None:
        queue = EventQueue()
        await queue.put(ReplyText("r", "first"))
        queue.fail(SpeechError("broken"))
        queue.fail(SpeechError("broken again"))
        assert await anext(queue) == ReplyText("r", "first")
        with pytest.raises(SpeechError, match=r"broken$"):
            await anext(queue)
        with pytest.raises(StopAsyncIteration):
            await anext(queue)

    asyncio.run(case())


def test_a_failure_that_was_raised_leaves_no_cycle() -> None:
    async def case() -> weakref.ref[EventQueue]:
        queue = EventQueue()
        queue.fail(SpeechError("broken"))
        try:
            async for _ in queue:
                pass
        except SpeechError:
            pass
        return weakref.ref(queue)

    gc.disable()
    try:
        assert asyncio.run(case())() is None
    finally:
        gc.enable()
