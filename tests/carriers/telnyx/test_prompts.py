from __future__ import annotations

import asyncio

import pytest

from voicecall.carriers.telnyx.prompts import MAX_PROMPTS_PER_CALL, Prompts
from voicecall.errors import CarrierError

pytestmark = pytest.mark.unit


def test_prompts_end_in_the_order_they_were_sent() -> None:
    async def case() -> None:
        prompts = Prompts()
        first, second = prompts.add("a"), prompts.add("a")
        other = prompts.add("b")
        prompts.ended("a", "e1", completed=True)
        assert first.result() is True
        assert not second.done()
        prompts.ended("a", "e2", completed=False)
        assert second.result() is False
        assert not other.done()
        assert len(prompts) == 1

    asyncio.run(case())


def test_a_report_that_comes_twice_ends_one_prompt() -> None:
    async def case() -> None:
        prompts = Prompts()
        first, second = prompts.add("a"), prompts.add("a")
        for _ in range(2):
            prompts.ended("a", "e1", completed=True)
        assert first.done()
        assert not second.done()

    asyncio.run(case())


def test_reports_about_nothing_that_is_said_are_let_go() -> None:
    async def case() -> None:
        prompts = Prompts()
        for number in range(3000):
            prompts.ended("a", f"e{number}", completed=True)
        assert len(prompts._reported) == 1000
        assert len(prompts) == 0

    asyncio.run(case())


def test_a_call_on_which_much_waits_takes_no_more() -> None:
    async def case() -> None:
        prompts = Prompts()
        for _ in range(MAX_PROMPTS_PER_CALL):
            _ = prompts.add("a")
        with pytest.raises(CarrierError, match="already wait"):
            _ = prompts.add("a")
        _ = prompts.add("b")

    asyncio.run(case())


def test_cutting_ends_all_prompts_of_the_call_and_closing_those_of_all() -> None:
    async def case() -> None:
        prompts = Prompts()
        mine, other = prompts.add("a"), prompts.add("b")
        prompts.cut("a")
        prompts.cut("a")
        assert mine.result() is False
        assert not other.done()
        prompts.close()
        assert other.result() is False
        assert not prompts._open

    asyncio.run(case())


def test_a_forgotten_prompt_leaves_nothing_behind() -> None:
    async def case() -> None:
        prompts = Prompts()
        prompt = prompts.add("a")
        for _ in range(2):
            prompts.forget("a", prompt)
        assert not prompts._open

    asyncio.run(case())


def test_the_late_report_of_a_stopped_text_does_not_end_the_next_one() -> None:
    async def case() -> None:
        prompts = Prompts()
        stopped = prompts.add("a")
        prompts.stop("a")
        assert stopped.result() is False
        following = prompts.add("a")
        prompts.ended("a", "e1", completed=False)
        assert not following.done()
        prompts.ended("a", "e2", completed=False)
        assert following.result() is False

    asyncio.run(case())


def test_a_stopped_text_whose_report_is_lost_does_not_hold_up_the_next_one() -> None:
    async def case() -> None:
        prompts = Prompts()
        _ = prompts.add("a")
        prompts.stop("a")
        following = prompts.add("a")
        prompts.ended("a", "e1", completed=True)
        assert following.result() is True

    asyncio.run(case())


def test_calls_with_stopped_texts_are_remembered_up_to_a_number() -> None:
    async def case() -> None:
        prompts = Prompts()
        for number in range(3000):
            _ = prompts.add(f"c{number}")
            prompts.stop(f"c{number}")
        assert len(prompts._stopped) == 1000
        prompts.stop("never spoken to")
        assert len(prompts._stopped) == 1000

    asyncio.run(case())
