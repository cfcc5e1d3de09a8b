from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakeResponder, run
from voicecall.clock import ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import HangUp, ReplyPart, ReplyRequest
from voicecall.session.reply import Reply
from voicecall.session.timing import TurnTiming

pytestmark = pytest.mark.unit


def read(*parts: ReplyPart | Exception | asyncio.Event) -> tuple[list[str], Reply, TurnTiming]:
    async def case() -> tuple[list[str], Reply, TurnTiming]:
        responder, timing = FakeResponder(parts), TurnTiming()
        reply = Reply(responder.reply(ReplyRequest("c", ())), 0.01, ManualClock(5), timing)
        texts = [text async for text in reply.texts()]
        assert responder.closed == 1
        return texts, reply, timing

    return run(case())


def test_texts_are_passed_on_and_the_first_is_timed() -> None:
    texts, reply, timing = read("One ", "two.")
    assert texts == ["One ", "two."]
    assert timing.first_token_ns == 5
    assert not reply.hang_up
    assert not reply.failed


def test_a_text_of_any_length_is_passed_on_in_short_pieces() -> None:
    texts, reply, _ = read("x" * 100_001, "y")
    assert "".join(texts) == "x" * 100_001 + "y"
    assert max(map(len, texts)) <= 500
    assert not reply.failed


def test_nothing_after_a_hang_up_is_said() -> None:
    texts, reply, _ = read("Bye.", HangUp(), "More.")
    assert texts == ["Bye."]
    assert reply.hang_up


@pytest.mark.parametrize("failure", [SpeechError("x"), KeyError("x"), asyncio.Event()])
def test_a_failure_keeps_what_came_before(failure: Exception | asyncio.Event) -> None:
    texts, reply, _ = read("One.", failure, "Two.")
    assert texts == ["One."]
    assert reply.failed
    assert not reply.hang_up
