from __future__ import annotations

import asyncio

import pytest

from voicecall.errors import InvalidRequest, TranscriptTimeout
from voicecall.manager.operations import AskResult, Operations

pytestmark = pytest.mark.unit


async def says(text: str) -> str:
    return text


async def fails(error: Exception) -> str:
    raise error


def test_an_operation_tells_how_it_stands() -> None:
    async def case() -> None:
        operations, gate = Operations(), asyncio.get_running_loop().create_future()

        async def waits() -> str:
            await gate
            return "yes"

        task = asyncio.ensure_future(waits())
        key = operations.add(task)
        assert operations.result(key) == AskResult("pending")
        gate.set_result(None)
        await task
        assert operations.result(key) == AskResult("done", transcript="yes")
        silent = asyncio.ensure_future(fails(TranscriptTimeout("nothing in time")))
        broken = asyncio.ensure_future(fails(RuntimeError("internal detail")))
        await asyncio.wait({silent, broken})
        assert operations.result(operations.add(silent)).error == "nothing in time"
        assert operations.result(operations.add(broken)).error == "something went wrong"
        stopped = asyncio.ensure_future(says("no"))
        stopped.cancel()
        await asyncio.wait({stopped})
        assert operations.result(operations.add(stopped)).status == "failed"

    asyncio.run(case())


def test_the_oldest_settled_operation_makes_room_and_pending_ones_stay() -> None:
    async def case() -> None:
        operations = Operations(capacity=2)
        pending = asyncio.ensure_future(asyncio.Event().wait())
        kept = operations.add(pending)  # type: ignore[arg-type]  # what it returns does not matter
        done = asyncio.ensure_future(says("x"))
        await done
        first = operations.add(done)
        second = operations.add(done)
        assert len(operations) == 2
        assert operations.result(kept).status == "pending"
        assert operations.result(second).status == "done"
        with pytest.raises(InvalidRequest):
            operations.result(first)
        pending.cancel()

    asyncio.run(case())
