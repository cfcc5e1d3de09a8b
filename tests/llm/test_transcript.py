from __future__ import annotations

import re

import pytest

from voicecall.call.record import Speaker
from voicecall.llm.transcript import Said, Used, json_object, transcript
from voicecall.ports import ReplyRequest, ToolUse, Turn

pytestmark = pytest.mark.unit

USER, BOT = Speaker.USER, Speaker.BOT


def used(arguments: str) -> Turn:
    return Turn(BOT, "", ToolUse("clock", arguments, "It is noon."))


def test_what_was_said_stays_in_order() -> None:
    turns = [Turn(USER, "Hello."), Turn(BOT, "Hi."), Turn(USER, "Who is this?")]
    assert transcript(ReplyRequest("c-1", turns)) == [
        Said(USER, "Hello."),
        Said(BOT, "Hi."),
        Said(USER, "Who is this?"),
    ]


def test_keys_are_told_as_something_that_happened() -> None:
    items = transcript(ReplyRequest("c-1", [Turn(USER, "Hello.")], digits="5#"))
    assert items[-1] == Said(USER, "[The caller pressed 5# on the keypad.]")


def test_a_conversation_begins_with_the_caller_even_if_the_bot_spoke_first() -> None:
    items = transcript(ReplyRequest("c-1", [Turn(BOT, "Hi."), Turn(USER, "Hello.")]))
    assert items == [
        Said(USER, "[The call was answered.]"),
        Said(BOT, "Hi."),
        Said(USER, "Hello."),
    ]


def test_an_empty_conversation_is_something_to_answer_all_the_same() -> None:
    assert transcript(ReplyRequest("c-1", ())) == [Said(USER, "[The call was answered.]")]


def test_a_conversation_never_ends_with_the_bot() -> None:
    last = transcript(ReplyRequest("c-1", [Turn(USER, "Hello."), Turn(BOT, "Hi.")]))[-1]
    assert isinstance(last, Said)
    assert last.speaker is USER


def test_earlier_uses_of_tools_have_ids_that_every_model_takes() -> None:
    turns = [Turn(USER, "When?"), used("{}"), used('{"zone": "UTC"}'), Turn(USER, "And now?")]
    uses = [item for item in transcript(ReplyRequest("c-1", turns)) if isinstance(item, Used)]
    assert [item.use.arguments for item in uses] == ["{}", '{"zone": "UTC"}']
    assert len({item.id for item in uses}) == 2
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", item.id) for item in uses)


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "null", "5", "[" * 100_000])
def test_arguments_that_are_no_object_are_replayed_as_none(arguments: str) -> None:
    assert json_object(arguments) == "{}"
    items = transcript(ReplyRequest("c-1", [Turn(USER, "When?"), used(arguments)]))
    assert [item.use.arguments for item in items if isinstance(item, Used)] == ["{}"]


def test_arguments_that_are_an_object_are_replayed_as_they_were() -> None:
    assert json_object(' {"a": 1.0}') == ' {"a": 1.0}'
