"""`voice_call`: one function of a language model for everything that can be done with calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from voicecall.agent.actions import ACTIONS, PARAMS
from voicecall.agent.arguments import parsed
from voicecall.agent.failure import explained, failure, unexpected
from voicecall.errors import InvalidRequest, VoicecallError

if TYPE_CHECKING:
    from voicecall.agent.actions import Action
    from voicecall.agent.control import CallControl

TOOL_NAME: Final = "voice_call"
_ACTION: Final = "action"


def tool_schema(api: Literal["responses", "chat"] = "responses") -> dict[str, Any]:
    """The function, as OpenAI's interfaces and those made after them take it under `tools`.

    Strict: the model has to name every parameter, those that an action does not take as null.

    Args:
        api: whose form it has: the Responses interface (also realtime) or Chat Completions.
    """
    function: dict[str, Any] = {
        "name": TOOL_NAME,
        "description": _description(),
        "parameters": _parameters(),
        "strict": True,
    }
    if api == "chat":
        return {"type": "function", "function": function}
    return {"type": "function", **function}


async def execute(control: CallControl, arguments: object) -> dict[str, Any]:
    """Do what a model asks for with `voice_call`.

    Args:
        control: a `voicecall.Client`, or `InProcess(server)`.
        arguments: what the model gave, as JSON or decoded. They are not trusted.

    Returns:
        What the action tells, JSON types only, or `{"error": {"code", "message", ...}}` with what
        can be done about it. Nothing but cancellation is raised; who cancels stops waiting, and the
        call goes on.
    """
    try:
        given = parsed(arguments)
        action = _action(given.pop(_ACTION, None))
    except InvalidRequest as error:
        return failure(error)
    return await perform(control, action, given)


async def perform(control: CallControl, action: Action, given: dict[str, object]) -> dict[str, Any]:
    """Do one action; like `execute`, which names it among the arguments."""
    call_id = given.get("callId")
    meant = call_id.strip() if isinstance(call_id, str) else None
    try:
        return await action(control, given)
    except InvalidRequest as error:
        return failure(error)
    except VoicecallError as error:
        return await explained(error, meant, control)
    except Exception:  # noqa: BLE001  (the boundary of a request; it is logged)
        return unexpected()


def _action(name: object) -> Action:
    action = ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise InvalidRequest(f"{_ACTION} must be one of {', '.join(ACTIONS)}")
    return action


def _description() -> str:
    lines = ["Place and hold phone calls. What each action does:"]
    for action in ACTIONS.values():
        takes = ", ".join(
            param.name if param.name in action.required else f"{param.name}?"
            for param in action.params
        )
        lines.append(f"- {action.name} ({takes}): {action.description}")
    return "\n".join(lines)


def _parameters() -> dict[str, Any]:
    """One flat object: strict schemas know no alternatives at their top."""
    action = {"type": "string", "enum": list(ACTIONS), "description": "What to do."}
    properties: dict[str, Any] = {_ACTION: action}
    for param in PARAMS.values():
        # Strict schemas know no lengths, and leave out what may be left out by null.
        made: dict[str, Any] = {"type": ["string", "null"], "description": param.description}
        if param.choices:
            made["enum"] = [*param.choices, None]
        properties[param.name] = made
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
