from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.simulator.models.faults import (
    MALFORMED,
    Close,
    Dropped,
    Fail,
    Failed,
    Faults,
    Malformed,
    Mishaps,
    Refuse,
    Slow,
    Stall,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.unit


async def three() -> AsyncGenerator[str]:
    for chunk in ("one", "two", "three"):
        yield chunk


async def spoiled(mishaps: Mishaps) -> tuple[list[str], BaseException | None]:
    got: list[str] = []
    try:
        async for chunk in mishaps.spoil(three(), str, str):
            got.append(chunk)  # noqa: PERF401  (what came before it was broken off counts)
    except (Dropped, Failed) as error:
        return got, error
    return got, None


def test_nothing_goes_wrong_without_a_plan() -> None:
    async def case() -> None:
        assert await spoiled(Faults().begin("chat")) == (["one", "two", "three"], None)

    asyncio.run(case())


def test_plans_are_taken_in_order_each_as_often_as_it_says() -> None:
    faults = Faults()
    faults.add("chat", Refuse(429), times=2)
    faults.add("chat", Refuse(500))
    faults.add("speech", Refuse(401), times=None)
    taken = [faults.begin("chat").refusal for _ in range(4)]
    assert [refusal and refusal.status for refusal in taken] == [429, 429, 500, None]
    assert all(faults.begin("speech").refusal == Refuse(401) for _ in range(5))


def test_a_plan_of_nothing_lets_requests_pass_before_the_next_one() -> None:
    faults = Faults()
    faults.add("chat", times=2)
    faults.add("chat", Refuse(500))
    taken = [faults.begin("chat").refusal for _ in range(3)]
    assert taken == [None, None, Refuse(500)]


@pytest.mark.parametrize(
    ("close", "came"),
    [
        (Close(code=4000, reason="why"), []),
        (Close(code=4000, reason="why", after_chunks=2), ["one", "two"]),
        (Close(code=4000, reason="why", after="one"), ["one"]),
    ],
)
def test_the_connection_is_closed_where_it_was_planned(close: Close, came: list[str]) -> None:
    async def case() -> None:
        got, error = await spoiled(Mishaps((close,)))
        assert got == came
        assert isinstance(error, Dropped)
        assert (error.code, error.reason) == (4000, "why")

    asyncio.run(case())


def test_something_malformed_comes_in_between() -> None:
    async def case() -> None:
        got, _ = await spoiled(Mishaps((Malformed(after_chunks=1),)))
        assert got == ["one", MALFORMED, "two", "three"]

    asyncio.run(case())


def test_a_stall_without_an_end_lasts_until_it_is_cancelled() -> None:
    async def case() -> None:
        got: list[str] = []

        async def read() -> None:
            async for chunk in Mishaps((Stall(after_chunks=1),)).spoil(three(), str, str):
                got.append(chunk)  # noqa: PERF401  (what came before counts)

        reading = asyncio.create_task(read())
        done, _ = await asyncio.wait({reading}, timeout=0.05)
        assert not done
        assert got == ["one"]
        reading.cancel()
        await asyncio.wait({reading})

    asyncio.run(case())


def test_a_stall_with_an_end_goes_on() -> None:
    async def case() -> None:
        mishaps = Mishaps((Stall(after_chunks=1, for_ms=1), Slow(1)))
        assert await spoiled(mishaps) == (["one", "two", "three"], None)

    asyncio.run(case())


def test_a_failure_is_told_by_the_answer_itself_where_it_can() -> None:
    async def failing() -> AsyncGenerator[str]:
        try:
            yield "one"
            yield "two"
        except Failed as failed:
            yield f"failed: {failed.fault.code}"

    async def case() -> None:
        mishaps = Mishaps((Fail(after_chunks=1, code="broken"),))
        got = [chunk async for chunk in mishaps.spoil(failing(), str, str)]
        assert got == ["one", "failed: broken"]
        unable = await spoiled(Mishaps((Fail(after_chunks=1),)))
        assert isinstance(unable[1], Failed)

    asyncio.run(case())


def test_a_plan_is_planned_until_its_last_request_has_come() -> None:
    faults = Faults()
    assert not faults.planned("speech")
    faults.add("speech", Refuse(500), times=2)
    assert [faults.planned("speech"), faults.planned("chat")] == [True, False]
    faults.begin("speech")
    assert faults.planned("speech")
    faults.begin("speech")
    assert not faults.planned("speech")


def test_plans_can_be_forgotten() -> None:
    faults = Faults()
    faults.add("chat", Refuse(500), times=None)
    faults.add("speech", Refuse(500), times=None)
    faults.clear("chat")
    assert faults.begin("chat").refusal is None
    faults.clear()
    assert faults.begin("speech").refusal is None
