"""Calls from start to end in numbers: every one as it should be, and nothing of them stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.soak import calls
from tests.soak.local import left_over, ours, run, site, without_collector
from voicecall.manager.lifecycle import Lifecycle

if TYPE_CHECKING:
    from benchmarks.soak.carrier import Carrier
    from voicecall.manager.index import LiveCall

pytestmark = [pytest.mark.socket, pytest.mark.timed]

WARM_UP = 12
CALLS = 60
AT_ONCE = 15


async def hold(carrier: Carrier, count: int) -> list[str]:
    """Hold calls; what was wrong with them."""
    ledger, tally = calls.Ledger(carrier), calls.Tally(count)
    await ledger.open()
    try:
        await calls.hold(carrier, ledger, tally, AT_ONCE, seed=count)
    finally:
        await ledger.close()
    assert tally.done == count
    return tally.problems + calls.late_problems(ledger, carrier)


def test_every_call_ends_once_and_leaves_nothing_behind() -> None:
    async def case() -> None:
        async with site() as there:
            assert await hold(there.carrier, WARM_UP) == []
            assert await left_over(there, ours()) == []
            before = ours()
            assert await hold(there.carrier, CALLS) == []
            assert there.carrier.dials.counts.total() == WARM_UP + CALLS
            assert await left_over(there, before) == []

    run(case())


def test_an_ended_call_is_freed_without_the_collector() -> None:
    async def case() -> None:
        async with site() as there:
            assert await hold(there.carrier, WARM_UP) == []
            assert await left_over(there, ours()) == []
            async with without_collector():
                before = ours()
                assert await hold(there.carrier, WARM_UP) == []
                assert await left_over(there, before, collect=False) == []

    run(case())


def test_a_call_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[LiveCall] = []
    release = Lifecycle._retire

    async def retire(lifecycle: Lifecycle, call: LiveCall) -> None:
        kept.append(call)
        await release(lifecycle, call)

    monkeypatch.setattr("tests.soak.local.SETTLED_S", 0.5)

    async def case() -> None:
        async with site() as there:
            assert await hold(there.carrier, WARM_UP) == []
            assert await left_over(there, ours()) == []
            before = ours()
            monkeypatch.setattr(Lifecycle, "_retire", retire)
            assert await hold(there.carrier, WARM_UP) == []
            found = await left_over(there, before)
            assert f"{WARM_UP} of voicecall.manager.index.LiveCall are left over" in found

    run(case())


def change(kind: str, state: str) -> dict[str, str]:
    return {"type": kind, "state": state}


def record(reason: str, **times: int) -> dict[str, Any]:
    kept = {"state": reason, "endReason": reason, "startedAt": 1, "answeredAt": 2, "endedAt": 3}
    return {**kept, **times}


ORDERLY = (
    change("call.ringing", "ringing"),
    change("call.answered", "answered"),
    change("call.speaking", "speaking"),
    change("call.spoken", "listening"),
    change("call.speaking", "speaking"),
    change("call.ended", "completed"),
    change("call.spoken", "completed"),
)


def story(*changes: dict[str, str]) -> calls.Story:
    told = calls.Story()
    for each in changes:
        told.tell(each)
    return told


def test_an_orderly_story_has_no_problems() -> None:
    told = story(*ORDERLY)
    assert told.over.is_set()
    assert calls.check(told, record("completed"), "completed", dials=1) == []


@pytest.mark.parametrize(
    ("told", "kept", "dials", "problem"),
    [
        ((*ORDERLY, change("call.ended", "completed")), {}, 1, "call.ended after the end"),
        ((*ORDERLY, change("call.speaking", "speaking")), {}, 1, "call.speaking after the end"),
        (ORDERLY[:4], {}, 1, "ended 0 times"),
        (ORDERLY, {}, 2, "dialled 2 times"),
        ((*ORDERLY[1::-1], ORDERLY[5]), {}, 1, "call.ringing moves it back to ringing"),
        (ORDERLY, {"endedAt": 1}, 1, "its times are not in order"),
        (ORDERLY, {"endedAt": 31_000}, 1, "took 30999 ms"),
    ],
)
def test_what_cannot_be_true_is_a_problem(
    told: tuple[dict[str, str], ...], kept: dict[str, int], dials: int, problem: str
) -> None:
    assert calls.check(story(*told), record("completed", **kept), "completed", dials) == [problem]


def test_a_call_that_ended_otherwise_is_a_problem() -> None:
    problems = calls.check(story(*ORDERLY), record("busy"), "completed", dials=1)
    assert problems == ["ended as busy instead of completed"]
