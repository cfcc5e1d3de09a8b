from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from tests.session.fakes import run
from voicecall.session import wreckage

pytestmark = pytest.mark.unit


class Thing:
    """Something that is at work when a task is cancelled."""


async def at_work(thing: Thing, begun: asyncio.Event) -> None:
    async with asyncio.TaskGroup():
        begun.set()
        await asyncio.get_running_loop().create_future()
    raise AssertionError(thing)


def test_what_was_at_work_in_a_cancelled_task_is_freed_without_the_collector() -> None:
    async def case() -> None:
        thing, begun = Thing(), asyncio.Event()
        freed = weakref.ref(thing)
        task = asyncio.create_task(at_work(thing, begun))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        del thing
        assert freed() is not None
        wreckage.clear(task)
        assert freed() is None

    gc.disable()
    try:
        run(case())
    finally:
        gc.enable()


def test_a_task_that_ended_otherwise_is_left_alone() -> None:
    async def fails() -> None:
        raise KeyError("a bug")

    async def case() -> None:
        fine, failed = asyncio.create_task(asyncio.sleep(0, 1)), asyncio.create_task(fails())
        await asyncio.wait({fine, failed})
        wreckage.clear(fine)
        wreckage.clear(failed)
        assert fine.result() == 1
        assert isinstance(failed.exception(), KeyError)

    run(case())
