"""One pass over all streams, which serves those that are due."""

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
        """Give it one frame to send in the next tick."""
        pacer = self.stream.pacer
        assert pacer is not None
        pacer.clear(0)
        pacer.write(bytes(160), 0)
        # The pacer was changed behind the stream's back, and looks at time 0 like one that waits.
        self.stream.pump(-NS_PER_MS)

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


@pytest.mark.parametrize("count", [1, 3, 64, 65, 1001])
def test_every_stream_that_is_due_is_served_once(count: int) -> None:
    ticker = Ticker()
    legs = legs_of(ticker, count)
    assert ticker.tick(NS_PER_MS) == len(ticker) == count
    assert [leg.served for leg in legs] == [1] * count
    assert ticker.tick(NS_PER_MS) == 0
    assert ticker.ticks == 2


def test_a_stream_with_audio_is_served_just_when_its_next_message_fits_under_the_lead() -> None:
    ticker = Ticker()
    leg = Leg(Workspace())
    ticker.add(leg.stream)
    leg.stream.write(bytes(160 * 10), 0)
    served_ms = [ms for ms in range(0, 100, 5) if ticker.tick(ms * NS_PER_MS) and leg.served]
    # The first frame left with the writing; at 0 ms the ticker looks at what it does not know yet.
    assert served_ms == [20, 40, 60, 80]


def test_a_stream_that_has_nothing_to_send_is_not_looked_at() -> None:
    ticker = Ticker()
    leg = Leg(Workspace())
    ticker.add(leg.stream)
    assert [ticker.tick(ms * NS_PER_MS) for ms in range(3)] == [1, 0, 0]
    leg.stream.write(bytes(80), 3 * NS_PER_MS)
    assert ticker.tick(10 * NS_PER_MS) == 0
    leg.stream.finish(20 * NS_PER_MS)
    assert leg.served == 1


def test_a_stream_that_left_is_served_no_more_and_the_others_stay() -> None:
    ticker = Ticker()
    legs = legs_of(ticker, 8)
    for leg in legs[0::4]:
        ticker.discard(leg.stream)
    more = legs_of(ticker, 2)
    assert ticker.tick(NS_PER_MS) == 8
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
    ours, theirs = Ticker(), Ticker()
    legs_of(ours, 3)
    for leg in legs_of(theirs, 50):
        ours.discard(leg.stream)
    assert (len(ours), len(theirs)) == (3, 50)


@pytest.mark.parametrize("victim", range(5))
@pytest.mark.parametrize("at", range(5))
def test_a_stream_may_be_discarded_while_any_other_is_served(victim: int, at: int) -> None:
    ticker = Ticker()
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
    ticker = Ticker()
    workspace = Workspace()
    legs: list[Leg] = []

    def leave() -> None:
        for leg in legs:
            ticker.discard(leg.stream)

    legs += [Leg(workspace, leave) for _ in range(10)]
    for leg in legs:
        ticker.add(leg.stream)
        leg.load()
    assert ticker.tick(NS_PER_MS) == 1
    assert (sum(leg.served for leg in legs), len(ticker)) == (1, 0)


def test_a_stream_that_is_added_during_a_tick_is_served_in_the_next() -> None:
    ticker = Ticker()
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
    ticker = Ticker()

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


def test_closed_streams_send_nothing() -> None:
    ticker = Ticker()
    (leg,) = legs_of(ticker, 1)
    leg.stream.close()
    assert ticker.tick(NS_PER_MS) == 1
    assert leg.served == 0


def test_random_comings_and_goings_leave_everyone_served_once() -> None:
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
            ticker.tick(NS_PER_MS)
            assert [leg.served for leg in present] == [count + 1 for count in before]
    assert len(ticker) == len(present)
