from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from voicecall.diagnosis.check import Check, Finding, fail, ok
from voicecall.diagnosis.examination import examine, summary
from voicecall.errors import StoreError

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Look, Result

pytestmark = pytest.mark.unit


def says(finding: Finding) -> Look:
    async def look() -> Finding:
        return finding

    return look


def raises(error: Exception) -> Look:
    async def look() -> Finding:
        raise error

    return look


def test_independent_checks_are_made_at_once_and_told_as_they_finish() -> None:
    async def case() -> None:
        second_done = asyncio.Event()

        async def first() -> Finding:
            await second_done.wait()
            return ok("first")

        async def second() -> Finding:
            second_done.set()
            return ok("second")

        told: list[Result] = []
        results = await examine([Check("1", first), Check("2", second)], told.append)
        assert [each.name for each in told] == ["2", "1"]
        assert [each.name for each in results] == ["1", "2"]
        assert summary(results) == {"ok": 2, "warn": 0, "fail": 0, "skipped": 0}

    run(case())


def test_what_needs_a_check_that_failed_is_skipped_and_so_is_what_needs_that() -> None:
    async def case() -> None:
        results = await examine(
            [
                Check("a", says(fail("broken", "mend it"))),
                Check("b", says(ok("fine")), needs=("a",)),
                Check("c", says(ok("fine")), needs=("b",)),
                Check("d", says(ok("fine"))),
            ]
        )
        assert [each.status for each in results] == ["fail", "skipped", "skipped", "ok"]
        assert results[1].finding.found == "not looked at: a comes first"
        assert results[2].finding.found == "not looked at: b comes first"

    run(case())


def test_what_comes_after_a_check_waits_for_its_end_however_that_is() -> None:
    async def case() -> None:
        told: list[str] = []
        results = await examine(
            [
                Check("a", says(fail("broken", "mend it"))),
                Check("b", says(ok("fine")), needs=("a",)),
                Check("c", says(ok("fine")), after=("a", "b")),
            ],
            lambda result: told.append(result.name),
        )
        assert told == ["a", "b", "c"]
        assert [each.status for each in results] == ["fail", "skipped", "ok"]

    run(case())


def test_errors_of_ours_are_failures_in_their_words_and_others_by_their_name() -> None:
    async def case() -> None:
        results = await examine(
            [
                Check("ours", raises(StoreError("the disk is full")), remedy="make room"),
                Check("other", raises(KeyError("secret")), remedy="look"),
                Check("late", raises(TimeoutError("inner")), remedy="look"),
            ]
        )
        assert [(each.finding.found, each.finding.remedy) for each in results] == [
            ("the disk is full", "make room"),
            ("could not be looked at: KeyError", "look"),
            ("could not be looked at: TimeoutError", "look"),
        ]

    run(case())


def test_a_check_that_does_not_end_is_ended() -> None:
    async def case() -> None:
        async def forever() -> Finding:
            await asyncio.Event().wait()
            return ok("never")

        (result,) = await examine([Check("slow", forever, remedy="wait", deadline_s=0.05)])
        assert (result.status, result.finding.found) == ("fail", "no answer within 0.05 s")

    run(case())


def test_a_check_cannot_need_what_comes_after_it() -> None:
    async def case() -> None:
        checks = [Check("a", says(ok("")), needs=("b",)), Check("b", says(ok("")))]
        with pytest.raises(ValueError, match="a needs b"):
            await examine(checks)
        with pytest.raises(ValueError, match="a needs b"):
            await examine([Check("a", says(ok("")), after=("b",)), Check("b", says(ok("")))])

    run(case())
