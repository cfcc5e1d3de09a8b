from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from voicecall.clock import ManualClock, SystemClock
from voicecall.isolation.garbage import GarbagePolicy, Pause

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.unit, pytest.mark.timed]


class Node:
    def __init__(self) -> None:
        self.other: Node | None = None


def cycle() -> Node:
    node = Node()
    node.other = node
    return node


@pytest.fixture
def quiet() -> Iterator[None]:
    """No collection but those of the test."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("quiet")
class TestPolicy:
    def test_what_survives_a_full_collection_is_not_looked_at_again(self) -> None:
        policy = GarbagePolicy(SystemClock())
        policy.start()
        try:
            kept = [cycle() for _ in range(1000)]
            gc.collect()
            looked_at = {id(each) for each in gc.get_objects()}
            assert not any(id(each) in looked_at for each in kept)
            assert gc.get_freeze_count() > 1000
        finally:
            policy.stop()

    def test_what_is_set_aside_is_still_freed_when_nobody_refers_to_it(self) -> None:
        policy = GarbagePolicy(SystemClock())
        policy.start()
        try:
            node = Node()
            seen = weakref.ref(node)
            gc.collect()
            del node
            assert seen() is None
        finally:
            policy.stop()

    def test_a_cycle_set_aside_is_found_ten_seconds_after_the_last_call(self) -> None:
        clock = ManualClock()
        policy = GarbagePolicy(clock)
        policy.start()
        try:
            node = cycle()
            seen = weakref.ref(node)
            gc.collect()
            del node
            gc.collect()
            policy.beat(busy=True)
            policy.beat(busy=False)
            clock.advance_ms(10_000)
            policy.beat(busy=False)
            assert seen() is not None
            clock.advance_ms(1)
            policy.beat(busy=False)
            assert seen() is None
        finally:
            policy.stop()

    def test_an_idle_server_looks_once_and_a_new_call_puts_it_off(self) -> None:
        clock = ManualClock()
        told: list[Pause] = []
        policy = GarbagePolicy(clock, told.append)
        policy.start()
        try:
            for busy in (True, False, True, False):
                clock.advance_ms(9000)
                policy.beat(busy=busy)
            assert told == []
            for _ in range(5):
                clock.advance_ms(11_000)
                policy.beat(busy=False)
            assert [(each.generation, each.wanted) for each in told] == [(2, True)]
        finally:
            policy.stop()

    def test_only_long_collections_are_warned_of_and_never_from_inside_one(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = ManualClock()
        told: list[Pause] = []
        policy = GarbagePolicy(clock, told.append)
        for generation, took_ms in ((0, 5), (0, 11), (2, 1), (2, 30)):
            info = {"generation": generation, "collected": 7}
            policy._on_collection("start", info)
            clock.advance_ms(took_ms)
            policy._on_collection("stop", info)
        gc.unfreeze()
        assert told == []
        policy.beat(busy=True)
        assert [(each.generation, each.pause_ms, each.freed) for each in told] == [
            (0, 11, 7),
            (2, 1, 7),
            (2, 30, 7),
        ]
        assert [vars(record)["pause_ms"] for record in caplog.records] == [11, 30]

    def test_afterwards_the_collector_is_as_it_was(self) -> None:
        before = [*gc.callbacks, gc.get_threshold()]
        policy = GarbagePolicy(SystemClock())
        policy.start()
        assert [*gc.callbacks, gc.get_threshold()] != before
        policy.stop()
        policy.stop()
        policy.thorough()
        assert [*gc.callbacks, gc.get_threshold()] == before
        assert gc.get_freeze_count() == 0

    def test_a_full_collection_is_short_however_much_there_is(self) -> None:
        told: list[Pause] = []
        policy = GarbagePolicy(SystemClock(), told.append)
        policy.start()
        gc.enable()
        try:
            kept = []
            for _ in range(300_000):
                kept.append(Node())
                if len(kept) % 1000 == 0:
                    policy.beat(busy=True)
        finally:
            gc.disable()
            policy.stop()
        pauses_ms = sorted(each.pause_ms for each in told if each.generation == 2)
        assert len(pauses_ms) >= 5
        # Looking at all of them takes 50 ms and more; the typical one looks at the newest alone.
        assert pauses_ms[len(pauses_ms) // 2] < 10
