from __future__ import annotations

import asyncio

import pytest

from tests.manager.fakes import FakeCarrier, until
from voicecall.errors import CarrierError
from voicecall.manager import hangups
from voicecall.manager.hangups import HangUps
from voicecall.manager.tasks import Tasks

pytestmark = pytest.mark.unit


def test_a_failed_attempt_is_repeated_only_if_that_may_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hangups, "_RETRY_DELAYS_S", (0, 0))

    async def case() -> None:
        carrier, tasks = FakeCarrier(), Tasks()
        hang_ups = HangUps(carrier, tasks, timeout_s=1)
        carrier.hang_up_error = CarrierError("busy", retryable=True, status=503)
        await hang_ups.request("CA1").wait()
        await until(lambda: len(tasks) == 0)
        assert carrier.hung_up == ["CA1"] * 3
        carrier.hang_up_error = CarrierError("no such call", status=404)
        await hang_ups.request("CA2").wait()
        await until(lambda: len(tasks) == 0)
        assert carrier.hung_up == ["CA1"] * 3 + ["CA2"]

    asyncio.run(case())


def test_a_call_is_hung_up_once_as_long_as_it_is_remembered() -> None:
    async def case() -> None:
        carrier, tasks = FakeCarrier(), Tasks()
        hang_ups = HangUps(carrier, tasks, timeout_s=1, capacity=2)
        for name in ("CA1", "CA1", "CA2", "CA1"):
            await hang_ups.request(name).wait()
        assert carrier.hung_up == ["CA1", "CA2"]
        await hang_ups.request("CA3").wait()
        assert "CA1" not in hang_ups
        assert "CA3" in hang_ups
        await tasks.close(1)

    asyncio.run(case())
