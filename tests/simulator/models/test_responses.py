from __future__ import annotations

import asyncio
import json
from itertools import groupby
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.simulator.models.serving import serving
from voicecall.simulator.models.brain import Brain, ToolRule, Use
from voicecall.simulator.models.faults import Fail

pytestmark = pytest.mark.socket

HOURS = "What are your hours?"
TOOL: Any = {
    "type": "function",
    "name": "sky",
    "description": "Looks up.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
BRAIN = Brain(
    rules=[
        ToolRule("weather", (Use("sky", {"city": "Paris"}),), then="So: {result}.", before="Well."),
    ]
)


def test_an_answer_is_streamed_with_all_its_events_in_order() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            stream = await client.responses.create(
                model="any",
                instructions="You are a clinic.",
                input=[{"role": "user", "content": HOURS}],
                stream=True,
                store=False,
                reasoning={"effort": "none"},
                text={"verbosity": "low"},
            )
            events = [event async for event in stream]
            assert [kind for kind, _ in groupby(event.type for event in events)] == [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ]
            assert [event.sequence_number for event in events] == list(range(len(events)))
            deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
            last = events[-1]
            assert last.type == "response.completed"
            assert last.response.output_text == deltas
            assert "Monday to Friday" in deltas
            assert last.response.usage is not None
            assert last.response.instructions == "You are a clinic."
            strict: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
            for event in events:
                assert type(strict.validate_python(event.to_dict())) is type(event)

    asyncio.run(case())


def test_without_streaming_the_same_is_said_at_once() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            response = await client.responses.create(model="any", input=HOURS)
            assert "Monday to Friday" in response.output_text
            assert response.status == "completed"

    asyncio.run(case())


def test_a_tool_is_called_in_pieces_and_its_result_is_said() -> None:
    async def case() -> None:
        async with serving(brain=BRAIN) as (_, client):
            question: list[Any] = [{"role": "user", "content": "How is the weather?"}]
            stream = await client.responses.create(
                model="any", input=question, tools=[TOOL], stream=True
            )
            events = [event async for event in stream]
            pieces = [e for e in events if e.type == "response.function_call_arguments.delta"]
            assert len(pieces) > 1
            last = events[-1]
            assert last.type == "response.completed"
            message, call = last.response.output
            assert message.type == "message"
            assert call.type == "function_call"
            assert json.loads(call.arguments) == {"city": "Paris"}
            assert "".join(piece.delta for piece in pieces) == call.arguments
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "blue"}
            answered: list[Any] = [*question, message.to_dict(), call.to_dict(), output]
            final = await client.responses.create(model="any", input=answered, tools=[TOOL])
            assert final.output_text == "So: blue."

    asyncio.run(case())


def test_an_answer_stops_at_its_limit() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            stream = await client.responses.create(
                model="any", input=HOURS, max_output_tokens=3, stream=True
            )
            last = [event async for event in stream][-1]
            assert last.type == "response.incomplete"
            assert last.response.incomplete_details is not None
            assert last.response.incomplete_details.reason == "max_output_tokens"
            assert len(last.response.output_text.split()) == 3

    asyncio.run(case())


def test_a_failure_in_the_middle_is_told_by_the_response() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("responses", Fail(after="response.output_text.delta"))
            stream = await client.responses.create(model="any", input=HOURS, stream=True)
            events = [event async for event in stream]
            last = events[-1]
            assert last.type == "response.failed"
            assert last.response.error is not None
            assert last.response.error.code == "server_error"
            assert events[-2].type == "response.output_text.delta"

    asyncio.run(case())


@pytest.mark.parametrize(
    "request_",
    [
        {"previous_response_id": "resp_1"},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        {
            "input": [
                {"type": "function_call", "call_id": "c", "name": "sky", "arguments": "{}"},
            ]
        },
        {"input": [{"type": "item_reference", "id": "x"}]},
    ],
)
def test_what_cannot_be_answered_is_refused(request_: dict[str, Any]) -> None:
    async def case() -> None:
        async with serving() as (_, client):
            with pytest.raises(openai.BadRequestError):
                await client.responses.create(model="any", **{"input": "Hi", **request_})

    asyncio.run(case())


def test_requests_are_remembered() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            await client.responses.create(model="any", input=HOURS, prompt_cache_key="k")
            (received,) = server.received("responses")
            assert received.body["prompt_cache_key"] == "k"
            assert received.path == "/v1/responses"

    asyncio.run(case())
