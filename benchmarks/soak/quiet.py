"""Waiting until nobody calls any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.soak.carrier import Carrier

# The longest that anything may outlast its caller: a peer that never read is given five seconds.
QUIET_S = 15.0


async def until_quiet(carrier: Carrier) -> list[str]:
    """Wait until no call lives and no media socket is open; what is still there if they stay."""
    try:
        async with asyncio.timeout(QUIET_S):
            while True:
                if not busy(await carrier.state()):
                    return []
                await asyncio.sleep(0.1)
    except TimeoutError:
        return busy(await carrier.state())


def busy(state: dict[str, dict[str, int]]) -> list[str]:
    """What `/readyz` says is at work."""
    counts = {
        "calls": state["calls"]["live"],
        "media sockets": state["streams"]["open"],
        "pending media sockets": state["streams"]["pending"],
    }
    return [f"{count} {what} are still there" for what, count in counts.items() if count]
