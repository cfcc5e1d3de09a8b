from __future__ import annotations

import asyncio
import logging

import pytest

from voicecall.errors import CallHasEnded
from voicecall.manager.tasks import Tasks

pytestmark = pytest.mark.unit


async def fail(error: Exception) -> None:
    raise error


def test_failures_nobody_waits_for_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        tasks = Tasks()
        tasks.spawn(fail(RuntimeError("a bug")), "bug")
        tasks.spawn(fail(CallHasEnded("over")), "expected")
        await tasks.close(1)
        assert len(tasks) == 0

    with caplog.at_level(logging.INFO, "voicecall.manager"):
        asyncio.run(case())
    levels = {entry.message: entry.levelname for entry in caplog.records}
    assert levels == {"work broke": "ERROR", "work failed": "INFO"}


def test_closing_waits_for_work_and_for_what_it_starts_and_cancels_the_rest() -> None:
    async def case() -> None:
        tasks, done = Tasks(), list[str]()

        async def second() -> None:
            await asyncio.sleep(0)
            done.append("second")

        async def first() -> None:
            await asyncio.sleep(0)
            tasks.spawn(second(), "second")
            done.append("first")

        tasks.spawn(first(), "first")
        endless = tasks.start(asyncio.Event().wait(), "endless")
        await tasks.close(0.05)
        assert done == ["first", "second"]
        assert endless.cancelled()

    asyncio.run(case())
