from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.session.fakes import run, soon
from voicecall.clock import ManualClock, SystemClock
from voicecall.isolation.watch import LoopWatch
from voicecall.manager.changes import ChangeFeed
from voicecall.session.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.session.observer import Handler

pytestmark = pytest.mark.unit


def observe(handler: Handler, *changes: dict[str, Any], until: threading.Event) -> None:
    """Publish changes to an observer and wait for `until`."""

    async def case() -> None:
        feed, watch = ChangeFeed(ManualClock(), capacity=10), LoopWatch(SystemClock())
        observer = Observer(feed.subscribe(), handler, watch)
        for change in changes:
            feed.publish(change)
        await soon(until.is_set)
        await observer.close()
        watch.close()

    run(case())


def test_each_change_is_told_in_order_in_another_thread() -> None:
    seen: list[tuple[str, Any]] = []
    done = threading.Event()

    def handler(change: Mapping[str, Any]) -> None:
        seen.append((threading.current_thread().name, change["n"]))
        if change["n"] == 4:
            done.set()

    observe(handler, *({"n": n} for n in range(5)), until=done)
    assert seen == [("voicecall-observer", n) for n in range(5)]


def test_an_asynchronous_handler_is_awaited() -> None:
    done = threading.Event()

    async def handler(_: Mapping[str, Any]) -> None:
        done.set()

    observe(handler, {"n": 1}, until=done)


def test_a_handler_that_fails_is_told_of_the_next_change_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = threading.Event()

    def handler(change: Mapping[str, Any]) -> None:
        if change["n"] == 2:
            done.set()
        raise KeyError("x")

    observe(handler, {"n": 1}, {"n": 2}, until=done)
    assert "an observer failed" in [record.msg for record in caplog.records]


def test_a_handler_that_blocks_loses_the_oldest_changes_and_is_told_how_many() -> None:
    release, done = threading.Event(), threading.Event()
    seen: list[Mapping[str, Any]] = []

    def handler(change: Mapping[str, Any]) -> None:
        seen.append(change)
        release.wait(10)
        if change.get("n") == 99:
            done.set()

    async def case() -> None:
        feed, watch = ChangeFeed(ManualClock(), capacity=10), LoopWatch(SystemClock())
        observer = Observer(feed.subscribe(), handler, watch)
        feed.publish({"n": -1})
        await soon(lambda: seen)
        for n in range(100):
            feed.publish({"n": n})
        release.set()
        await soon(done.is_set)
        await observer.close()
        watch.close()

    run(case())
    assert [change.get("n") for change in seen] == [-1, None, *range(90, 100)]
    assert (seen[1]["type"], seen[1]["dropped"]) == ("gap", 90)
