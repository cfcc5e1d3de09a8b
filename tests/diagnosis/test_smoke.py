"""One real call, placed once and followed to its end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosting import CALLEE, TOKEN, run, serving, until
from voicecall.client import Client
from voicecall.clock import SystemClock
from voicecall.diagnosis import smoke
from voicecall.diagnosis.smoke import Order, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hosting import Served

pytestmark = pytest.mark.socket

MESSAGE = "It works."


@asynccontextmanager
async def calling(**sections: Any) -> AsyncIterator[tuple[Client, Served]]:
    async with (
        serving(**sections) as served,
        Client(served.server.control_url, TOKEN, timeout_s=10) as client,
    ):
        yield client, served


async def placed(client: Client, deadline_s: float = 15, told: list[str] | None = None) -> Outcome:
    order = Order(CALLEE, MESSAGE, deadline_s)
    kinds: list[str] = [] if told is None else told
    return await smoke.call(
        client, order, SystemClock().wall_ms, lambda kind, _: kinds.append(kind)
    )


def test_a_call_that_works_is_reported_with_its_times() -> None:
    async def case() -> None:
        async with calling() as (client, _):
            told: list[str] = []
            outcome = await placed(client, told=told)
            assert outcome.ok
            report = outcome.to_json()
            assert report["heard"] == MESSAGE
            assert all(report[name] for name in ("rang", "answered", "played", "hungUp"))
            took = report["latencyMs"]
            assert all(took[name] >= 0 for name in ("dialToAnswer", "speech", "call"))
            assert told[-1] == "call.ended"
            assert CALLEE not in str(report)

    run(case())


def test_nobody_who_answers_is_no_success() -> None:
    async def case() -> None:
        async with calling(by_hand=False, mock={"phone": "busy"}) as (client, _):
            outcome = await placed(client)
            assert not outcome.ok
            assert (outcome.end_reason, outcome.answered_at) == ("busy", None)

    run(case())


def test_a_dial_that_fails_is_told_and_not_repeated() -> None:
    async def case() -> None:
        async with calling() as (client, served):
            order = Order("not a number", MESSAGE, 10)
            outcome = await smoke.call(client, order, SystemClock().wall_ms)
            assert not outcome.ok
            assert outcome.error
            assert await served.server.calls.recent() == []

    run(case())


def test_a_call_that_does_not_end_is_hung_up() -> None:
    async def case() -> None:
        async with calling() as (client, served):
            served.hand.let_ring = True
            outcome = await placed(client, deadline_s=0.3)
            assert "hung up" in str(outcome.error)
            assert served.server.calls.live_count == 0

    run(case())


def test_who_stops_waiting_hangs_up() -> None:
    async def case() -> None:
        async with calling() as (client, served):
            served.hand.let_ring = True
            calling_ = asyncio.create_task(placed(client))
            await until(lambda: served.server.calls.live_count)
            await asyncio.sleep(0.1)
            calling_.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling_
            await until(lambda: served.server.calls.live_count == 0)

    run(case())
