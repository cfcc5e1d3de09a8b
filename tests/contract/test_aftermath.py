"""What is left of a server, its calls and its carrier: records, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from tests.contract.people import Person
from tests.contract.site import EVERY_WAY, Way, site
from tests.hosting import run, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


async def one_life(way: Way, folder: Path) -> str:
    async with site(way, Person(), store=str(folder / f"{way}.sqlite3")) as it:
        record = await it.call("Good day.", "notify")
        await it.over(record)
        stored = await it.server.manager.recent(1)
        assert [each.to_json() for each in stored] == [record.to_json()]
        left = await it.call("Hello.")
        await until(lambda: left.answered_at is not None)
    # The one that was still up was ended by the server's stop.
    assert left.end_reason is not None
    return left.call_id


def threads_of_ours() -> set[str]:
    """Names of threads that are not the event loop's own, of which it makes more as it likes."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith(("asyncio_", "uvloop_"))}


def test_servers_leave_neither_task_nor_thread_nor_file(tmp_path: Path) -> None:
    async def lives() -> list[str]:
        return await asyncio.gather(*(one_life(way, tmp_path) for way in EVERY_WAY))

    async def case() -> None:
        # The first ones warm up what a process has once: thread pools, resolvers.
        first = await lives()
        gc.collect()
        threads, descriptors = threads_of_ours(), len(os.listdir("/proc/self/fd"))
        second = await lives()
        assert not set(first) & set(second)
        await until(lambda: len(asyncio.all_tasks()) == 1)
        gc.collect()
        try:
            await until(lambda: threads_of_ours() <= threads)
        except TimeoutError:
            assert threads_of_ours() == threads
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)

    run(case(), within_s=60)
