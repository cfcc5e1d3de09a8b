"""The items of a simulated Realtime conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from openai.types.realtime.realtime_conversation_item_assistant_message import (
    RealtimeConversationItemAssistantMessage,
)
from openai.types.realtime.realtime_conversation_item_function_call import (
    RealtimeConversationItemFunctionCall,
)
from openai.types.realtime.realtime_conversation_item_function_call_output import (
    RealtimeConversationItemFunctionCallOutput,
)
from openai.types.realtime.realtime_conversation_item_system_message import (
    RealtimeConversationItemSystemMessage,
)
from openai.types.realtime.realtime_conversation_item_user_message import (
    RealtimeConversationItemUserMessage,
)

from voicecall.call.record import Speaker
from voicecall.dialog.history import SpokenText, heard_text
from voicecall.ports import ToolUse, Turn
from voicecall.simulator.models.vendor_types import Unacceptable, made

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import BaseModel

Kind = Literal["message", "function_call", "function_call_output"]
Status = Literal["completed", "incomplete", "in_progress"]

_INAUDIBLE = "[inaudible]"
_MESSAGES: dict[str, type[BaseModel]] = {
    "assistant": RealtimeConversationItemAssistantMessage,
    "system": RealtimeConversationItemSystemMessage,
    "user": RealtimeConversationItemUserMessage,
}


@dataclass(slots=True)
class Item:
    """One item.

    Attributes:
        id: the server's, or the client's own.
        kind: what it is.
        role: of a message.
        content: the type of a message's one part, such as `input_audio`.
        text: of a message, or its transcript.
        spoken: what an assistant's audio says, by sentence.
        status: whether it is complete.
        call_id: of a function call or of its output.
        name: of the function.
        arguments: of the call.
        output: of the call.
        understanding: gives `text` to a message that was spoken to us.
    """

    id: str
    kind: Kind = "message"
    role: str = ""
    content: str = ""
    text: str = ""
    spoken: list[SpokenText] = field(default_factory=list)
    status: Status = "completed"
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""
    understanding: asyncio.Task[None] | None = None

    @property
    def audio_ms(self) -> float:
        """How long an assistant's audio is."""
        return sum(stretch.duration_ms for stretch in self.spoken)

    def cut(self, end_ms: int) -> None:
        """Forget what an assistant said after `end_ms`."""
        self.text = heard_text(self.spoken, end_ms)
        self.spoken = [SpokenText(self.text, end_ms)]

    def model(self, *, empty: bool = False) -> BaseModel:
        """The item as the package has it; `empty` leaves out what a message says."""
        common: dict[str, Any] = {"id": self.id, "object": "realtime.item", "status": self.status}
        if self.kind == "function_call":
            call = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
            return made(RealtimeConversationItemFunctionCall, **common, **call)
        if self.kind == "function_call_output":
            result = {"call_id": self.call_id, "output": self.output}
            return made(RealtimeConversationItemFunctionCallOutput, **common, **result)
        word = "transcript" if self.content.endswith("audio") else "text"
        parts = [] if empty else [{"type": self.content, word: self.text or None}]
        role = {"type": "message", "role": self.role, "content": parts}
        return made(_MESSAGES[self.role], **common, **role)


def item_of(data: Mapping[str, Any], new_id: str) -> Item:
    """The item a client wants created.

    Args:
        data: one of the package's `ConversationItemParam`, validated.
        new_id: its id unless the client gives one.

    Raises:
        Unacceptable: a conversation cannot hold it.
    """
    item = Item(data.get("id") or new_id)
    match data["type"]:
        case "message":
            item.role = data["role"]
            parts = list(data["content"])
            texts = [part.get("text") or part.get("transcript") or "" for part in parts]
            item.text = " ".join(text for text in texts if text)
            item.content = parts[0].get("type", "input_text") if parts else "input_text"
            _refuse_strange_content(item)
        case "function_call":
            item.kind = "function_call"
            item.call_id = data.get("call_id") or new_id
            item.name, item.arguments = data["name"], data["arguments"]
        case "function_call_output":
            item.kind = "function_call_output"
            item.call_id, item.output = data["call_id"], data["output"]
        case other:
            message = f"Items of type '{other}' are not supported here."
            raise Unacceptable(message, param="item.type", code="invalid_value")
    return item


def _refuse_strange_content(item: Item) -> None:
    allowed = {
        "assistant": ("output_text",),
        "system": ("input_text",),
        "user": ("input_text", "input_audio"),
    }[item.role]
    if item.content not in allowed:
        message = f"Invalid value: '{item.content}'. A {item.role} message may hold {allowed}."
        raise Unacceptable(message, param="item.content[0].type", code="invalid_value")


class Items:
    """A conversation, in order."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Add an item.

        Args:
            item: it.
            after: the id of the item before it; `root` for the front, None for the end.

        Returns:
            The id of the item before it, if any.

        Raises:
            Unacceptable: there is no such item, or already one of this id.
        """
        if any(other.id == item.id for other in self._items):
            message = f"An item with id '{item.id}' exists already."
            raise Unacceptable(message, param="item.id", code="invalid_value")
        place = len(self._items)
        if after == "root":
            place = 0
        elif after is not None:
            place = self._items.index(self.get(after, "previous_item_id")) + 1
        self._items.insert(place, item)
        return self._items[place - 1].id if place else None

    def get(self, item_id: str, param: str = "item_id") -> Item:
        """The item of an id. Raises `Unacceptable` when there is none."""
        for item in self._items:
            if item.id == item_id:
                return item
        message = f"Item with id '{item_id}' not found."
        raise Unacceptable(message, param=param, code="item_not_found")

    def delete(self, item_id: str) -> None:
        """Remove an item. Raises `Unacceptable` when there is none."""
        self._items.remove(self.get(item_id))

    def calls(self, call_id: str) -> bool:
        """Whether a function call has this id."""
        return any(item.kind == "function_call" and item.call_id == call_id for item in self)

    def __iter__(self) -> Iterator[Item]:
        return iter(tuple(self._items))


def turns_of(items: Iterable[Item]) -> list[Turn]:
    """A conversation as the brain takes it; a call whose output is not there yet is left out."""
    items = tuple(items)
    outputs = {item.call_id: item.output for item in items if item.kind == "function_call_output"}
    turns: list[Turn] = []
    for item in items:
        if item.kind == "function_call" and item.call_id in outputs:
            use = ToolUse(item.name, item.arguments, outputs[item.call_id])
            turns.append(Turn(Speaker.BOT, "", use))
        elif item.kind == "message" and item.role == "assistant":
            if item.text:
                turns.append(Turn(Speaker.BOT, item.text))
        elif item.kind == "message":
            turns.append(Turn(Speaker.USER, item.text or _INAUDIBLE))
    return turns
