from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from tests.simulator.models.serving import serving
from voicecall.simulator.models.api import MAX_BODY_OCTETS
from voicecall.simulator.models.faults import Close, Fail, Malformed, Refuse, Slow, Stall

pytestmark = pytest.mark.socket

ASK: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "hours?"}]}


def test_a_wrong_key_is_refused() -> None:
    async def case() -> None:
        async with serving(api_key="wrong") as (server, client):
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.chat.completions.create(**ASK)
            assert refused.value.code == "invalid_api_key"
            assert server.received("chat") == []

    asyncio.run(case())


def test_refusals_are_openais_own() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("chat", Refuse(429, retry_after_s=2.5))
            with pytest.raises(openai.RateLimitError) as limited:
                await client.chat.completions.create(**ASK)
            assert limited.value.response.headers["retry-after"] == "2.5"
            assert limited.value.code == "rate_limit_exceeded"
            server.faults.add("chat", Refuse(503, "overloaded"))
            with pytest.raises(openai.InternalServerError) as overloaded:
                await client.chat.completions.create(**ASK)
            assert overloaded.value.code == "overloaded"
            assert (await client.chat.completions.create(**ASK)).choices
            assert len(server.received("chat")) == 3

    asyncio.run(case())


def test_a_request_that_the_types_do_not_know_is_refused_in_openais_shape() -> None:
    async def case() -> None:
        async with serving() as (_, client):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.chat.completions.create(**ASK, extra_body={"temprature": 1})
            assert refused.value.param == "temprature"
            assert refused.value.code == "unknown_parameter"
            assert refused.value.type == "invalid_request_error"

    asyncio.run(case())


@pytest.mark.parametrize("body", [b"{", b"[]", b" " * (MAX_BODY_OCTETS + 1)])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    async def case() -> None:
        async with serving() as (server, _), httpx.AsyncClient() as http:
            answer = await http.post(
                f"{server.base_url}/responses",
                content=body,
                headers={"authorization": f"Bearer {server.world.api_key}"},
            )
            assert answer.status_code == 400
            assert answer.json()["error"]["type"] == "invalid_request_error"

    asyncio.run(case())


def test_a_stall_before_the_answer_sends_not_even_a_status_and_ends_when_the_client_leaves() -> (
    None
):
    async def case() -> None:
        async with serving() as (server, client):
            for stream in (False, True):
                server.faults.add("chat", Stall())
                patient = client.with_options(timeout=0.1)
                with pytest.raises(openai.APITimeoutError):
                    await patient.chat.completions.create(**ASK, stream=stream)
            assert (await client.chat.completions.create(**ASK)).choices

    asyncio.run(case())


def test_a_stall_in_the_middle_leaves_what_came_before() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("chat", Stall(after_chunks=2))
            stream = await client.chat.completions.create(**ASK, stream=True)
            chunks = aiter(stream)
            await anext(chunks)
            await anext(chunks)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(chunks), 0.2)

    asyncio.run(case())


def test_a_connection_is_closed_in_the_middle_or_before_the_answer() -> None:
    async def case() -> None:
        async with serving() as (server, client), httpx.AsyncClient() as http:
            url = f"{server.base_url}/chat/completions"
            headers = {"authorization": f"Bearer {server.world.api_key}"}
            server.faults.add("chat", Close(after_chunks=2))
            ask = {**ASK, "stream": True}
            async with http.stream("POST", url, json=ask, headers=headers) as answer:
                lines = answer.aiter_lines()
                got = [await anext(lines) for _ in range(4)]
                assert [line[:5] for line in got] == ["data:", "", "data:", ""]
                with pytest.raises(httpx.RemoteProtocolError):
                    await anext(lines)
            server.faults.add("chat", Close())
            with pytest.raises(openai.APIError):
                await client.chat.completions.create(**ASK)

    asyncio.run(case())


def test_something_malformed_in_a_stream_cannot_be_parsed() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("chat", Malformed(after_chunks=1))
            stream = await client.chat.completions.create(**ASK, stream=True)
            with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting"):
                async for _ in stream:
                    pass

    asyncio.run(case())


def test_a_failure_before_anything_was_sent_is_an_error_of_the_server() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            server.faults.add("chat", Fail())
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(**ASK)

    asyncio.run(case())


def test_slow_answers_are_complete() -> None:
    async def case() -> None:
        async with serving() as (server, client):
            whole = await client.chat.completions.create(**ASK)
            server.faults.add("chat", Slow(1))
            text = ""
            async for chunk in await client.chat.completions.create(**ASK, stream=True):
                text += chunk.choices[0].delta.content or ""
            assert text == whole.choices[0].message.content

    asyncio.run(case())
