"""An HTTP server that answers as it is told, request by request; and both APIs' own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import (
    Choice,
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseTextDeltaEvent,
)
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from voicecall.llm.openai_chat import ChatModel
from voicecall.llm.openai_client import Account, OpenAIClient
from voicecall.llm.openai_responses import ResponsesModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from openai.types.responses import ResponseStreamEvent
    from pydantic import BaseModel

    from voicecall.llm.transcript import Prompt

T = TypeVar("T")
KEY = "sk-secret-of-this-test"


def run(case: Coroutine[Any, Any, T]) -> T:
    """Run a test case, at most a minute."""

    async def bounded() -> T:
        return await asyncio.wait_for(case, 60)

    return asyncio.run(bounded())


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Exchange:
    """One request, and what is sent for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._begun = False

    async def send(self, *events: BaseModel | str) -> None:
        """Send events; text is sent as it is."""
        if not self._begun:
            self._begun = True
            self._writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            )
        for event in events:
            data = event if isinstance(event, str) else event.model_dump_json(exclude_unset=True)
            chunk = f"data: {data}\n\n".encode()
            self._writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await self._writer.drain()

    async def end(self) -> None:
        """Send that nothing follows; without it the connection breaks off."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def refuse(self, status: int, error: dict[str, Any]) -> None:
        """Answer by an error."""
        body = json.dumps({"error": error}).encode()
        self._writer.write(
            b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body)
        )
        await self._writer.drain()

    async def gone(self) -> None:
        """Wait until the client has hung up."""
        with suppress(ConnectionError):
            assert await self._reader.read(1) == b""


Answer = "Callable[[Exchange], Awaitable[None]]"


class ModelServer:
    """Gives each request the next of its answers; to requests after the last it hangs up."""

    def __init__(self, *answers: Callable[[Exchange], Awaitable[None]]) -> None:
        self._answers = iter(answers)
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked: list[Asked] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in lines}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.asked.append(Asked(head[0].split()[1], headers, body))
            answer = next(self._answers, None)
            if answer is not None:
                await answer(Exchange(reader, writer))
        except asyncio.IncompleteReadError:
            # A connection that was not used.
            pass
        finally:
            writer.close()


def sends(*events: BaseModel | str, end: bool = True) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(*events)
        if end:
            await exchange.end()

    return answer


def refuses(status: int, **error: Any) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        await exchange.refuse(status, {"message": f"No, {KEY}.", **error})

    return answer


def checked(params: Any, body: dict[str, Any]) -> dict[str, Any]:
    """`body`, which the package's own type of its parameters allows, and nothing besides."""
    assert body.keys() <= params.__annotations__.keys()
    adapter = _adapter(params)
    _settle(adapter.validate_python(body))
    return body


@cache
def _adapter(params: Any) -> TypeAdapter[Any]:
    return TypeAdapter(params)


def _settle(value: Any) -> None:
    """Read what pydantic checks only while it is read."""
    if isinstance(value, dict):
        for each in value.values():
            _settle(each)
    elif isinstance(value, (list, tuple, Iterator)):
        for each in value:
            _settle(each)


Call = tuple[str, str, str]
"""Id, name and arguments of a tool's use."""


class ResponsesApi:
    """The Responses API."""

    name = "responses"
    path = "/v1/responses"

    def model(self, base_url: str | None, **settings: Any) -> ResponsesModel:
        return ResponsesModel("m-1", OpenAIClient(Account(KEY, base_url)), **settings)

    def events(self, *texts: str, calls: Sequence[Call] = ()) -> list[ResponseStreamEvent]:
        events: list[Any] = [
            ResponseCreatedEvent(
                type="response.created", sequence_number=0, response=response("in_progress")
            )
        ]
        events += [said(text) for text in texts]
        for index, call in enumerate(calls, 1):
            events += self.call(index, *call)
        events.append(
            ResponseCompletedEvent(
                type="response.completed", sequence_number=99, response=response("completed")
            )
        )
        return events

    def call(
        self, index: int, call_id: str, name: str, arguments: str
    ) -> list[ResponseStreamEvent]:
        item = ResponseFunctionToolCall(
            type="function_call", id=f"fc_{index}", call_id=call_id, name=name, arguments=""
        )
        place: Any = {"output_index": index, "sequence_number": 1}
        return [
            ResponseOutputItemAddedEvent(type="response.output_item.added", item=item, **place),
            *(
                ResponseFunctionCallArgumentsDeltaEvent(
                    type="response.function_call_arguments.delta",
                    item_id=f"fc_{index}",
                    delta=piece,
                    **place,
                )
                for piece in (arguments[:3], arguments[3:])
            ),
            ResponseFunctionCallArgumentsDoneEvent(
                type="response.function_call_arguments.done",
                item_id=f"fc_{index}",
                arguments=arguments,
                **place,
            ),
            ResponseOutputItemDoneEvent(
                type="response.output_item.done",
                item=item.model_copy(update={"arguments": arguments}),
                **place,
            ),
        ]

    def check(self, asked: Asked) -> dict[str, Any]:
        return checked(ResponseCreateParamsStreaming, asked.body)

    def texts(self, asked: Asked) -> list[tuple[str, str]]:
        """Who said what, by the request; the results of tools are said by `tool`."""
        return [
            ("tool", item["output"])
            if item.get("type") == "function_call_output"
            else (item["role"], item["content"])
            for item in asked.body["input"]
            if item.get("type") != "function_call"
        ]

    def calls(self, asked: Asked) -> list[Call]:
        items = asked.body["input"]
        return [
            (item["call_id"], item["name"], item["arguments"])
            for item in items
            if item.get("type") == "function_call"
        ]


class ChatApi:
    """Chat Completions."""

    name = "chat"
    path = "/v1/chat/completions"

    def model(self, base_url: str | None, **settings: Any) -> ChatModel:
        return ChatModel("m-1", OpenAIClient(Account(KEY, base_url)), **settings)

    def events(self, *texts: str, calls: Sequence[Call] = ()) -> list[ChatCompletionChunk | str]:
        chunks: list[ChatCompletionChunk | str] = [chunk(ChoiceDelta(role="assistant"))]
        chunks += [chunk(ChoiceDelta(content=text)) for text in texts]
        for index, (call_id, name, arguments) in enumerate(calls):
            for piece in self.pieces(index, call_id, name, arguments):
                chunks.append(chunk(ChoiceDelta(tool_calls=[piece])))
        chunks.append(chunk(ChoiceDelta(), "tool_calls" if calls else "stop"))
        return [*chunks, "[DONE]"]

    def pieces(
        self, index: int, call_id: str, name: str, arguments: str
    ) -> list[ChoiceDeltaToolCall]:
        function = ChoiceDeltaToolCallFunction
        first = function(name=name, arguments="")
        rest = [function(arguments=piece) for piece in (arguments[:3], arguments[3:])]
        return [
            ChoiceDeltaToolCall(index=index, id=call_id, type="function", function=first),
            *(ChoiceDeltaToolCall(index=index, function=piece) for piece in rest),
        ]

    def check(self, asked: Asked) -> dict[str, Any]:
        return checked(CompletionCreateParamsStreaming, asked.body)

    def texts(self, asked: Asked) -> list[tuple[str, str]]:
        messages = asked.body["messages"][1:]
        return [(each["role"], each["content"]) for each in messages if each["content"] is not None]

    def calls(self, asked: Asked) -> list[Call]:
        return [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for message in asked.body["messages"]
            for call in message.get("tool_calls", ())
        ]


Api = ResponsesApi | ChatApi
APIS: list[Api] = [ResponsesApi(), ChatApi()]


def said(text: str) -> ResponseTextDeltaEvent:
    return ResponseTextDeltaEvent(
        type="response.output_text.delta",
        delta=text,
        item_id="msg_1",
        output_index=0,
        content_index=0,
        sequence_number=1,
        logprobs=[],
    )


def response(status: str, **more: Any) -> Response:
    return Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1.0,
            "model": "m-1",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "status": status,
            **more,
        }
    )


def chunk(delta: ChoiceDelta, finish_reason: Any = None) -> ChatCompletionChunk:
    choice = Choice(index=0, delta=delta, finish_reason=finish_reason)
    return ChatCompletionChunk(
        id="c", object="chat.completion.chunk", created=1, model="m-1", choices=[choice]
    )


async def parts_of(model: ResponsesModel | ChatModel, prompt: Prompt) -> list[Any]:
    """All that a model gives, signs of life excepted."""
    try:
        return [part async for part in model.stream(prompt) if part != ""]
    finally:
        await model.close()


async def answered(api: Api, prompt: Prompt, *answers: Any) -> tuple[list[Any], list[Asked]]:
    """What a model gives to `prompt` when its server gives `answers`, and what that was asked."""
    async with ModelServer(*answers) as server:
        parts = await parts_of(api.model(server.base_url), prompt)
        return parts, server.asked


def events_of(api: Api, *texts: str, calls: Sequence[Call] = ()) -> list[BaseModel | str]:
    return cast("list[BaseModel | str]", api.events(*texts, calls=calls))
