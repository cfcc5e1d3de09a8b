"""The judge of soak runs: silent while things are flat, and not when they grow."""

from __future__ import annotations

import math

import pytest

from benchmarks.soak import flatness

pytestmark = pytest.mark.unit

LEG = "voicecall.media.leg.Leg"
RECORD = "voicecall.call.record.CallRecord"


def census(tasks: int = 5, unreachable: int = 0, **classes: int) -> dict[str, object]:
    return {"tasks": tasks, "unreachable": unreachable, "classes": {LEG: 0, **classes}}


def samples(grow: dict[str, float] | None = None, count: int = 40) -> list[dict[str, float]]:
    """Numbers that go up and down, and some of them up."""
    steady = {bound.name: 1000.0 for bound in flatness.BOUNDS}
    return [
        {
            name: value * (1 + 0.02 * math.sin(at)) + (grow or {}).get(name, 0) * at / count
            for name, value in steady.items()
        }
        for at in range(count)
    ]


def test_numbers_that_go_up_and_down_are_flat() -> None:
    assert flatness.grown(samples()) == []


@pytest.mark.parametrize("bound", flatness.BOUNDS, ids=lambda bound: bound.name)
def test_a_number_that_goes_up_is_named(bound: flatness.Bound) -> None:
    rise = 3 * max(bound.slack, 1000 * bound.share)
    (complaint,) = flatness.grown(samples({bound.name: rise}))
    assert complaint.startswith(f"{bound.name} grew from ")


def test_a_number_that_goes_down_is_no_leak() -> None:
    assert flatness.grown(samples({"residentKib": -900})) == []


def test_a_handful_of_samples_is_no_proof() -> None:
    with pytest.raises(ValueError, match="too few"):
        flatness.grown(samples(count=flatness.SAMPLES_MIN - 1))


def test_the_same_objects_as_before_are_nothing_left_over() -> None:
    assert flatness.left_over(census(), census()) == []
    assert flatness.left_over(census(**{LEG: 3}), census()) == []


def test_one_object_more_is_left_over() -> None:
    assert flatness.left_over(census(), census(**{LEG: 1})) == [f"1 of {LEG} are left over"]
    assert flatness.left_over(census(), census(tasks=7)) == ["2 of tasks are left over"]


def test_what_is_remembered_has_its_limit() -> None:
    limit = flatness.REMEMBERED[RECORD]
    assert flatness.left_over(census(), census(**{RECORD: limit})) == []
    after = census(**{RECORD: limit + 2})
    assert flatness.left_over(census(), after) == [f"2 of {RECORD} are left over"]


def test_garbage_that_nobody_collects_is_told() -> None:
    after = census(unreachable=flatness.UNREACHABLE_MAX + 1)
    (complaint,) = flatness.left_over(census(), after)
    assert complaint.endswith("objects of garbage had piled up")
