"""One pass over all streams that are due."""

import random
from collections.abc import Callable

import pytest

from tests.native.drivers import NS_PER_MS, WIRE
from voicecall._codec import CallableOutlet, MediaStream, Pacer, Ticker, Workspace

pytestmark = pytest.mark.native


class Leg:
    """A stream that always has a frame to send, and counts how often it was served."""

    def __init__(self, workspace: Workspace, then: Callable[[], object] = lambda: None) -> None:
        self.served = 0
        self.failures: list[Exception] = []
        self._then = then
        self.stream = MediaStream(workspace, self)
        self.stream.connect(CallableOutlet(self._send))
        self.stream.begin("ulaw", WIRE, Pacer(8000, 0xFF, 20, 20, 1))

    def load(self) -> None:
        """Give it one frame to send in its next turn."""
        pacer = self.stream.pacer
        assert pacer is not None
        pacer.clear(0)
        pacer.write(bytes(160), 0)

    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)

    def _send(self, message: bytes) -> None:
        assert message
        self.served += 1
        self._then()


def legs_of(ticker: Ticker, count: int) -> list[Leg]:
    workspace = Workspace()
    legs = [Leg(workspace) for _ in range(count)]
    for leg in legs:
        ticker.add(leg.stream)
        leg.load()
    return legs


@pytest.mark.parametrize("count", [1, 3, 4, 5, 1001])
def test_streams_are_spread_evenly_and_each_is_served_once_a_period(count: int) -> None:
    ticker = Ticker(20, 5)
    legs = legs_of(ticker, count)
    served = [ticker.tick(NS_PER_MS) for _ in range(ticker.slots)]
    assert sum(served) == len(ticker) == count
    assert max(served) - min(served) <= 1
    assert [leg.served for leg in legs] == [1] * count
    assert ticker.ticks == ticker.slots == 4


def test_a_stream_that_leaves_makes_room_for_the_next() -> None:
    ticker = Ticker()
    legs = legs_of(ticker, 8)
    for leg in legs[0::4]:
        ticker.discard(leg.stream)
    more = legs_of(ticker, 2)
    assert [ticker.tick(NS_PER_MS) for _ in range(4)] == [2, 2, 2, 2]
    assert [leg.served for leg in legs + more] == [0, 1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_adding_and_discarding_twice_changes_nothing() -> None:
    ticker = Ticker()
    (leg,) = legs_of(ticker, 1)
    ticker.add(leg.stream)
    assert len(ticker) == 1
    ticker.discard(leg.stream)
    ticker.discard(leg.stream)
    assert len(ticker) == 0
    ticker.add(leg.stream)
    assert len(ticker) == 1


def test_a_stream_of_another_ticker_is_not_discarded() -> None:
    ours, theirs = Ticker(), Ticker(100, 5)
    legs_of(ours, 3)
    for leg in legs_of(theirs, 50):
        ours.discard(leg.stream)
    assert (len(ours), len(theirs)) == (3, 50)


@pytest.mark.parametrize("victim", range(5))
@pytest.mark.parametrize("at", range(5))
def test_a_stream_may_be_discarded_while_any_other_is_served(victim: int, at: int) -> None:
    ticker = Ticker(5, 5)
    workspace = Workspace()
    legs: list[Leg] = []

    def leave() -> None:
        ticker.discard(legs[victim].stream)

    for i in range(5):
        legs.append(Leg(workspace, leave if i == at else lambda: None))
        ticker.add(legs[-1].stream)
        legs[-1].load()
    ticker.tick(NS_PER_MS)
    # Those above it in the list had their turn before it left.
    expected = [1] * 5
    if victim < at:
        expected[victim] = 0
    assert [leg.served for leg in legs] == expected
    assert len(ticker) == 4
    for leg in legs:
        leg.load()
    ticker.tick(NS_PER_MS)
    expected = [count + 1 for count in expected]
    expected[victim] -= 1
    assert [leg.served for leg in legs] == expected


def test_all_streams_may_leave_at_once() -> None:
    ticker = Ticker(5, 5)
    workspace = Workspace()
    legs: list[Leg] = []

    def leave() -> None:
        for leg in legs:
            ticker.discard(leg.stream)

    legs += [Leg(workspace, leave) for _ in range(10)]
    for leg in legs:
        ticker.add(leg.stream)
        leg.load()
    assert ticker.tick(NS_PER_MS) == 10
    assert (sum(leg.served for leg in legs), len(ticker)) == (1, 0)


def test_a_stream_that_is_added_during_a_tick_is_served_in_the_next_period() -> None:
    ticker = Ticker(5, 5)
    late = Leg(Workspace())
    late.load()
    first = Leg(Workspace(), lambda: ticker.add(late.stream))
    first.load()
    ticker.add(first.stream)
    ticker.tick(NS_PER_MS)
    assert late.served == 0
    ticker.tick(NS_PER_MS)
    assert late.served == 1


def test_a_stream_that_fails_is_told_and_stops_no_other() -> None:
    ticker = Ticker(5, 5)

    def fail() -> None:
        raise OSError("gone")

    broken = Leg(Workspace(), fail)
    whole = legs_of(ticker, 2)
    ticker.add(broken.stream)
    more = legs_of(ticker, 2)
    broken.load()
    ticker.tick(NS_PER_MS)
    assert [leg.served for leg in whole + more] == [1, 1, 1, 1]
    assert [str(error) for error in broken.failures] == ["gone"]


def test_closed_streams_are_served_in_vain() -> None:
    ticker = Ticker(5, 5)
    (leg,) = legs_of(ticker, 1)
    leg.stream.close()
    assert ticker.tick(NS_PER_MS) == 1
    assert leg.served == 0


def test_random_comings_and_goings_leave_everyone_served_once_a_period() -> None:
    ticker = Ticker()
    source = random.Random(5)
    workspace = Workspace()
    present: list[Leg] = []
    for _ in range(500):
        if present and source.random() < 0.45:
            ticker.discard(present.pop(source.randrange(len(present))).stream)
        else:
            present.append(Leg(workspace))
            ticker.add(present[-1].stream)
        if source.random() < 0.1:
            before = [leg.served for leg in present]
            for leg in present:
                leg.load()
            for _ in range(ticker.slots):
                ticker.tick(NS_PER_MS)
            assert [leg.served for leg in present] == [count + 1 for count in before]
    assert len(ticker) == len(present)


@pytest.mark.parametrize(
    ("period_ms", "tick_ms"), [(20, 0), (20, -5), (0, 5), (-5, 5), (20, 7), (5, 10)]
)
def test_a_tick_that_does_not_divide_the_period_is_refused(period_ms: int, tick_ms: int) -> None:
    with pytest.raises(ValueError, match="divide"):
        Ticker(period_ms, tick_ms)
