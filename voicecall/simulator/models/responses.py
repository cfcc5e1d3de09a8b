"""`POST /v1/responses`: streamed and not. Nothing is stored, so no response can be continued."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from openai.types import responses as types
from openai.types.responses.response_create_params import ResponseCreateParams
from openai.types.responses.response_usage import (
    InputTokensDetails,
    OutputTokensDetails,
    ResponseUsage,
)

from voicecall.simulator.models.api import Answer, Chunk, endpoint, sse, whole
from voicecall.simulator.models.brain import Question, Use
from voicecall.simulator.models.faults import Failed
from voicecall.simulator.models.turns import TurnReader, arguments_of
from voicecall.simulator.models.vendor_types import Unacceptable, made, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from openai.types.responses.response import IncompleteDetails
    from pydantic import BaseModel
    from starlette.routing import BaseRoute

    from voicecall.simulator.models.world import World

SERVICE = "responses"
_PIECE_CHARACTERS = 12
_MS_PER_S = 1000


def routes(world: World) -> list[BaseRoute]:
    """The endpoint."""

    def answer(params: dict[str, Any]) -> Answer:
        if params.get("previous_response_id") is not None:
            message = f"Previous response with id '{params['previous_response_id']}' not found."
            code = "previous_response_not_found"
            raise Unacceptable(message, param="previous_response_id", code=code)
        question = _question(params)
        reply = _Reply(params, world.clock.wall_ms() / _MS_PER_S)
        events = _events(reply, world, question)
        if params.get("stream"):
            return Answer("text/event-stream", events)
        return Answer("application/json", _at_once(reply, events))

    return [endpoint(world, SERVICE, "/v1/responses", ResponseCreateParams, answer)]


def _question(params: dict[str, Any]) -> Question:
    reader = TurnReader()
    reader.message("system", params.get("instructions") or "")
    given = params.get("input", [])
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        match item.get("type", "message"):
            case "message":
                reader.message(item["role"], item["content"])
            case "function_call":
                reader.call(item["call_id"], item["name"], item["arguments"])
            case "function_call_output":
                reader.result(item["call_id"], item["output"])
            case other:
                raise Unacceptable(f"Items of type {other} are not simulated.", param="input")
    reader.finish()
    tools = params.get("tools") or ()
    offered = frozenset(tool["name"] for tool in tools if tool["type"] == "function")
    if params.get("tool_choice") == "none":
        offered = frozenset()
    return Question(tuple(reader.turns), offered, reader.instructions)


class _Reply:
    """One response as it forms.

    Args:
        params: the request.
        now_s: when, since the epoch.
    """

    def __init__(self, params: dict[str, Any], now_s: float) -> None:
        self._params = params
        self._now_s = now_s
        self._id = new_id("resp")
        self._numbers = itertools.count()
        self._output: list[BaseModel] = []
        self._message_id = ""
        self._words: list[str] = []

    @property
    def full(self) -> bool:
        """Whether it is as long as the request allows; a word counts as one token."""
        limit = self._params.get("max_output_tokens")
        return limit is not None and len(self._words) >= limit

    def event(self, kind: type[BaseModel], **fields: Any) -> Chunk:  # noqa: ANN401  (the model's)
        """The next event of the stream."""
        return sse(made(kind, sequence_number=next(self._numbers), **fields), named=True)

    def snapshot(self, status: str, error: types.ResponseError | None = None) -> types.Response:
        """The response as it is now."""
        params = self._params
        incomplete: IncompleteDetails | dict[str, str] | None = None
        if status == "incomplete":
            incomplete = {"reason": "max_output_tokens"}
        return made(
            types.Response,
            id=self._id,
            created_at=int(self._now_s),
            status=status,
            background=False,
            error=error,
            incomplete_details=incomplete,
            instructions=params.get("instructions"),
            max_output_tokens=params.get("max_output_tokens"),
            metadata=params.get("metadata") or {},
            model=params.get("model", ""),
            output=list(self._output),
            parallel_tool_calls=params.get("parallel_tool_calls", True),
            previous_response_id=None,
            reasoning=params.get("reasoning") or {},
            temperature=params.get("temperature", 1.0),
            text=params.get("text") or {"format": {"type": "text"}},
            tool_choice=params.get("tool_choice", "auto"),
            tools=params.get("tools") or [],
            top_p=params.get("top_p", 1.0),
            truncation="disabled",
            usage=self._usage() if status in {"completed", "incomplete"} else None,
        )

    def say(self, word: str) -> Iterator[Chunk]:
        """More of the message; the first word begins it."""
        if not self._words:
            self._message_id = new_id("msg")
            item = self._message("in_progress", [])
            yield self.event(types.ResponseOutputItemAddedEvent, output_index=0, item=item)
            yield self.event(
                types.ResponseContentPartAddedEvent,
                item_id=self._message_id,
                output_index=0,
                content_index=0,
                part=_text_part(""),
            )
        self._words.append(word)
        yield self.event(
            types.ResponseTextDeltaEvent,
            item_id=self._message_id,
            output_index=0,
            content_index=0,
            delta=word,
            logprobs=[],
        )

    def end_message(self, status: str) -> Iterator[Chunk]:
        """The message is complete, if there is one."""
        if not self._words or self._output:
            return
        text = "".join(self._words)
        place = {"item_id": self._message_id, "output_index": 0, "content_index": 0}
        yield self.event(types.ResponseTextDoneEvent, **place, text=text, logprobs=[])
        yield self.event(types.ResponseContentPartDoneEvent, **place, part=_text_part(text))
        item = self._message(status, [_text_part(text)])
        self._output.append(item)
        yield self.event(types.ResponseOutputItemDoneEvent, output_index=0, item=item)

    def use(self, use: Use) -> Iterator[Chunk]:
        """A use of a tool, its arguments in pieces."""
        index = len(self._output)
        call_id = new_id("call")
        item_id = new_id("fc")
        arguments = arguments_of(use)
        place = {"item_id": item_id, "output_index": index}

        def item(arguments: str, status: str) -> types.ResponseFunctionToolCall:
            return made(
                types.ResponseFunctionToolCall,
                id=item_id,
                call_id=call_id,
                name=use.tool,
                arguments=arguments,
                status=status,
            )

        begun = item("", "in_progress")
        yield self.event(types.ResponseOutputItemAddedEvent, output_index=index, item=begun)
        for delta in in_pieces(arguments):
            yield self.event(types.ResponseFunctionCallArgumentsDeltaEvent, **place, delta=delta)
        yield self.event(types.ResponseFunctionCallArgumentsDoneEvent, **place, arguments=arguments)
        done = item(arguments, "completed")
        self._output.append(done)
        yield self.event(types.ResponseOutputItemDoneEvent, output_index=index, item=done)

    def _message(self, status: str, content: list[BaseModel]) -> types.ResponseOutputMessage:
        return made(
            types.ResponseOutputMessage,
            id=self._message_id,
            role="assistant",
            status=status,
            content=content,
        )

    def _usage(self) -> ResponseUsage:
        asked = len(str(self._params.get("input", "")).split())
        said = len(self._words)
        return made(
            ResponseUsage,
            input_tokens=asked,
            input_tokens_details=made(InputTokensDetails, cached_tokens=0, cache_write_tokens=0),
            output_tokens=said,
            output_tokens_details=made(OutputTokensDetails, reasoning_tokens=0),
            total_tokens=asked + said,
        )


async def _events(reply: _Reply, world: World, question: Question) -> AsyncGenerator[Chunk]:
    """The whole stream of events."""
    try:
        running = reply.snapshot("in_progress")
        yield reply.event(types.ResponseCreatedEvent, response=running)
        yield reply.event(types.ResponseInProgressEvent, response=running)
        async for part in world.brain.answer(question):
            if reply.full:
                break
            for chunk in _of_part(reply, part):
                yield chunk
        status = "incomplete" if reply.full else "completed"
        for chunk in reply.end_message(status):
            yield chunk
        ending = types.ResponseIncompleteEvent if reply.full else types.ResponseCompletedEvent
        yield reply.event(ending, response=reply.snapshot(status))
    except Failed as failed:
        error = made(types.ResponseError, code=failed.fault.code, message=failed.fault.message)
        yield reply.event(types.ResponseFailedEvent, response=reply.snapshot("failed", error))


def _of_part(reply: _Reply, part: str | Use) -> Iterator[Chunk]:
    if isinstance(part, str):
        yield from reply.say(part)
    else:
        yield from reply.end_message("completed")
        yield from reply.use(part)


async def _at_once(reply: _Reply, events: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
    """The response without its events."""
    async for _ in events:
        pass
    status = "incomplete" if reply.full else "completed"
    async for chunk in whole(reply.snapshot(status)).chunks:
        yield chunk


def _text_part(text: str) -> types.ResponseOutputText:
    return made(types.ResponseOutputText, text=text, annotations=[])


def in_pieces(text: str) -> list[str]:
    """`text` cut into the pieces that a model would make of it."""
    return [
        text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS)
    ]
