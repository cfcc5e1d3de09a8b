from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.carriers.plivo.prompts import Prompts

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit


def in_loop(case: Callable[[], None]) -> None:
    async def run() -> None:
        case()

    asyncio.run(run())


def test_a_prompt_waits_until_it_was_spoken() -> None:
    def case() -> None:
        prompts = Prompts()
        prompt = prompts.put("call", "Hello")
        assert prompts.next("call") is prompt
        assert not prompt.outcome.done()
        prompts.spoken("call", prompt.id)
        assert prompt.outcome.result() is True
        assert prompts.next("call") is None
        assert len(prompts) == 0

    in_loop(case)


def test_a_newer_prompt_cuts_the_older_one() -> None:
    def case() -> None:
        prompts = Prompts()
        older, newer = prompts.put("call", "One"), prompts.put("call", "Two")
        assert older.outcome.result() is False
        assert prompts.next("call") is newer
        prompts.spoken("call", older.id)
        assert prompts.next("call") is newer

    in_loop(case)


def test_only_the_first_word_on_a_prompt_counts() -> None:
    def case() -> None:
        prompts = Prompts()
        prompt = prompts.put("call", "Hello")
        prompts.cut("call")
        prompts.spoken("call", prompt.id)
        prompt.settle(completed=True)
        assert prompt.outcome.result() is False

    in_loop(case)


def test_calls_do_not_touch_each_other() -> None:
    def case() -> None:
        prompts = Prompts()
        mine, yours = prompts.put("mine", "One"), prompts.put("yours", "Two")
        prompts.cut("mine")
        prompts.cut("nobody")
        assert mine.outcome.done()
        assert not yours.outcome.done()

    in_loop(case)


def test_the_oldest_prompt_is_cut_when_there_are_too_many() -> None:
    def case() -> None:
        prompts = Prompts(capacity=2)
        first, *others = [prompts.put(call, "Hello") for call in "abc"]
        assert first.outcome.result() is False
        assert not any(prompt.outcome.done() for prompt in others)
        assert len(prompts) == 2

    in_loop(case)
