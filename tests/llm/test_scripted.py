from __future__ import annotations

import asyncio

import pytest

from voicecall.call.record import Speaker
from voicecall.llm.persona import Persona, builtin_persona, parse_persona
from voicecall.llm.scripted import ScriptedResponder
from voicecall.ports import HangUp, ReplyPart, ReplyRequest, Turn

pytestmark = pytest.mark.unit

PERSONA = parse_persona(
    """{
      greeting: "Hello.",
      rules: [
        {match: "bye", hangUp: true},
        {match: "leave", reply: "See you.", hangUp: true},
        {match: ["open", "hours"], reply: ["At eight.", "At eight, as I said."]},
        {digit: "1", reply: ["One.", "One again."]},
      ],
      fallback: ["Pardon?", "Once more?"],
      farewell: "Farewell.",
    }""",
    origin="test",
)


def parts(*said: str, digits: str = "", persona: Persona = PERSONA) -> list[ReplyPart]:
    """What is answered; what the caller said and what the bot said take turns."""
    speakers = (Speaker.USER, Speaker.BOT)
    history = [Turn(speakers[at % 2], text) for at, text in enumerate(said)]

    async def case() -> list[ReplyPart]:
        request = ReplyRequest("call", history, digits)
        return [part async for part in ScriptedResponder(persona).reply(request)]

    return asyncio.run(case())


def reply(*said: str, digits: str = "", persona: Persona = PERSONA) -> str:
    answer = parts(*said, digits=digits, persona=persona)
    return "".join(part for part in answer if isinstance(part, str))


def test_it_greets_before_anybody_has_spoken() -> None:
    assert reply() == "Hello."


def test_the_first_rule_that_matches_answers() -> None:
    assert reply("Your hours, before I leave?") == "See you."


def test_a_reply_comes_in_pieces() -> None:
    assert parts("When do you open?") == ["At ", "eight."]


def test_replies_of_a_rule_are_given_in_order_and_then_again() -> None:
    asked = ["open?", "x", "what are your hours?", "x", "and open?"]
    assert reply(*asked[:1]) == "At eight."
    assert reply(*asked[:3]) == "At eight, as I said."
    assert reply(*asked) == "At eight."


def test_what_no_rule_knows_gets_the_fallbacks_in_order() -> None:
    assert reply("blue") == "Pardon?"
    assert reply("blue", "Pardon?", "green") == "Once more?"


def test_a_rule_can_hang_up_after_its_reply() -> None:
    assert parts("I leave")[-1] == HangUp()
    assert reply("I leave") == "See you."


def test_a_hang_up_without_a_reply_says_farewell() -> None:
    assert parts("Bye") == ["Farewell.", HangUp()]


def test_a_key_is_answered_whatever_was_said_before() -> None:
    assert reply("blue", "Pardon?", digits="1") == "One."
    assert reply("blue", "One.", digits="1") == "One again."


def test_the_newest_key_decides() -> None:
    assert reply(digits="91") == "One."


def test_a_key_that_no_rule_knows_is_not_answered() -> None:
    assert parts("blue", digits="9") == []


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("When are you open?", "Monday to Friday"),
        ("I'd like to book an appointment, please.", "Tuesday, March third"),
        ("Can I talk to a real person?", "colleague"),
        ("What services do you offer?", "four doctors"),
        ("Stop, please.", "Of course"),
        ("That's all, thank you.", "Goodbye"),
        ("Goodbye.", "Goodbye"),
        ("Yes, please.", "noted"),
        ("My cat is blue.", "opening hours"),
    ],
)
def test_the_builtin_receptionist_knows_its_trade(said: str, answer: str) -> None:
    assert answer in reply(said, persona=builtin_persona())


@pytest.mark.parametrize(("key", "answer"), [("1", "pressed one"), ("5", "pressed five")])
def test_the_builtin_receptionist_reacts_to_keys(key: str, answer: str) -> None:
    assert answer in reply("hi", "hello", digits=key, persona=builtin_persona())


def test_the_builtin_receptionist_hangs_up_after_goodbye() -> None:
    assert parts("Thank you, goodbye.", persona=builtin_persona())[-1] == HangUp()
