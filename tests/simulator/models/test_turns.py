from __future__ import annotations

import pytest

from voicecall.call.record import Speaker
from voicecall.ports import ToolUse, Turn
from voicecall.simulator.models.brain import Use
from voicecall.simulator.models.turns import TurnReader, arguments_of, written_text
from voicecall.simulator.models.vendor_types import Unacceptable

pytestmark = pytest.mark.unit


def test_messages_uses_and_results_become_turns() -> None:
    reader = TurnReader()
    reader.message("system", "Be brief.")
    reader.message("developer", [{"type": "input_text", "text": "Be kind."}])
    reader.message("user", "Hello")
    reader.call("c1", "look_up", '{"a": 1}')
    reader.result("c1", "rain")
    reader.message("assistant", [{"type": "output_text", "text": "It rains."}])
    reader.finish()
    assert reader.instructions == "Be brief.\nBe kind."
    assert reader.turns == [
        Turn(Speaker.USER, "Hello"),
        Turn(Speaker.BOT, "", ToolUse("look_up", '{"a": 1}', "rain")),
        Turn(Speaker.BOT, "It rains."),
    ]


def test_a_result_of_nothing_is_refused() -> None:
    with pytest.raises(Unacceptable, match="No tool call found"):
        TurnReader().result("c1", "rain")


def test_a_use_without_a_result_is_refused() -> None:
    reader = TurnReader()
    reader.call("c1", "look_up", "{}")
    with pytest.raises(Unacceptable, match="No tool output found"):
        reader.finish()


def test_content_is_the_text_of_all_its_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert written_text(parts) == "ab"
    assert written_text(None) == ""


def test_arguments_are_written_as_json() -> None:
    assert arguments_of(Use("x", {"city": "Paris"})) == '{"city": "Paris"}'
