"""A conversation as models read it, whichever API they are reached by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from voicecall.call.record import Speaker
from voicecall.ports import ToolUse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.ports import ReplyRequest, ToolSpec


@dataclass(frozen=True, slots=True)
class Said:
    """Something one side said; what happened on the line is put as if the caller had said it."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """The model used a tool.

    Attributes:
        id: of this use.
        use: which, how, and what came of it.
    """

    id: str
    use: ToolUse


@dataclass(frozen=True, slots=True)
class Kept:
    """Something of the model's own that it wants to be given back, as it is.

    Attributes:
        item: in the terms of the API it came from.
    """

    item: Mapping[str, Any]


Item: TypeAlias = Said | Used | Kept


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model goes on from.

    Attributes:
        call_id: our id of the call.
        instructions: who it is and how it is to speak.
        items: the conversation, oldest first.
        tools: what there is.
        may_use_tools: whether it may use them now.
    """

    call_id: str
    instructions: str
    items: Sequence[Item]
    tools: Sequence[ToolSpec] = ()
    may_use_tools: bool = True


def transcript(request: ReplyRequest) -> list[Item]:
    """The conversation that `request` wants a reply to.

    It begins and ends with the caller, as many models insist: where they have said nothing, what
    happened is told instead.
    """
    items: list[Item] = []
    for number, turn in enumerate(request.history):
        if turn.tool is not None:
            # Nine letters and digits, which is the only kind of id that some models take.
            use = ToolUse(turn.tool.name, json_object(turn.tool.arguments), turn.tool.result)
            items.append(Used(f"past{number % 100_000:05d}", use))
        elif turn.text:
            items.append(Said(turn.speaker, turn.text))
    if request.digits:
        items.append(_happened(f"The caller pressed {request.digits} on the keypad."))
    if not items or not _is_callers(items[0]):
        items.insert(0, _happened("The call was answered."))
    if not _is_callers(items[-1]):
        items.append(_happened("The caller is waiting for you to go on."))
    return items


def json_object(arguments: str) -> str:
    """`arguments`, or an empty object if it is none: servers refuse a history that is not JSON."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return "{}"
    return arguments if isinstance(value, dict) else "{}"


def _happened(what: str) -> Said:
    return Said(Speaker.USER, f"[{what}]")


def _is_callers(item: Item) -> bool:
    return isinstance(item, Said) and item.speaker is Speaker.USER
