"""Stored changes read from the running server: in order, each once, as they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import RemoteError, UnknownCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from voicecall import Client
    from voicecall.client.results import Changes

PAGE: Final = 1000
"""How many changes are asked for at once, the most the server gives."""

PATIENCE_S: Final = 60.0
"""How long a lost server is looked for."""

# Between looks for a lost server, at least; and between looks at a call of which nothing is told.
_RETRY_S: Final = 0.5
_CHECK_S: Final = 5.0
# Words that were said just before the end are recognised just after it.
_SETTLED_S: Final = 0.6


async def newest(client: Client) -> int:
    """The number of the newest change, 0 if there is none. Raises RemoteError."""
    return (await client.changes(since=-1, limit=1))["last"]


async def past(client: Client) -> Changes:
    """The newest 1000 changes, and where to go on from there. Raises RemoteError."""
    return await client.changes(since=-PAGE, limit=PAGE)


async def follow(
    client: Client, since: int, poll_s: float, on_loss: Callable[[str], None]
) -> AsyncGenerator[list[Mapping[str, Any]], None]:
    """Changes in the order in which they were stored, some at a time; without end.

    None is lost or told twice, even if the server is started anew in between: each is asked for by
    its number. An empty list says that there is nothing new.

    Args:
        client: whose changes.
        since: the number after which to begin; a negative one looks back so many changes.
        poll_s: how often to ask while nothing happens.
        on_loss: told, for people, that the server does not answer any more and is looked for.

    Raises:
        RemoteError: the server does not answer, from the first time on or for 60 s.
    """
    loop = asyncio.get_running_loop()
    give_up_s: float | None = None
    lost = False
    while True:
        try:
            page = await client.changes(since=since, limit=PAGE)
        except RemoteError as error:
            if not error.retryable or give_up_s is None or loop.time() > give_up_s:
                raise
            if not lost:
                lost = True
                on_loss(f"waiting for the server: {error}")
            await asyncio.sleep(max(poll_s, _RETRY_S))
            continue
        give_up_s, lost = loop.time() + PATIENCE_S, False
        since = page["last"]
        yield list(page["changes"])
        if not page["changes"]:
            await asyncio.sleep(poll_s)


async def follow_call(
    client: Client, call_id: str, since: int, poll_s: float, on_loss: Callable[[str], None]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The changes of one call, until it is over and nothing more is learned of it.

    Args:
        client: whose call.
        call_id: our id of it.
        since: the number after which to begin; the call must not have ended before it.
        poll_s: how often to ask while nothing happens.
        on_loss: as `follow` has it.

    Raises:
        RemoteError: as `follow` does.
        UnknownCall: the server knows no such call, or not any more.
    """
    loop = asyncio.get_running_loop()
    settled_at_s: float | None = None
    check_at_s = loop.time() + _CHECK_S
    async for changes in follow(client, since, poll_s, on_loss):
        for change in changes:
            if change.get("callId") != call_id:
                continue
            if change["type"] == "call.ended" or settled_at_s is not None:
                settled_at_s = loop.time() + _SETTLED_S
            yield change
        if settled_at_s is not None and loop.time() >= settled_at_s:
            return
        if changes:
            check_at_s = loop.time() + _CHECK_S
        elif loop.time() >= check_at_s:
            check_at_s = loop.time() + _CHECK_S
            if await _over(client, call_id):
                return


async def _over(client: Client, call_id: str) -> bool:
    """Whether nothing more will be told of a call, as by a server that was started anew."""
    try:
        record = await client.status(call_id)
    except RemoteError as error:
        if not error.retryable:
            raise
        # Whoever follows looks for it.
        return False
    if record is None:
        raise UnknownCall(f"the server does not know call {call_id} any more", call_id=call_id)
    return record["endedAt"] is not None
