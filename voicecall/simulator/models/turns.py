"""Conversations as requests carry them, made into turns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from voicecall.call.record import Speaker
from voicecall.ports import ToolUse, Turn
from voicecall.simulator.models.vendor_types import Unacceptable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.simulator.models.brain import Use

_SPEAKERS = {"user": Speaker.USER, "assistant": Speaker.BOT}


class TurnReader:
    """Puts a request's messages, uses of tools and their results together.

    Attributes:
        turns: oldest first.
        instructions: what system and developer messages say.
    """

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.instructions = ""
        self._unanswered: dict[str, tuple[str, str]] = {}

    def message(self, role: str, content: object) -> None:
        """Take a message.

        Args:
            role: `user`, `assistant`, `system` or `developer`.
            content: a text, or a list of parts.
        """
        text = written_text(content)
        speaker = _SPEAKERS.get(role)
        if speaker is None:
            self.instructions = f"{self.instructions}\n{text}".strip()
        elif text:
            self.turns.append(Turn(speaker, text))

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """Take a use of a tool."""
        self._unanswered[call_id] = name, arguments

    def result(self, call_id: str, output: object) -> None:
        """Take what a tool gave.

        Raises:
            Unacceptable: no use has that id.
        """
        use = self._unanswered.pop(call_id, None)
        if use is None:
            message = f"No tool call found for function call output with call_id {call_id}."
            raise Unacceptable(message, param="input")
        self.turns.append(Turn(Speaker.BOT, "", ToolUse(*use, written_text(output))))

    def finish(self) -> None:
        """Say that the conversation is complete.

        Raises:
            Unacceptable: a use of a tool has no result.
        """
        for call_id in self._unanswered:
            message = f"No tool output found for function call {call_id}."
            raise Unacceptable(message, param="input")


def written_text(content: object) -> str:
    """The text of a message's content: of all its parts that have one."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(str(part["text"]) for part in content if "text" in part)


def arguments_of(use: Use) -> str:
    """The arguments of a use of a tool, as models write them."""
    return json.dumps(use.arguments)


def text_of(fields: Mapping[str, Any], key: str) -> str:
    """A field that may be missing or null."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""
