from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from voicecall.carriers import _prompts
from voicecall.carriers._prompts import Prompt, Prompts
from voicecall.errors import CarrierError

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.unit


def run(case: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(case, 10))


class Pushed:
    """What was pushed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.prompts: list[Prompt] = []
        self.any = asyncio.Event()
        self._error = error

    async def __call__(self, prompt: Prompt) -> None:
        self.prompts.append(prompt)
        self.any.set()
        if self._error is not None:
            raise self._error


def test_a_prompt_waits_until_it_was_said() -> None:
    async def case() -> None:
        prompts = Prompts()
        prompt = prompts.put("call", "Hello")
        assert prompts.next("call") is prompt
        prompts.said("call", "another")
        prompts.said("nobody", prompt.id)
        assert not prompt.outcome.done()
        for _ in range(2):
            prompts.said("call", prompt.id)
        assert prompt.outcome.result() is True
        assert prompts.next("call") is None
        assert len(prompts) == 0

    run(case())


def test_a_newer_prompt_cuts_the_older_one() -> None:
    async def case() -> None:
        prompts = Prompts()
        older, newer = prompts.put("call", "One"), prompts.put("call", "Two")
        assert older.outcome.result() is False
        prompts.said("call", older.id)
        assert prompts.next("call") is newer

    run(case())


def test_only_the_first_word_on_a_prompt_counts() -> None:
    async def case() -> None:
        prompts = Prompts()
        prompt = prompts.put("call", "Hello")
        prompts.cut("call")
        prompts.said("call", prompt.id)
        prompt.settle(completed=True)
        assert prompt.outcome.result() is False

    run(case())


def test_calls_do_not_touch_each_other() -> None:
    async def case() -> None:
        prompts = Prompts()
        mine, yours = prompts.put("mine", "One"), prompts.put("yours", "Two")
        prompts.cut("mine")
        prompts.cut("nobody")
        assert mine.outcome.done()
        assert not yours.outcome.done()
        prompts.close()
        assert yours.outcome.result() is False

    run(case())


def test_of_too_many_the_oldest_is_given_up() -> None:
    async def case() -> None:
        prompts = Prompts(capacity=2)
        first, *others = [prompts.put(call, "Hello") for call in "abc"]
        assert first.outcome.result() is False
        assert not any(prompt.outcome.done() for prompt in others)
        assert len(prompts) == 2
        for call in "def":
            prompts.asks(call)
        pushed = Pushed()
        saying = asyncio.create_task(prompts.say("d", "Hello", pushed))
        await pushed.any.wait()
        prompts.cut("d")
        assert await saying is False

    run(case())


def test_a_call_that_does_not_ask_is_made_to() -> None:
    async def case() -> None:
        prompts, pushed = Prompts(), Pushed()
        saying = asyncio.create_task(prompts.say("call", "Hello", pushed))
        await pushed.any.wait()
        (prompt,) = pushed.prompts
        assert prompt.text == "Hello"
        prompts.said("call", prompt.id)
        assert await saying is True

    run(case())


def test_a_call_that_asks_is_told_in_the_answer_and_not_twice() -> None:
    async def case() -> None:
        prompts, pushed = Prompts(), Pushed()
        prompts.asks("call")
        saying = asyncio.create_task(prompts.say("call", "Hello", pushed))
        await asyncio.sleep(0)
        prompt = prompts.next("call")
        assert prompt is not None
        prompts.said("call", prompt.id)
        assert await saying is True
        assert pushed.prompts == []

    run(case())


def test_a_call_whose_question_gets_no_answer_is_made_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_prompts, "_ANSWER_S", 0.01)

    async def case() -> None:
        prompts, pushed = Prompts(), Pushed()
        prompts.asks("call")
        saying = asyncio.create_task(prompts.say("call", "Hello", pushed))
        await pushed.any.wait()
        prompts.said("call", pushed.prompts[0].id)
        assert await saying is True

    run(case())


def test_a_prompt_cut_before_the_answer_is_not_pushed() -> None:
    async def case() -> None:
        prompts, pushed = Prompts(), Pushed()
        prompts.asks("call")
        saying = asyncio.create_task(prompts.say("call", "Hello", pushed))
        await asyncio.sleep(0)
        prompts.cut("call")
        assert await saying is False
        assert prompts.next("call") is None
        assert pushed.prompts == []

    run(case())


def test_a_prompt_nobody_reports_the_end_of_counts_as_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_prompts, "SPEECH_S", 0.01)
    monkeypatch.setattr(_prompts, "SPEECH_S_PER_CHAR", 0.0)

    async def case() -> None:
        prompts = Prompts()
        assert await prompts.say("call", "Hello", Pushed()) is False
        assert len(prompts) == 0

    run(case())
    assert "no report" in caplog.text


def test_a_refused_or_cancelled_prompt_leaves_nothing_behind() -> None:
    async def case() -> None:
        prompts = Prompts()
        with pytest.raises(CarrierError):
            await prompts.say("call", "Hello", Pushed(CarrierError("no")))
        assert len(prompts) == 0
        pushed = Pushed()
        saying = asyncio.create_task(prompts.say("call", "Hello", pushed))
        await pushed.any.wait()
        saying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saying
        assert len(prompts) == 0

    run(case())
