from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.session.fakes import run
from voicecall.session.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.unit


class Counter:
    """Counts to three, then waits for ever; cannot be closed."""

    def __init__(self) -> None:
        self.count = 0

    def __aiter__(self) -> Counter:
        return self

    async def __anext__(self) -> int:
        self.count += 1
        if self.count > 3:
            await asyncio.Event().wait()
        return self.count


def test_waiting_too_long_for_an_item_is_an_error() -> None:
    async def case() -> None:
        seen: list[int] = []

        async def read() -> None:
            async with Source(Counter(), 0.001) as numbers:
                while True:
                    seen.append(await anext(numbers))

        with pytest.raises(TimeoutError):
            await read()
        assert seen == [1, 2, 3]

    run(case())


def test_what_is_read_is_closed_when_the_block_is_left() -> None:
    async def case() -> None:
        closed = asyncio.Event()

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                closed.set()

        async with Source(numbers(), 1) as source:
            assert await anext(source) == 1
        assert closed.is_set()

    run(case())


def test_closing_has_a_deadline_too() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.Event().wait()

    async def read() -> None:
        async with Source(numbers(), 0.01) as source:
            assert await anext(source) == 1

    async def case() -> None:
        with pytest.raises(TimeoutError):
            await read()

    run(case())
