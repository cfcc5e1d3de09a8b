from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.session.fakes import FakeResponder, run
from voicecall.clock import ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import HangUp, PressKeys, ReplyPart, ReplyRequest, ToolUse, Transfer
from voicecall.session.reply import Action, Reply
from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit


@dataclass
class Read:
    """What was read of a reply."""

    stretches: list[list[str]] = field(default_factory=list)
    actions: list[Action | None] = field(default_factory=list)
    tools: list[ToolUse] = field(default_factory=list)
    timing: TurnTiming = field(default_factory=TurnTiming)
    failed: bool = False


def read(*parts: ReplyPart | Exception | asyncio.Event) -> Read:
    async def case() -> Read:
        responder, result = FakeResponder(parts), Read()
        source = responder.reply(ReplyRequest("c", ()))
        reply = Reply(source, 0.01, ManualClock(5), result.timing, result.tools.append)
        async with reply:
            while not reply.over:
                result.stretches.append([text async for text in reply.texts()])
                result.actions.append(reply.action)
        assert responder.closed == 1
        result.failed = reply.failed
        return result

    return run(case())


def test_texts_are_passed_on_and_the_first_is_timed() -> None:
    result = read("One ", "two.")
    assert result.stretches == [["One ", "two."]]
    assert result.actions == [None]
    assert result.timing.first_token_ns == 5
    assert not result.failed


def test_a_text_of_any_length_is_passed_on_in_short_pieces() -> None:
    result = read("x" * 100_001, "y")
    (texts,) = result.stretches
    assert "".join(texts) == "x" * 100_001 + "y"
    assert max(map(len, texts)) <= 500
    assert not result.failed


@pytest.mark.parametrize("action", [HangUp(), Transfer("+15550000001")])
def test_nothing_after_the_end_of_the_call_is_said(action: HangUp | Transfer) -> None:
    result = read("Bye.", action, "More.")
    assert result.stretches == [["Bye."]]
    assert result.actions == [action]


def test_text_goes_on_after_keys() -> None:
    result = read("One.", PressKeys("1"), "Two.")
    assert result.stretches == [["One."], ["Two."]]
    assert result.actions == [PressKeys("1"), None]


def test_the_use_of_a_tool_is_told_and_interrupts_no_text() -> None:
    use = ToolUse("book", "{}", "booked")
    result = read("One moment. ", use, "Done.")
    assert result.tools == [use]
    assert result.stretches == [["One moment. ", "Done."]]


@pytest.mark.parametrize("failure", [SpeechError("x"), KeyError("x"), asyncio.Event()])
def test_a_failure_keeps_what_came_before(failure: Exception | asyncio.Event) -> None:
    result = read("One.", failure, "Two.")
    assert result.stretches == [["One."]]
    assert result.failed
    assert result.actions == [None]


def test_a_responder_that_fails_when_it_is_closed_spoils_nothing() -> None:
    class Parts:
        def __init__(self) -> None:
            self.closed = False

        def __aiter__(self) -> Parts:
            return self

        async def __anext__(self) -> str:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            self.closed = True
            raise KeyError("a bug")

    async def case() -> None:
        parts = Parts()
        async with Reply(parts, 1, ManualClock(), TurnTiming(), lambda _: None) as reply:
            assert [text async for text in reply.texts()] == []
        assert parts.closed
        assert not reply.failed

    run(case())
