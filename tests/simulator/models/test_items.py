from __future__ import annotations

from typing import Any

import pytest

from voicecall.call.record import Speaker
from voicecall.dialog.history import SpokenText
from voicecall.ports import ToolUse, Turn
from voicecall.simulator.models.items import Item, Items, item_of, turns_of
from voicecall.simulator.models.vendor_types import Unacceptable

pytestmark = pytest.mark.unit


def message(role: str, kind: str = "input_text", **part: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, **part}]}


def test_items_become_turns_as_the_brain_takes_them() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "book", "arguments": "{}"}
    pending = {**call, "call_id": "c2"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "done"}
    data = [
        message("user", text="when?"),
        message("assistant", "output_text", text="at ten"),
        call,
        pending,
        output,
        message("user", "input_audio", transcript="thanks"),
        message("user", "input_audio"),
        message("system", text="[The caller pressed 5.]"),
    ]
    items = [item_of(each, f"item-{index}") for index, each in enumerate(data)]
    assert turns_of(items) == [
        Turn(Speaker.USER, "when?"),
        Turn(Speaker.BOT, "at ten"),
        Turn(Speaker.BOT, "", ToolUse("book", "{}", "done")),
        Turn(Speaker.USER, "thanks"),
        Turn(Speaker.USER, "[inaudible]"),
        Turn(Speaker.USER, "[The caller pressed 5.]"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        message("assistant", "input_text", text="x"),
        message("user", "output_text", text="x"),
        message("system", "input_audio"),
        {"type": "mcp_call"},
    ],
)
def test_what_a_conversation_cannot_hold_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(Unacceptable):
        item_of(data, "item")


def test_an_item_keeps_the_clients_id_and_place() -> None:
    items = Items()
    assert items.add(item_of({**message("user", text="a"), "id": "mine"}, "new")) is None
    assert items.add(Item("second", role="user")) == "mine"
    assert items.add(Item("between", role="user"), after="mine") == "mine"
    assert items.add(Item("first", role="user"), after="root") is None
    assert [item.id for item in items] == ["first", "mine", "between", "second"]
    with pytest.raises(Unacceptable):
        items.add(Item("mine"))
    items.delete("mine")
    with pytest.raises(Unacceptable):
        items.get("mine")


def test_cut_speech_keeps_the_words_that_were_heard() -> None:
    item = Item("said", role="assistant", content="output_audio", text="one two. three")
    item.spoken = [SpokenText("one two.", 1000), SpokenText("three", 500)]
    assert item.audio_ms == 1500
    item.cut(1000)
    assert item.text == "one two."
    assert item.audio_ms == 1000


def test_an_item_is_the_packages_own_and_may_leave_out_what_it_says() -> None:
    item = Item("said", role="assistant", content="output_audio", text="one")
    whole = item.model().model_dump(exclude_unset=True)
    assert whole["content"] == [{"type": "output_audio", "transcript": "one"}]
    assert item.model(empty=True).model_dump(exclude_unset=True)["content"] == []
