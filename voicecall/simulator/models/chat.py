"""`POST /v1/chat/completions`: streamed and not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionMessageFunctionToolCall,
    chat_completion,
)
from openai.types.chat import chat_completion_chunk as chunks
from openai.types.chat.chat_completion_message_function_tool_call import Function
from openai.types.chat.completion_create_params import CompletionCreateParams

from voicecall.simulator.models.api import Answer, Chunk, endpoint, error_body, sse, whole
from voicecall.simulator.models.brain import Question, Use
from voicecall.simulator.models.faults import Failed
from voicecall.simulator.models.responses import in_pieces
from voicecall.simulator.models.turns import TurnReader, arguments_of
from voicecall.simulator.models.vendor_types import Unacceptable, made, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.routing import BaseRoute

    from voicecall.simulator.models.world import World

SERVICE = "chat"
_MS_PER_S = 1000


def routes(world: World) -> list[BaseRoute]:
    """The endpoint."""

    def answer(params: dict[str, Any]) -> Answer:
        question = _question(params)
        completion = _Completion(params, world.clock.wall_ms() // _MS_PER_S)
        if params.get("stream"):
            return Answer("text/event-stream", _streamed(completion, world, question))
        return Answer("application/json", _at_once(completion, world, question))

    return [endpoint(world, SERVICE, "/v1/chat/completions", CompletionCreateParams, answer)]


def _question(params: dict[str, Any]) -> Question:
    if not params["messages"]:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1."
        raise Unacceptable(message, param="messages", code="empty_array")
    reader = TurnReader()
    for message in params["messages"]:
        if message["role"] == "tool":
            reader.result(message["tool_call_id"], message["content"])
            continue
        reader.message(message["role"], message.get("content"))
        for call in message.get("tool_calls") or ():
            reader.call(call["id"], call["function"]["name"], call["function"]["arguments"])
    reader.finish()
    tools = params.get("tools") or ()
    offered = frozenset(tool["function"]["name"] for tool in tools if tool["type"] == "function")
    if params.get("tool_choice") == "none":
        offered = frozenset()
    return Question(tuple(reader.turns), offered, reader.instructions)


class _Completion:
    """One completion as it forms.

    Args:
        params: the request.
        now_s: when, since the epoch.
    """

    def __init__(self, params: dict[str, Any], now_s: int) -> None:
        self._params = params
        self._head = {"id": new_id("chatcmpl"), "created": now_s, "model": params["model"]}
        self._limit = params.get("max_completion_tokens") or params.get("max_tokens")
        self.words: list[str] = []
        self.calls: list[tuple[str, Use]] = []

    @property
    def full(self) -> bool:
        """Whether it is as long as the request allows; a word counts as one token."""
        return self._limit is not None and len(self.words) >= self._limit

    @property
    def wants_usage(self) -> bool:
        """Whether the stream ends with a chunk of usage."""
        return bool((self._params.get("stream_options") or {}).get("include_usage"))

    @property
    def finish_reason(self) -> str:
        """Why it ended."""
        if self.calls:
            return "tool_calls"
        return "length" if self.full else "stop"

    def chunk(self, finish_reason: str | None = None, **delta: Any) -> Chunk:  # noqa: ANN401  (as it is)
        """A chunk of the stream."""
        choice = made(
            chunks.Choice,
            index=0,
            delta=made(chunks.ChoiceDelta, **delta),
            finish_reason=finish_reason,
            logprobs=None,
        )
        extra = {"usage": None} if self.wants_usage else {}
        return sse(made(ChatCompletionChunk, **self._head, choices=[choice], **extra), named=False)

    def part(self, part: str | Use) -> Iterator[Chunk]:
        """The chunks of a word, or of a use of a tool."""
        if isinstance(part, str):
            self.words.append(part)
            yield self.chunk(content=part)
            return
        index = len(self.calls)
        call_id = new_id("call")
        self.calls.append((call_id, part))
        function = made(chunks.ChoiceDeltaToolCallFunction, name=part.tool, arguments="")
        yield self.chunk(tool_calls=[_call_delta(index, function, call_id)])
        for piece in in_pieces(arguments_of(part)):
            function = made(chunks.ChoiceDeltaToolCallFunction, arguments=piece)
            yield self.chunk(tool_calls=[_call_delta(index, function)])

    def usage_chunk(self) -> Chunk:
        """The last chunk of the stream."""
        event = made(ChatCompletionChunk, **self._head, choices=[], usage=self._usage())
        return sse(event, named=False)

    def complete(self) -> ChatCompletion:
        """All of it."""
        calls = [
            made(
                ChatCompletionMessageFunctionToolCall,
                id=call_id,
                function=made(Function, name=use.tool, arguments=arguments_of(use)),
            )
            for call_id, use in self.calls
        ]
        message = made(
            ChatCompletionMessage,
            role="assistant",
            content="".join(self.words) or None,
            refusal=None,
            **({"tool_calls": calls} if calls else {}),
        )
        choice = made(
            chat_completion.Choice,
            index=0,
            message=message,
            finish_reason=self.finish_reason,
            logprobs=None,
        )
        return made(ChatCompletion, **self._head, choices=[choice], usage=self._usage())

    def _usage(self) -> CompletionUsage:
        asked = len(str(self._params["messages"]).split())
        said = len(self.words)
        return made(
            CompletionUsage,
            prompt_tokens=asked,
            completion_tokens=said,
            total_tokens=asked + said,
        )


async def _streamed(
    completion: _Completion, world: World, question: Question
) -> AsyncGenerator[Chunk]:
    try:
        yield completion.chunk(role="assistant", content="", refusal=None)
        async for part in world.brain.answer(question):
            if completion.full:
                break
            for chunk in completion.part(part):
                yield chunk
        yield completion.chunk(finish_reason=completion.finish_reason)
        if completion.wants_usage:
            yield completion.usage_chunk()
        yield Chunk("", b"data: [DONE]\n\n")
    except Failed as failed:
        fault = failed.fault
        body = error_body(fault.message, code=fault.code, kind="server_error")
        yield Chunk("", b"data: " + orjson.dumps(body) + b"\n\n")


async def _at_once(
    completion: _Completion, world: World, question: Question
) -> AsyncGenerator[Chunk]:
    async for part in world.brain.answer(question):
        if completion.full:
            break
        for _ in completion.part(part):
            pass
    async for chunk in whole(completion.complete()).chunks:
        yield chunk


def _call_delta(
    index: int,
    function: chunks.ChoiceDeltaToolCallFunction,
    call_id: str | None = None,
) -> chunks.ChoiceDeltaToolCall:
    """A piece of a use of a tool; only its first names it."""
    if call_id is None:
        # Not by `made`, which would fill in the type.
        return chunks.ChoiceDeltaToolCall(index=index, function=function)
    return chunks.ChoiceDeltaToolCall(index=index, function=function, id=call_id, type="function")
