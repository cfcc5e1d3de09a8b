"""A simulated model server and the vendor's own client for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI

from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai.resources.realtime.realtime import AsyncRealtimeConnection

    from voicecall.simulator.models.brain import Brain
    from voicecall.simulator.models.engines import ModelEngines

PATIENCE_S = 20.0


@asynccontextmanager
async def serving(
    *, engines: ModelEngines | None = None, brain: Brain | None = None, api_key: str | None = None
) -> AsyncGenerator[tuple[ModelServer, AsyncOpenAI]]:
    """A server with engines that take no time, unless others are given."""
    async with AsyncExitStack() as ending:
        server = await ending.enter_async_context(
            ModelServer(engines=engines or InstantEngines(), brain=brain)
        )
        client = AsyncOpenAI(
            base_url=server.base_url,
            api_key=api_key or server.world.api_key,
            max_retries=0,
            timeout=PATIENCE_S,
        )
        await ending.enter_async_context(client)
        await ending.enter_async_context(asyncio.timeout(2 * PATIENCE_S))
        yield server, client


async def until(connection: AsyncRealtimeConnection, *kinds: str) -> list[Any]:
    """Events up to the first of any of these kinds, that one included."""
    events: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            events.append(await connection.recv())
            if events[-1].type in kinds:
                return events
