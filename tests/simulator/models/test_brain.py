from __future__ import annotations

import asyncio

import pytest

from voicecall.call.record import Speaker
from voicecall.llm.persona import builtin_persona, parse_persona
from voicecall.ports import ToolUse, Turn
from voicecall.simulator.models.brain import END_CALL, Brain, Question, ToolRule, Use

pytestmark = pytest.mark.unit

CHECK = ToolRule(
    "weather",
    (Use("look_up", {"city": "Paris"}),),
    then="They say: {result}.",
    before="One moment.",
)


def answer(brain: Brain, *turns: Turn, tools: tuple[str, ...] = ()) -> list[str | Use]:
    async def ask() -> list[str | Use]:
        return [part async for part in brain.answer(Question(turns, frozenset(tools)))]

    return asyncio.run(ask())


def said(parts: list[str | Use]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def user(text: str) -> Turn:
    return Turn(Speaker.USER, text)


def used(name: str, result: str) -> Turn:
    return Turn(Speaker.BOT, "", ToolUse(name, "{}", result))


def test_without_a_conversation_it_greets() -> None:
    assert said(answer(Brain())) == builtin_persona().greeting


def test_it_answers_as_its_persona_word_by_word() -> None:
    parts = answer(Brain(), user("What are your hours?"))
    assert len(parts) > 5
    assert "Monday to Friday" in said(parts)


def test_a_tool_is_used_then_its_result_is_said() -> None:
    brain = Brain(rules=[CHECK])
    first = answer(brain, user("How is the weather?"), tools=("look_up",))
    assert said(first) == "One moment."
    assert first[-1] == Use("look_up", {"city": "Paris"})
    then = answer(brain, user("How is the weather?"), used("look_up", "rain"), tools=("look_up",))
    assert said(then) == "They say: rain."


def test_a_tool_that_is_not_offered_is_not_used() -> None:
    parts = answer(Brain(rules=[CHECK]), user("How is the weather?"))
    assert said(parts) == builtin_persona().fallback[0]
    assert not any(isinstance(part, Use) for part in parts)


def test_tools_are_used_as_many_rounds_as_the_rule_says() -> None:
    rule = ToolRule("weather", (Use("a"), Use("b")), rounds=2)
    brain = Brain(rules=[rule])
    turns = [user("weather"), used("a", "1"), used("b", "2")]
    assert answer(brain, *turns, tools=("a", "b")) == [Use("a"), Use("b")]
    turns += [used("a", "3"), used("b", "4")]
    assert said(answer(brain, *turns, tools=("a", "b"))) == "4"


def test_where_the_persona_hangs_up_the_call_is_ended_by_tool_once() -> None:
    first = answer(Brain(), user("Goodbye"), tools=(END_CALL,))
    assert first[-1] == Use(END_CALL)
    assert "Goodbye" in said(first)
    assert answer(Brain(), user("Goodbye"), used(END_CALL, "ok"), tools=(END_CALL,)) == []


def test_keys_that_the_user_is_told_to_have_pressed_are_answered() -> None:
    persona = parse_persona('{greeting: "Hi.", rules: [{digit: "5", reply: "Five."}]}', origin="t")
    parts = answer(Brain(persona), user("[The caller pressed 5 on the keypad.]"))
    assert said(parts) == "Five."
