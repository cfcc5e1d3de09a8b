from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakeCalls, run, until
from voicecall.call.events import CallActive, CallDtmf, CallErrored
from voicecall.clock import ManualClock
from voicecall.errors import SpeechError
from voicecall.session.work import Work

pytestmark = pytest.mark.unit


class Case:
    def __init__(self) -> None:
        self.calls = FakeCalls()
        self.clock = ManualClock()
        self.work = Work("call-1", self.calls, self.clock)
        self.done: list[str] = []

    async def forever(self, begun: asyncio.Event) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    async def fail(self, error: Exception) -> None:
        raise error

    async def end(self) -> None:
        await self.work.stop()
        await self.work.finish()


def test_events_are_told_in_order_each_as_a_fact_of_its_own() -> None:
    async def case() -> None:
        this = Case()
        this.work.report(CallActive)
        this.work.report(CallDtmf, digits="5")
        await this.work.flushed()
        assert [type(event) for event in this.calls.events] == [CallActive, CallDtmf]
        assert {event.call_id for event in this.calls.events} == {"call-1"}
        assert {event.timestamp for event in this.calls.events} == {this.clock.wall_ms()}
        assert len({event.dedupe_key for event in this.calls.events}) == 2
        await this.end()

    run(case())


def test_what_is_reported_last_is_recorded_when_all_tasks_have_ended() -> None:
    async def case() -> None:
        this = Case()
        await this.work.stop()
        this.work.report(CallActive)
        await this.work.finish()
        assert this.calls.of(CallActive)

    run(case())


def test_a_service_that_fails_is_reported_and_a_bug_is_not_read_out() -> None:
    async def case() -> None:
        this = Case()
        this.work.start(this.fail(SpeechError("the model is busy")))
        await until(lambda: this.calls.of(CallErrored))
        this.work.failed("the model was lost", KeyError("secret"))
        this.work.failed("the model was lost", TimeoutError())
        await this.work.flushed()
        told = [(event.message, event.retryable) for event in this.calls.of(CallErrored)]
        assert told == [("the model is busy", True), *[("the model was lost", True)] * 2]
        await this.end()

    run(case())


def test_one_task_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        this, begun = Case(), asyncio.Event()
        this.work.start(this.forever(begun), lambda: this.done.append("forever"))
        this.work.start(this.fail(KeyError("a bug")), lambda: this.done.append("bug"))
        await until(lambda: this.done)
        assert this.done == ["bug"]
        assert not this.calls.of(CallErrored)
        await this.end()
        assert this.done == ["bug", "forever"]

    run(case())
    assert "a conversation task failed" in caplog.messages


def test_work_that_comes_too_late_is_not_begun() -> None:
    async def case() -> None:
        this, begun = Case(), asyncio.Event()
        await this.end()
        this.work.start(this.forever(begun), lambda: this.done.append("late"))
        await asyncio.sleep(0)
        assert this.done == ["late"]
        assert not begun.is_set()

    run(case())


def test_work_that_is_stopped_before_its_first_step_is_told_as_done() -> None:
    async def case() -> None:
        this, begun = Case(), asyncio.Event()
        this.work.start(this.forever(begun), lambda: this.done.append("never begun"))
        await this.end()
        assert this.done == ["never begun"]
        assert not begun.is_set()

    run(case())
