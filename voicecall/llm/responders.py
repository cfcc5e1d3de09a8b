"""Which responder a configuration asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from voicecall.config.schema import OpenAIAccount
from voicecall.errors import ConfigError
from voicecall.llm.actions import end_call, send_dtmf, transfer_call
from voicecall.llm.mcp import McpTools
from voicecall.llm.openai_chat import ChatModel
from voicecall.llm.openai_client import Account, OpenAIClient
from voicecall.llm.openai_responses import ResponsesModel
from voicecall.llm.persona import builtin_persona, load_persona
from voicecall.llm.replies import ModelResponder
from voicecall.llm.scripted import ScriptedResponder
from voicecall.llm.toolbox import Toolbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voicecall.config.schema import Tools
    from voicecall.llm.replies import Manner, Model
    from voicecall.llm.tools import Tool
    from voicecall.ports import Responder


def responder(
    model: str,
    *,
    account: OpenAIAccount | None = None,
    toolbox: Toolbox | None = None,
    instructions: str | None = None,
    manner: Manner | None = None,
) -> Responder:
    """The responder behind `model`, `<service>/<model>` as `responseModel` has it.

    A language model's has `prepare`, which loads its client and connects its tools.

    Args:
        model: `scripted/builtin`, `scripted/<persona file>` or `openai/<model>`.
        account: whose language models are used, and how they are asked.
        toolbox: what a language model may do besides; closed with the responder.
        instructions: who a language model is, where a request does not say.
        manner: how a language model's replies are made.

    Raises:
        ConfigError: this version has no such service, or its persona cannot be read.
    """
    service, _, name = model.partition("/")
    match service:
        case "scripted":
            persona = builtin_persona() if name == "builtin" else load_persona(Path(name))
            return ScriptedResponder(persona)
        case "openai":
            return ModelResponder(
                _openai(name, account or OpenAIAccount()),
                Toolbox() if toolbox is None else toolbox,
                instructions=instructions,
                manner=manner,
            )
        case _:
            raise ConfigError(
                f"responseModel: {service} is not in this version; use openai/<model>, "
                "scripted/builtin or scripted/<persona file>"
            )


def toolbox(settings: Tools, own: Sequence[Tool] = ()) -> Toolbox:
    """The tools that a configuration allows, and a program's own.

    Args:
        settings: what the bot may do.
        own: tools that a program brings along.

    Raises:
        ConfigError: two tools have the same name.
    """
    tools = []
    if settings.end_call:
        tools.append(end_call)
    if settings.send_dtmf:
        tools.append(send_dtmf)
    if settings.transfer:
        tools.append(transfer_call(settings.transfer))
    return Toolbox(
        [*tools, *own],
        sources=[McpTools(name, server) for name, server in settings.mcp.items()],
        timeout_ms=settings.timeout_ms,
    )


def _openai(name: str, settings: OpenAIAccount) -> Model:
    key = settings.api_key.get_secret_value() if settings.api_key else None
    account = Account(key, settings.base_url)
    api = settings.api
    if api == "auto":
        # Of the two only Chat Completions is spoken by every compatible server.
        api = "responses" if account.is_openai else "chat"
    kind = ResponsesModel if api == "responses" else ChatModel
    return kind(
        name,
        OpenAIClient(account),
        reasoning_effort=settings.reasoning_effort,
        service_tier=settings.service_tier,
    )
