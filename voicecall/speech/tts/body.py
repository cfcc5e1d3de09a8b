"""Audio that comes as the body of an HTTP response, with deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a voice may take. In milliseconds.

    Attributes:
        connect_ms: until a connection is open.
        begin_ms: from the request to the first audio.
        gap_ms: between two pieces of audio.
    """

    connect_ms: int = 5_000
    begin_ms: int = 8_000
    gap_ms: int = 5_000


async def streamed(
    response: AbstractAsyncContextManager[R],
    pieces: Callable[[R], AsyncIterator[bytes]],
    *,
    service: str,
    patience: Patience,
) -> AsyncGenerator[bytes]:
    """The body of a response, piece by piece as the network brings it.

    Closing it leaves `response` at once, and with it the connection if the body is not complete.

    Args:
        response: sends the request and is entered once there are headers.
        pieces: of its body; may refuse the response by raising `SpeechError`.
        service: what to call the vendor in errors.
        patience: how long it may take.

    Raises:
        SpeechError: it took too long.
    """
    async with AsyncExitStack() as leaving:
        try:
            async with asyncio.timeout(patience.begin_ms / 1000):
                body = pieces(await leaving.enter_async_context(response))
                if isinstance(body, AsyncGenerator):
                    leaving.push_async_callback(body.aclose)
                piece = await anext(body, None)
        except TimeoutError as error:
            raise SpeechError(
                f"{service} did not begin to speak in time", retryable=True
            ) from error
        while piece is not None:
            if piece:
                yield piece
            piece = await _next(body, service, patience)


async def _next(body: AsyncIterator[bytes], service: str, patience: Patience) -> bytes | None:
    try:
        async with asyncio.timeout(patience.gap_ms / 1000):
            return await anext(body, None)
    except TimeoutError as error:
        raise SpeechError(f"{service} fell silent", retryable=True) from error
