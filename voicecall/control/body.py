"""Reading a request's body without trusting its sender."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

# The rest of a body that is refused is not read: the connection has to go.
_CLOSE = {"connection": "close"}


async def read_body(request: Request, *, limit_octets: int, timeout_s: float) -> bytes:
    """The whole body, read in time and within the limit.

    Args:
        request: not read from yet.
        limit_octets: the longest body taken; nothing beyond it is buffered.
        timeout_s: within which all of it has to arrive.

    Raises:
        HTTPException: 413 too long, 408 too slow, 400 the client went away half-way.
    """
    if _declared_octets(request) > limit_octets:
        raise HTTPException(413, headers=_CLOSE)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in request.stream():
                body += piece
                if len(body) > limit_octets:
                    raise HTTPException(413, headers=_CLOSE)
    except TimeoutError:
        raise HTTPException(408, headers=_CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, headers=_CLOSE) from None
    return bytes(body)


def _declared_octets(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0
