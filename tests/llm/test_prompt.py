from __future__ import annotations

import pytest

from voicecall.dialog.sentences import plain
from voicecall.llm.prompt import PERSONA, system_prompt

pytestmark = pytest.mark.unit


def test_a_model_that_nobody_has_instructed_is_a_friendly_assistant() -> None:
    assert system_prompt(None).startswith(PERSONA)
    assert system_prompt("  ").startswith(PERSONA)


def test_instructions_come_first_and_replace_the_persona() -> None:
    prompt = system_prompt("You sell bread.\n")
    assert prompt.startswith("You sell bread.\n\n")
    assert PERSONA not in prompt


def test_every_model_is_told_how_to_speak_on_the_telephone() -> None:
    prompt = system_prompt("You sell bread.")
    for word in ("brief", "markdown", "emoji", "web addresses", "digit by digit", "one thing"):
        assert word in prompt.lower()


def test_the_direction_of_the_call_is_told() -> None:
    assert "called you" in system_prompt(None, direction="inbound")
    assert "You called" in system_prompt(None, direction="outbound")
    assert system_prompt(None, direction="sideways") == system_prompt(None)


def test_tools_are_mentioned_only_where_there_are_some() -> None:
    assert "tool" not in system_prompt(None)
    assert "tool" in system_prompt(None, tools=["weather"])


def test_how_to_end_a_call_is_told_only_to_who_can() -> None:
    assert "end_call" not in system_prompt(None, tools=["weather"])
    assert "say goodbye and call end_call" in system_prompt(None, tools=["end_call"])


def test_the_prompt_is_written_as_it_wants_answers_to_be() -> None:
    # No emphasis, no links, no emoji: only its own line marks are dropped.
    prompt = system_prompt(None, direction="inbound", tools=["end_call"])
    assert plain(prompt.replace("\n- ", "\n")) == " ".join(
        prompt.replace("\n- ", "\n").replace("_", " ").split()
    )
