"""Questions to callers whose client does not wait for the answer any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request

T = TypeVar("T")

_ASK: Final = "voicecall.continue"


def asks(message: bytes) -> bool:
    """Whether a JSON-RPC message waits for what a caller says next.

    All else is done whether anybody waits for it or not, also what is in a batch.
    """
    # Most messages are something else, and are not worth decoding twice.
    if _ASK.encode() not in message:
        return False
    try:
        request = orjson.loads(message)
    except orjson.JSONDecodeError:
        return False
    return isinstance(request, dict) and request.get("method") == _ASK


async def while_connected(request: Request, answering: Coroutine[Any, Any, T]) -> T | None:
    """The answer to a request whose body has been read; None if its client has gone.

    Then it is cancelled: whoever waited for a caller's next words, and does not any more, must not
    keep others from asking.
    """
    answer = asyncio.create_task(answering, name="rpc answer")
    gone = asyncio.create_task(_gone(request), name="rpc client")
    both: set[asyncio.Task[Any]] = {answer, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return await answer if answer.done() else None
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
