from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.store.databases import DatabaseServer, linked
from tests.store.stores import run
from voicecall.errors import StoreError
from voicecall.store.redis_writer import RedisWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.store.redis_scripts import Command

pytestmark = pytest.mark.socket


class HeldLink:
    """Answers with the commands' own names once it is let go; breaks at one called BREAK."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.free = asyncio.Event()

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        await self.free.wait()
        self.groups.append(len(commands))
        names = [str(command[0]) for command in commands]
        if "AWAY" in names:
            raise StoreError("away")
        if "BREAK" in names:
            raise ValueError("broken")
        return [ValueError("refused") if name == "REFUSE" else name.encode() for name in names]


def held(**more: int) -> tuple[RedisWriter, HeldLink]:
    link = HeldLink()
    return RedisWriter(link, **more), link  # type: ignore[arg-type]  # all that a writer uses


def test_commands_run_in_order(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with linked(address) as link:
            writer = RedisWriter(link)
            lengths: list[Any] = await asyncio.gather(
                *(writer.submit(("RPUSH", f"{address.prefix}l", n)) for n in range(200))
            )
            assert lengths == list(range(1, 201))
            await writer.close(10)

    run(case())


def test_what_gathers_goes_together_and_no_more_than_a_group() -> None:
    async def case() -> None:
        writer, link = held()
        first = writer.submit(("FIRST",))
        await asyncio.sleep(0)
        rest = [writer.submit((f"R{n}",)) for n in range(100)]
        link.free.set()
        assert await asyncio.gather(first, *rest) == [b"FIRST", *(b"R%d" % n for n in range(100))]
        assert link.groups == [1, 64, 36]
        await writer.close(10)

    run(case())


def test_a_refused_change_and_one_that_breaks_spoil_no_other() -> None:
    async def case() -> None:
        writer, link = held()
        link.free.set()
        outcomes = await asyncio.gather(
            *(writer.submit((name,)) for name in ("A", "REFUSE", "BREAK", "B")),
            return_exceptions=True,
        )
        assert (outcomes[0], outcomes[3]) == (b"A", b"B")
        assert [str(each) for each in outcomes[1:3]] == [
            "the change could not be stored: refused",
            "the change could not be stored: broken",
        ]
        await writer.close(10)

    run(case())


def test_all_that_are_on_the_way_are_told_when_the_store_is_away() -> None:
    async def case() -> None:
        writer, link = held()
        link.free.set()
        outcomes = await asyncio.gather(
            writer.submit(("A",)), writer.submit(("AWAY",)), return_exceptions=True
        )
        assert all(isinstance(each, StoreError) for each in outcomes)
        assert outcomes[0] is not outcomes[1]
        assert await writer.submit(("LATER",)) == b"LATER"
        await writer.close(10)

    run(case())


def test_only_so_many_wait_and_none_after_closing() -> None:
    async def case() -> None:
        writer, link = held(max_waiting=2)
        waiting = [writer.submit((name,)) for name in ("A", "B")]
        with pytest.raises(StoreError, match="does not keep up: 2 changes wait"):
            _ = writer.submit(("C",))
        link.free.set()
        await writer.close(10)
        assert await asyncio.gather(*waiting) == [b"A", b"B"]
        await writer.close(10)
        with pytest.raises(StoreError, match="closed"):
            _ = writer.submit(("D",))

    run(case())


def test_closing_does_not_wait_for_ever() -> None:
    async def case() -> None:
        writer, _ = held()
        waiting = writer.submit(("A",))
        with pytest.raises(StoreError, match="1 changes could not be stored in time"):
            await writer.close(0.05)
        assert not waiting.done()

    run(case())


def test_a_change_that_nobody_waits_for_is_sent_all_the_same() -> None:
    async def case() -> None:
        writer, link = held()
        waiting = writer.submit(("A",))
        waiting.cancel()
        link.free.set()
        await writer.close(10)
        assert link.groups == [1]

    run(case())
