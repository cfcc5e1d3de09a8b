from __future__ import annotations

import asyncio

import pytest

from voicecall.errors import SpeechError
from voicecall.ports import PartialTranscript
from voicecall.speech.stt.results import ResultQueue

pytestmark = pytest.mark.unit


def texts(queue: ResultQueue, into: list[str]) -> asyncio.Task[None]:
    async def read() -> None:
        async for result in queue:
            assert isinstance(result, PartialTranscript)
            into.append(result.text)

    return asyncio.create_task(read())


def test_results_come_in_order_and_end_with_the_queue() -> None:
    async def case() -> None:
        queue = ResultQueue()
        heard: list[str] = []
        reader = texts(queue, heard)
        await asyncio.sleep(0)
        for text in "abc":
            queue.put(PartialTranscript(text))
        queue.close()
        queue.put(PartialTranscript("late"))
        await asyncio.wait_for(reader, 1)
        assert heard == ["a", "b", "c"]

    asyncio.run(case())


def test_a_failure_is_raised_after_the_results_before_it() -> None:
    async def case() -> None:
        queue = ResultQueue()
        queue.put(PartialTranscript("a"))
        queue.fail(SpeechError("broken"))
        queue.fail(SpeechError("again"))
        heard: list[str] = []
        with pytest.raises(SpeechError, match="broken"):
            await asyncio.wait_for(texts(queue, heard), 1)
        assert heard == ["a"]

    asyncio.run(case())


def test_the_oldest_result_is_dropped_and_counted_when_nobody_reads() -> None:
    async def case() -> None:
        queue = ResultQueue(size=2)
        for text in "abcd":
            queue.put(PartialTranscript(text))
        queue.close()
        heard: list[str] = []
        await asyncio.wait_for(texts(queue, heard), 1)
        assert heard == ["c", "d"]
        assert queue.dropped == 2

    asyncio.run(case())
