"""Servers are compared by medians, ranges and ratios round by round."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.load.compare import contestants, figure, figures, ratios, result, spread
from tests.benchmarks.points import point

pytestmark = pytest.mark.unit


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "most": 3.0}


def test_a_figure_that_a_run_does_not_have_is_none() -> None:
    assert figure(point(), ("regular", "roundTripMs", "p99")) is None
    assert figure({"regular": {}}, ("inbound", "takenShare")) is None


def test_figures_that_not_all_runs_have_are_left_out() -> None:
    whole, part = point(), point()
    del part["server"]
    found = figures([whole, part])
    assert "cpu" not in found
    assert found["onTime"]["median"] == 1.0


def test_ratios_are_taken_within_a_round() -> None:
    firsts = [point(cpu=0.1), point(cpu=0.4)]
    others = [point(cpu=0.2), point(cpu=0.4)]
    assert ratios(others, firsts)["cpu"] == {"median": 1.5, "least": 1.0, "most": 2.0}
    assert "onTime" not in ratios(others, firsts)


def test_the_first_server_is_what_the_others_are_measured_by() -> None:
    outcome = result({"ours": [point(cpu=0.2)], "theirs": [point(cpu=0.8, lost=1, trusted=False)]})
    assert outcome["ours"]["ratiosToFirst"]["cpu"]["median"] == 1.0
    assert outcome["theirs"]["ratiosToFirst"]["cpu"]["median"] == 4.0
    assert (outcome["ours"]["complete"], outcome["theirs"]["complete"]) == (True, False)
    assert (outcome["ours"]["trusted"], outcome["theirs"]["trusted"]) == (True, False)


def options(*peers: str, a: str | None = "one", b: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(
        a=a, b=b, peer=list(peers), streams=100, server_core=-1, generator_core=-1
    )


def test_servers_take_turns_in_the_order_given() -> None:
    assert list(contestants(options("c=three --x=y", b="two"))) == ["a", "b", "c"]
    assert contestants(options("c=three --x=y"))["c"].command == "three --x=y"


def test_a_server_may_have_a_number_of_streams_of_its_own() -> None:
    found = contestants(options("c@40=three --to=a@b", "d=four"))
    assert {name: each.load.streams for name, each in found.items()} == {
        "a": 100,
        "c": 40,
        "d": 100,
    }
    assert found["c"].command == "three --to=a@b"


def test_all_servers_are_called_in_the_dialect_that_was_asked_for() -> None:
    given = options("c=three", b="two")
    given.dialect = "plivo"
    assert {each.load.dialect for each in contestants(given).values()} == {"plivo"}


@pytest.mark.parametrize(
    "given",
    [
        options(),
        options("=x"),
        options("x"),
        options("x="),
        options("a=x"),
        options("c=x", "c=y"),
        options("c@=x"),
        options("c@many=x"),
        options("@5=x"),
    ],
)
def test_servers_without_a_name_of_their_own_or_a_rival_are_refused(
    given: argparse.Namespace,
) -> None:
    with pytest.raises(ValueError, match=r"servers|peer"):
        contestants(given)
