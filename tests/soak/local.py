"""A whole server in the test's process, its mock calls held by the callers of the soak runs."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.soak import census, flatness
from benchmarks.soak.carrier import Carrier, Dials
from benchmarks.soak.churn import STREAM_PATH, Site
from benchmarks.soak.quiet import until_quiet
from benchmarks.soak.target import Switchboard, config, free_port
from voicecall.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

LIMIT_S = 100.0
SETTLED_S = 10.0


def run(case: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await case

    uvloop.run(limited())


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """A server that can be called, and its carrier."""
    dials = Dials()
    switchboard = Switchboard(dials.on_dial)
    port = free_port()
    async with Server(config(port), callee=switchboard) as server:
        following = asyncio.create_task(switchboard.follow(server.manager))
        async with Carrier(server.control_url, dials) as carrier:
            yield Site(carrier, f"ws://127.0.0.1:{port}{STREAM_PATH}")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def ours(*, collect: bool = True) -> dict[str, Any]:
    """A census of the server's objects, without those of the callers in the same process."""
    taken = census.full(collect=collect)
    taken["classes"] = {
        kind: count
        for kind, count in taken["classes"].items()
        if kind.startswith("voicecall.") and not kind.startswith("voicecall.simulator.")
    }
    taken["tasks"] = 0
    return taken


async def left_over(site: Site, before: dict[str, Any], *, collect: bool = True) -> list[str]:
    """What there is more of than `before`, once nobody calls and everything had time to go."""
    left = await until_quiet(site.carrier)
    await site.carrier.hang_up_connections()
    loop = asyncio.get_running_loop()
    end_s = loop.time() + SETTLED_S
    while True:
        more = flatness.left_over(before, ours(collect=collect))
        if not more or loop.time() > end_s:
            return left + more
        await asyncio.sleep(0.1)


@asynccontextmanager
async def without_collector() -> AsyncIterator[None]:
    """Whatever is freed here is freed because nothing refers to it any more."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
