"""Models behind Chat Completions, streamed: the API that every compatible server has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from voicecall.call.record import Speaker
from voicecall.errors import SpeechError
from voicecall.llm.openai_client import failing_as_speech_error, failure
from voicecall.llm.transcript import Said, Used
from voicecall.ports import ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from voicecall.llm.openai_client import OpenAIClient
    from voicecall.llm.transcript import Item, Prompt
    from voicecall.ports import ToolSpec

_log = logging.getLogger("voicecall.llm")

_ROLES = {Speaker.USER: "user", Speaker.BOT: "assistant"}
_THINK = "<think>"
_END_OF_THINKING = "</think>"
_COMPLETE = {"stop", "tool_calls", "function_call"}


class ChatModel:
    """One model, reached by Chat Completions; implements `replies.Model`.

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
            self._extra["store"] = False
            if reasoning_effort is not None:
                self._extra["reasoning_effort"] = reasoning_effort
            if service_tier is not None:
                self._extra["service_tier"] = service_tier

    async def prepare(self) -> None:
        """Load the client. Raises `DependencyMissing`."""
        await self._client.prepare()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | ToolCall]:
        """What the model says and wants done next. Raises `SpeechError`."""
        client = await self._client.connected()
        reader = _Reader()
        with failing_as_speech_error():
            chunks = await client.chat.completions.create(**self._parameters(prompt))
            async with chunks:
                async for chunk in chunks:
                    for piece in reader.read(chunk):
                        yield piece
        for call in reader.finish():
            yield call

    def _parameters(self, prompt: Prompt) -> dict[str, Any]:
        parameters = {
            "model": self._model,
            "messages": _messages(prompt.instructions, prompt.items),
            "stream": True,
            **self._extra,
        }
        if self._client.account.is_openai:
            parameters["prompt_cache_key"] = prompt.call_id
        if prompt.tools:
            parameters["tools"] = _tools(prompt.tools)
            if not prompt.may_use_tools:
                parameters["tool_choice"] = "none"
        return parameters


@dataclass(slots=True)
class _Call:
    """A tool call that comes in pieces."""

    id: str
    name: str = ""
    arguments: str = ""


class _Thoughts:
    """Leaves out what a model thinks aloud before it speaks, between `<think>` and `</think>`.

    Servers that know the model's template do that themselves.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._speaking = False

    def feed(self, text: str) -> str:
        """What of `text`, and of what was held back before, is to be said."""
        if self._speaking:
            return text
        self._held += text
        if not self._thinking:
            begun = self._held.lstrip()
            if _THINK.startswith(begun):
                return ""
            if not begun.startswith(_THINK):
                return self.finish()
            self._thinking = True
        _, ended, rest = self._held.partition(_END_OF_THINKING)
        if ended:
            self._speaking = True
            return rest
        # No more than what its end may begin with.
        self._held = self._held[-len(_END_OF_THINKING) :]
        return ""

    def finish(self) -> str:
        """No more text follows, or nothing is thought: what was held back and is to be said."""
        self._speaking = True
        rest, self._held = self._held, ""
        return "" if self._thinking else rest


class _Reader:
    """What one completion's chunks say; servers differ in what they leave out."""

    def __init__(self) -> None:
        self._thoughts = _Thoughts()
        self._finish_reason: str | None = None
        self._said = False
        # By the server's index, and in the order they began.
        self._current: dict[str, _Call] = {}
        self._calls: list[_Call] = []

    def read(self, chunk: object) -> Iterator[str]:
        """The text that `chunk` adds; an empty one is a sign of life."""
        # The last chunk may have no choices, but what was spent.
        choice = next(iter(_list(chunk, "choices")), None)
        delta = getattr(choice, "delta", None)
        for name in ("content", "refusal"):
            if said := self._thoughts.feed(_text(delta, name)):
                self._said = True
                yield said
        for piece in _list(delta, "tool_calls"):
            self._add(piece)
            yield ""
        self._finish_reason = _text(choice, "finish_reason") or self._finish_reason
        if self._finish_reason is not None and (rest := self._thoughts.finish()):
            self._said = True
            yield rest

    def finish(self) -> list[ToolCall]:
        """No more chunks come: the tool calls. Raises `SpeechError` when that is not the end."""
        reason = self._finish_reason
        if reason is None:
            raise SpeechError("the model's server broke off", retryable=True)
        if reason not in _COMPLETE:
            if not (self._said or self._calls):
                raise failure(reason, retryable=False)
            _log.warning("a reply was cut short by the model's server", extra={"reason": reason})
        return [ToolCall(call.id, call.name, call.arguments) for call in self._calls if call.name]

    def _add(self, piece: object) -> None:
        index, call_id = str(getattr(piece, "index", None)), _text(piece, "id")
        call = self._current.get(index)
        # Some servers number all calls alike: another id begins another call.
        if call is None or (call_id and call_id != call.id and call.name):
            call = _Call(call_id or f"call{len(self._calls):05d}")
            self._current[index] = call
            self._calls.append(call)
        function = getattr(piece, "function", None)
        # It comes once, whole; servers that repeat it repeat all of it.
        call.name = _text(function, "name") or call.name
        call.arguments += _text(function, "arguments")


def _text(part: object, name: str) -> str:
    """A text of a chunk, which is whatever the server sent; empty when it is not there."""
    value = getattr(part, name, None)
    return value if isinstance(value, str) else ""


def _list(part: object, name: str) -> list[object]:
    value = getattr(part, name, None)
    return value if isinstance(value, list) else []


def _messages(instructions: str, items: Iterable[Item]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
    for kind, group in groupby(items, type):
        if kind is Used:
            _add_uses(messages, [item for item in group if isinstance(item, Used)])
            continue
        for item in group:
            if isinstance(item, Said):
                _add_text(messages, _ROLES[item.speaker], item.text)
    return messages


def _add_text(messages: list[dict[str, Any]], role: str, text: str) -> None:
    """Roles have to take turns, as many models' templates insist."""
    last = messages[-1]
    if last["role"] == role and "tool_calls" not in last:
        last["content"] = f"{last['content']}\n{text}"
    else:
        messages.append({"role": role, "content": text})


def _add_uses(messages: list[dict[str, Any]], uses: Sequence[Used]) -> None:
    if messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1]["tool_calls"] = [
        {
            "id": item.id,
            "type": "function",
            "function": {"name": item.use.name, "arguments": item.use.arguments},
        }
        for item in uses
    ]
    messages.extend(
        {"role": "tool", "tool_call_id": item.id, "content": item.use.result} for item in uses
    )


def _tools(specs: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {
                "name": spec.name,
                "description": spec.description,
                "parameters": dict(spec.parameters),
            },
        }
        for spec in specs
    ]
