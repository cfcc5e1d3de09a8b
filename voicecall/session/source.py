"""Reading somebody else's stream: with a deadline for each item, and closed at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

T = TypeVar("T")


class Source(Generic[T]):
    """An asynchronous iterator that is closed when the block that reads it is left.

    Args:
        items: what to read; when it has `aclose`, leaving the block calls it.
        timeout_s: how long the next item may take, and closing. Waiting longer raises
            `TimeoutError`.
    """

    def __init__(self, items: AsyncIterator[T], timeout_s: float) -> None:
        self._items = items
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close = getattr(self._items, "aclose", None)
        if close is not None:
            async with asyncio.timeout(self._timeout_s):
                await close()

    def __aiter__(self) -> Source[T]:
        return self

    async def __anext__(self) -> T:
        async with asyncio.timeout(self._timeout_s):
            return await anext(self._items)
