from __future__ import annotations

import asyncio

import pytest

from voicecall.carriers.twilio.prompts import Prompts

pytestmark = pytest.mark.unit


def test_a_prompt_that_was_said_is_complete() -> None:
    async def case() -> None:
        prompts = Prompts()
        prompt = prompts.begin("CA1")
        prompts.said("CA1", "another")
        prompts.said("CA2", prompt.id)
        assert not prompt.outcome.done()
        prompts.said("CA1", prompt.id)
        prompts.said("CA1", prompt.id)
        assert await prompt.outcome is True
        assert len(prompts) == 0

    asyncio.run(case())


def test_a_newer_prompt_the_end_and_the_close_cut_a_prompt_short() -> None:
    async def case() -> None:
        prompts = Prompts()
        first, second = prompts.begin("CA1"), prompts.begin("CA1")
        other = prompts.begin("CA2")
        assert await first.outcome is False
        prompts.cut("CA1")
        prompts.cut("CA1")
        assert await second.outcome is False
        prompts.close()
        assert await other.outcome is False
        assert len(prompts) == 0

    asyncio.run(case())


def test_the_oldest_prompt_gives_way_to_one_too_many() -> None:
    async def case() -> None:
        prompts = Prompts(capacity=2)
        oldest, second, newest = (prompts.begin(f"CA{n}") for n in range(3))
        assert await oldest.outcome is False
        assert not second.outcome.done()
        assert not newest.outcome.done()

    asyncio.run(case())
