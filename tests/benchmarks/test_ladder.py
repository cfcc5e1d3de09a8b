"""The ladder finds the highest count that a server bears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.ladder import Rung, climb, measured, result
from tests.benchmarks.points import point

pytestmark = pytest.mark.unit


@given(
    limit=st.integers(0, 5000),
    first=st.integers(1, 1000),
    more=st.integers(0, 4000),
    step=st.integers(1, 300),
)
def test_the_highest_count_is_found_to_within_a_step(
    limit: int, first: int, more: int, step: int
) -> None:
    last = first + more
    tried: list[int] = []

    def bears(count: int) -> bool:
        tried.append(count)
        return count <= limit

    highest = climb(bears, first, last, step)
    assert highest <= min(limit, last)
    assert min(limit, last) - highest <= step
    assert highest == 0 or highest in tried
    assert len(tried) == len(set(tried))
    assert all(0 < count <= last for count in tried)


def test_counts_are_doubled_and_then_halved_in() -> None:
    tried: list[int] = []

    def bears(count: int) -> bool:
        tried.append(count)
        return count <= 1150

    assert climb(bears, 250, 4000, 100) == 1100
    assert tried == [250, 500, 1000, 2000, 1500, 1200, 1100]


def test_a_count_passes_by_the_median_of_its_runs() -> None:
    shares = iter((0.995, 1.0, 0.9995))
    rung = measured(10, 0.999, 3, lambda _: point(next(shares)))
    assert (rung.on_time, rung.passed) == (0.9995, True)


def test_a_count_whose_load_was_not_sent_is_none() -> None:
    rung = measured(10, 0.999, 2, lambda _: point(sent=0.99))
    assert (rung.on_time, rung.passed) == (1.0, False)


def test_a_count_that_fails_clearly_is_not_repeated() -> None:
    rung = measured(10, 0.999, 3, lambda _: point(0.5))
    assert (len(rung.runs), rung.passed) == (1, False)


def test_a_count_with_a_lost_connection_fails() -> None:
    runs = iter((point(), point(lost=1), point()))
    assert not measured(10, 0.999, 3, lambda _: next(runs)).passed


@pytest.mark.parametrize(
    ("failing", "limited_by"),
    [(None, "the range"), (True, "the server"), (False, "the generator")],
)
def test_the_result_says_what_has_limited_it(failing: bool | None, limited_by: str) -> None:
    rungs = [Rung(200, 0.999, [point()])]
    if failing is not None:
        rungs.insert(0, Rung(400, 0.999, [point(0.5, trusted=failing)]))
    outcome = result(rungs, 200, 0.999)
    assert outcome["limitedBy"] == limited_by
    assert [rung["streams"] for rung in outcome["rungs"]] == sorted(rung.streams for rung in rungs)
