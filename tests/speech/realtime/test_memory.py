from __future__ import annotations

import pytest

from voicecall.call.record import Speaker
from voicecall.ports import ToolUse, Turn
from voicecall.speech.realtime.memory import Memory

pytestmark = pytest.mark.unit

USE = ToolUse("book", "{}", "done")


def test_a_turn_keeps_the_place_it_took_when_it_began() -> None:
    memory = Memory([Turn(Speaker.BOT, "hello")])
    memory.tell("caller", Speaker.USER, "")
    memory.tell("bot", Speaker.BOT, "at ten")
    memory.tell("caller", Speaker.USER, "when?")
    assert [turn.text for turn in memory.turns] == ["hello", "when?", "at ten"]


def test_turns_without_text_as_yet_are_not_told_but_uses_of_tools_are() -> None:
    memory = Memory()
    memory.tell("caller", Speaker.USER, "  ")
    memory.put("tool", Turn(Speaker.BOT, "", USE))
    assert memory.turns == (Turn(Speaker.BOT, "", USE),)
    assert [key for key, _ in memory.items()] == ["tool"]


def test_a_turn_that_was_not_heard_is_forgotten() -> None:
    memory = Memory()
    memory.tell("bot", Speaker.BOT, "at ten")
    memory.forget("bot")
    memory.forget("never known")
    assert memory.turns == ()
    assert memory.text("bot") == ""


def test_beyond_its_size_the_oldest_turn_is_forgotten() -> None:
    memory = Memory(size=2)
    for number in range(4):
        memory.tell(str(number), Speaker.USER, f"number {number}")
    assert [turn.text for turn in memory.turns] == ["number 2", "number 3"]


def test_of_a_very_long_turn_the_end_is_kept() -> None:
    memory = Memory()
    memory.tell("bot", Speaker.BOT, "a" * 9000 + "b")
    assert len(memory.text("bot")) == 8000
    assert memory.text("bot").endswith("b")
