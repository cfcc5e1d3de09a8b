from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakeCalls, run, until
from voicecall.call.events import CallDtmf, CallEvent
from voicecall.session.reports import Reports

pytestmark = pytest.mark.unit


def key(digit: str) -> CallDtmf:
    return CallDtmf(id=digit, dedupe_key=digit, timestamp=0, call_id="c", digits=digit)


class Failing(FakeCalls):
    async def apply(self, event: CallEvent) -> None:
        if event.id == "1":
            raise RuntimeError("full disk")
        await super().apply(event)


class Stuck(FakeCalls):
    async def apply(self, event: CallEvent) -> None:
        self.events.append(event)
        await asyncio.Event().wait()


def test_events_are_delivered_in_order() -> None:
    async def case() -> None:
        calls = FakeCalls()
        reports = Reports(calls)
        task = asyncio.create_task(reports.run())
        for digit in "123":
            reports.add(key(digit))
        await reports.flushed(1)
        assert [event.id for event in calls.events] == ["1", "2", "3"]
        task.cancel()
        await asyncio.wait({task})

    run(case())


def test_an_event_that_cannot_be_recorded_does_not_hold_up_the_next() -> None:
    async def case() -> None:
        calls = Failing()
        reports = Reports(calls)
        for digit in "12":
            reports.add(key(digit))
        await reports.finish(1)
        assert [event.id for event in calls.events] == ["2"]

    run(case())


def test_an_event_whose_delivery_was_cancelled_is_delivered_again() -> None:
    async def case() -> None:
        stuck = Stuck()
        reports = Reports(stuck)
        reports.add(key("1"))
        task = asyncio.create_task(reports.run())
        await until(lambda: stuck.events)
        task.cancel()
        await asyncio.wait({task})
        await reports.finish(0.001)
        assert [event.id for event in stuck.events] == ["1", "1"]

    run(case())


def test_waiting_for_delivery_has_an_end() -> None:
    async def case() -> None:
        reports = Reports(FakeCalls())
        reports.add(key("1"))
        await reports.flushed(0.001)

    run(case())


def test_what_does_not_fit_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        calls = FakeCalls()
        reports = Reports(calls)
        for number in range(257):
            reports.add(key(str(number)))
        await reports.finish(1)
        assert [event.id for event in calls.events] == [str(number) for number in range(256)]
        assert [record.message for record in caplog.records] == [
            "too many events wait to be recorded"
        ]

    run(case())
