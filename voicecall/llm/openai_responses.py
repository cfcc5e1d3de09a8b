"""Models behind OpenAI's Responses API, streamed.

Nothing is stored at the server: each request carries the whole conversation.
"""

from __future__ import annotations

import logging
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.llm.openai_client import failing_as_speech_error, failure, text_of
from voicecall.llm.transcript import Kept, Said, Used
from voicecall.ports import ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from voicecall.llm.openai_client import OpenAIClient
    from voicecall.llm.transcript import Item, Prompt
    from voicecall.ports import ToolSpec

_log = logging.getLogger("voicecall.llm")

_NO_REASONING = "none"
_ROLES = {Speaker.USER: "user", Speaker.BOT: "assistant"}
_SIGNS_OF_LIFE = {
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
}


class ResponsesModel:
    """One model, reached by the Responses API; implements `replies.Model`.

    Args:
        model: its name.
        client: what it is reached by.
        reasoning_effort: how long it thinks before it speaks; told to OpenAI only.
        service_tier: what is paid for speed; likewise.
    """

    def __init__(
        self,
        model: str,
        client: OpenAIClient,
        *,
        reasoning_effort: str | None = None,
        service_tier: str | None = None,
    ) -> None:
        self._model = model
        self._client = client
        self._extra: dict[str, Any] = {}
        if client.account.is_openai:
            if reasoning_effort is not None:
                self._extra["reasoning"] = {"effort": reasoning_effort}
            if reasoning_effort not in {None, _NO_REASONING}:
                # Not stored there, its thoughts have to be given back between uses of tools.
                self._extra["include"] = ["reasoning.encrypted_content"]
            if service_tier is not None:
                self._extra["service_tier"] = service_tier

    async def prepare(self) -> None:
        """Load the client. Raises `DependencyMissing`."""
        await self._client.prepare()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | ToolCall | Kept]:
        """What the model says and wants done next. Raises `SpeechError`."""
        client = await self._client.connected()
        with failing_as_speech_error():
            events = await client.responses.create(**self._parameters(prompt))
            async with events:
                reader = _Reader()
                async for event in events:
                    for part in reader.read(event):
                        yield part
                    if reader.over:
                        return
        raise SpeechError("the model's server broke off", retryable=True)

    def _parameters(self, prompt: Prompt) -> dict[str, Any]:
        parameters = {
            "model": self._model,
            "instructions": prompt.instructions,
            "input": [*_input(prompt.items)],
            "stream": True,
            "store": False,
            **self._extra,
        }
        if self._client.account.is_openai:
            parameters["prompt_cache_key"] = prompt.call_id
        if prompt.tools:
            parameters["tools"] = _tools(prompt.tools)
            if not prompt.may_use_tools:
                parameters["tool_choice"] = "none"
        return parameters


class _Reader:
    """What one response's events say.

    Attributes:
        over: whether the response is complete.
    """

    def __init__(self) -> None:
        self.over = False
        self._said = False
        self._calls: list[ToolCall] = []

    def read(self, event: object) -> Iterator[str | ToolCall | Kept]:
        """What `event` adds. Raises `SpeechError` when it says that the response failed."""
        match getattr(event, "type", None):
            case "response.output_text.delta" | "response.refusal.delta":
                self._said = True
                yield text_of(event, "delta")
            case "response.output_item.done":
                yield from self._item(getattr(event, "item", None))
            case "response.output_item.added" if self._said and _is_message(event):
                # What another message begins with is another sentence.
                yield "\n"
            case str(kind) if kind in _SIGNS_OF_LIFE:
                yield ""
            case "response.completed":
                self.over = True
                yield from self._calls
            case "response.incomplete":
                self.over = True
                yield from self._cut_short(event)
            case "response.failed":
                error = getattr(getattr(event, "response", None), "error", None)
                raise failure(getattr(error, "code", None))
            case "error":
                raise failure(getattr(event, "code", None))

    def _item(self, item: object) -> Iterator[Kept]:
        match getattr(item, "type", None):
            case "function_call":
                # Only items name the function: `function_call_arguments.done` does not.
                names = (text_of(item, name) for name in ("call_id", "name", "arguments"))
                self._calls.append(ToolCall(*names))
            case "reasoning" if isinstance(item, BaseModel) and _has_thoughts(item):
                yield Kept(item.model_dump(mode="json", exclude_unset=True))

    def _cut_short(self, event: object) -> Iterator[ToolCall]:
        details = getattr(getattr(event, "response", None), "incomplete_details", None)
        reason = getattr(details, "reason", None)
        if not (self._said or self._calls):
            raise failure(reason, retryable=False)
        _log.warning("a reply was cut short by the model's server", extra={"reason": reason})
        yield from self._calls


def _has_thoughts(item: BaseModel) -> bool:
    return bool(getattr(item, "encrypted_content", None))


def _is_message(event: object) -> bool:
    return getattr(getattr(event, "item", None), "type", None) == "message"


def _input(items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    for kind, group in groupby(items, type):
        if kind is Used:
            # Tools used at once are answered after all of them.
            uses = [item for item in group if isinstance(item, Used)]
            yield from map(_call, uses)
            yield from map(_output, uses)
            continue
        for item in group:
            match item:
                case Said():
                    yield {"role": _ROLES[item.speaker], "content": item.text}
                case Kept():
                    yield dict(item.item)


def _call(item: Used) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": item.id,
        "name": item.use.name,
        "arguments": item.use.arguments,
    }


def _output(item: Used) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": item.id, "output": item.use.result}


def _tools(specs: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "name": spec.name,
            "description": spec.description,
            "parameters": dict(spec.parameters),
            # Strict schemas know no defaults and no free-form objects; we check arguments anyway.
            "strict": False,
        }
        for spec in specs
    ]
