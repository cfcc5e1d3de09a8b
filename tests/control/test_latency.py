from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import record
from voicecall.call.machine import TURNS
from voicecall.control.latency import STEPS, latencies, summary

pytestmark = pytest.mark.unit


def test_the_turns_of_all_calls_are_counted_up() -> None:
    first = {"latencyMs": 600.0, "listenWaitMs": 900, "finalMs": 400.0, "firstFrameMs": 10.0}
    calls = [
        record(metadata={TURNS: [first, {"listenWaitMs": 1_100}]}),
        record(),
        record(metadata={TURNS: [{"latencyMs": 800.0, "finalMs": 300.0}, {}]}),
    ]
    told = latencies(calls)
    assert (told["calls"], told["turns"]) == (3, 4)
    assert told["turnLatencyMs"] == {
        "count": 2, "min": 600.0, "max": 800.0, "avg": 700.0, "p50": 600.0, "p95": 800.0,
    }  # fmt: skip
    assert told["listenWaitMs"]["avg"] == 1_000
    assert list(told["steps"]) == list(STEPS)
    assert told["steps"]["finalMs"]["count"] == 2
    assert told["steps"]["firstTokenMs"] == {"count": 0}


def test_without_calls_nothing_is_counted() -> None:
    told = latencies([])
    assert (told["calls"], told["turns"]) == (0, 0)
    assert told["turnLatencyMs"] == told["listenWaitMs"] == {"count": 0}


@pytest.mark.parametrize(
    ("count", "p50", "p95"), [(1, 1, 1), (2, 1, 2), (19, 10, 19), (20, 10, 19), (100, 50, 95)]
)
def test_percentiles_are_values_that_occur(count: int, p50: int, p95: int) -> None:
    told = summary([float(value) for value in range(count, 0, -1)])
    assert (told["p50"], told["p95"]) == (p50, p95)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_percentile_is_not_exceeded_by_so_many(values: list[float]) -> None:
    told = summary(values)
    assert told["min"] <= told["p50"] <= told["p95"] <= told["max"]
    for name, percent in (("p50", 50), ("p95", 95)):
        assert sum(value <= told[name] for value in values) * 100 >= percent * len(values)
