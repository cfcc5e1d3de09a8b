from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from tests.simulator.models.serving import serving
from voicecall.simulator.models.brain import Brain, ToolRule, Use
from voicecall.simulator.models.faults import Fail

pytestmark = pytest.mark.socket

HOURS: list[Any] = [
    {"role": "system", "content": "You are a clinic."},
    {"role": "user", "content": "What are your hours?"},
]
WEATHER: list[Any] = [{"role": "user", "content": "How is the weather?"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": name}} for name in ("sky", "sea")]
BRAIN = Brain(
    rules=[
        ToolRule("weather", (Use("sky", {"city": "Paris"}), Use("sea")), then="So: {result}."),
    ]
)


def test_an_answer_is_streamed_in_words_with_usage_at_the_end() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            stream = await client.chat.completions.create(
                model="any", messages=HOURS, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            assert chunks[0].choices[0].delta.role == "assistant"
            words = [c.choices[0].delta.content or "" for c in chunks if c.choices]
            assert "Monday to Friday" in "".join(words)
            assert len(words) > 5
            assert chunks[-2].choices[0].finish_reason == "stop"
            assert chunks[-1].choices == []
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.completion_tokens > 5
            assert {chunk.id for chunk in chunks} == {chunks[0].id}

    asyncio.run(case())


def test_without_streaming_the_same_is_said_at_once() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            answer = await client.chat.completions.create(model="any", messages=HOURS)
            assert "Monday to Friday" in (answer.choices[0].message.content or "")
            assert answer.choices[0].finish_reason == "stop"

    asyncio.run(case())


def test_tools_are_called_in_pieces_and_their_results_are_said() -> None:
    async def case() -> None:
        async with serving(brain=BRAIN) as (_, client):
            calls: dict[int, dict[str, str]] = {}
            stream = await client.chat.completions.create(
                model="any", messages=WEATHER, tools=TOOLS, stream=True
            )
            pieces = 0
            reason = None
            async for chunk in stream:
                reason = chunk.choices[0].finish_reason or reason
                for call in chunk.choices[0].delta.tool_calls or ():
                    pieces += 1
                    known = calls.setdefault(call.index, {"arguments": ""})
                    if call.id:
                        assert call.type == "function"
                        assert call.function is not None
                        known |= {"id": call.id, "name": call.function.name or ""}
                    known["arguments"] += (call.function and call.function.arguments) or ""
            assert reason == "tool_calls"
            assert pieces > 4
            assert [call["name"] for call in calls.values()] == ["sky", "sea"]
            assert json.loads(calls[0]["arguments"]) == {"city": "Paris"}
            asked = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in calls.values()
            ]
            results: list[Any] = [
                {"role": "tool", "tool_call_id": call["id"], "content": call["name"]}
                for call in calls.values()
            ]
            messages = [*WEATHER, {"role": "assistant", "tool_calls": asked}, *results]
            final = await client.chat.completions.create(
                model="any", messages=messages, tools=TOOLS
            )
            assert final.choices[0].message.content == "So: sea."

    asyncio.run(case())


def test_tools_are_called_without_streaming() -> None:
    async def case() -> None:
        async with serving(brain=BRAIN) as (_, client):
            answer = await client.chat.completions.create(
                model="any", messages=WEATHER, tools=TOOLS
            )
            choice = answer.choices[0]
            assert choice.finish_reason == "tool_calls"
            assert choice.message.content is None
            calls = choice.message.tool_calls or []
            assert [call.type for call in calls] == ["function", "function"]

    asyncio.run(case())


def test_no_tool_is_called_when_none_may_be() -> None:
    async def case() -> None:
        async with serving(brain=BRAIN) as (_, client):
            answer = await client.chat.completions.create(
                model="any", messages=WEATHER, tools=TOOLS, tool_choice="none"
            )
            assert answer.choices[0].message.tool_calls is None

    asyncio.run(case())


def test_an_answer_stops_at_its_limit() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            answer = await client.chat.completions.create(
                model="any", messages=HOURS, max_completion_tokens=3
            )
            assert answer.choices[0].finish_reason == "length"
            assert len((answer.choices[0].message.content or "").split()) == 3

    asyncio.run(case())


def test_a_conversation_that_makes_no_sense_is_refused() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            for messages in ([], [{"role": "tool", "tool_call_id": "x", "content": "y"}]):
                wrong: list[Any] = messages
                with pytest.raises(openai.BadRequestError):
                    await client.chat.completions.create(model="any", messages=wrong)

    asyncio.run(case())


def test_a_failure_in_the_middle_is_told_in_the_stream() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("chat", Fail(after_chunks=2, message="out of order"))
            stream = await client.chat.completions.create(model="any", messages=HOURS, stream=True)
            with pytest.raises(openai.APIError, match="out of order"):
                async for _ in stream:
                    pass

    asyncio.run(case())
