"""The tools over HTTP: for those who know the token, and asked for under our own name."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.agent.fakes import FakeControl, record, run
from voicecall.agent.http import McpListener
from voicecall.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.socket

TOKEN = "open sesame"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
QUESTION = {"callId": "c-1", "message": "Well?"}
MODES = ["legacy", "auto"]

PING = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def connected(url: str, mode: str = "legacy", token: str = TOKEN) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def status(url: str, **headers: str) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        answer = await http.post(url, json=PING, headers={**ACCEPT, **headers})
        return answer.status_code


@pytest.mark.parametrize("mode", MODES)
def test_tools_are_used_and_waiting_is_reported(mode: str) -> None:
    async def case() -> None:
        control = FakeControl(record())
        control.silent = True
        reports: list[str | None] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            del progress, total
            reports.append(message)
            control.silent = False

        async with McpListener(control, TOKEN) as listener, connected(listener.url, mode) as client:
            assert len((await client.list_tools()).tools) == 7
            result = await client.call_tool("continue_call", QUESTION, progress_callback=note)
            assert result.structured_content == {"success": True, "transcript": "Fine."}
            assert reports == ["the call is listening"]

    run(case())


@pytest.mark.parametrize("mode", MODES)
def test_a_cancelled_request_is_no_longer_waited_for(mode: str) -> None:
    async def case() -> None:
        control = FakeControl(record())
        control.silent = True
        async with McpListener(control, TOKEN) as listener, connected(listener.url, mode) as client:
            asking = asyncio.create_task(client.call_tool("continue_call", QUESTION))
            await control.asking.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await control.cancelled.wait()
            seen = await client.call_tool("get_status", {"callId": "c-1"})
            assert seen.structured_content["call"]["ended"] is False
            assert control.asked == [("ask", "c-1", "Well?")]

    run(case())


def test_who_does_not_know_the_token_gets_nowhere() -> None:
    async def case() -> None:
        async with McpListener(FakeControl(), TOKEN) as listener:
            assert await status(listener.url, **BEARER) == 200
            assert await status(listener.url) == 401
            assert await status(listener.url, Authorization="Bearer wrong") == 401
            assert await status(listener.url, Authorization=TOKEN) == 401
            # Nobody is told without it what else there is.
            assert await status(listener.url.replace("/mcp", "/other")) == 401
            assert await status(listener.url.replace("/mcp", "/other"), **BEARER) == 404

    run(case())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Host": "localhost:80"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:3336"}, 421),
        ({"Origin": "http://localhost:5173"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_web_site_cannot_reach_it_under_a_name_of_its_own(
    headers: dict[str, str], expected: int
) -> None:
    async def case() -> None:
        async with McpListener(FakeControl(), TOKEN) as listener:
            assert await status(listener.url, **BEARER, **headers) == expected

    run(case())


def test_names_of_ones_own_can_be_allowed() -> None:
    async def case() -> None:
        async with McpListener(FakeControl(), TOKEN, hosts=["mcp.example.com"]) as listener:
            for host in ("mcp.example.com", "mcp.example.com:8443"):
                assert await status(listener.url, **BEARER, Host=host) == 200

    run(case())


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104  (it is refused)
def test_it_does_not_listen_for_everybody_without_a_name(bind: str) -> None:
    with pytest.raises(ServeError, match="--allow-host"):
        McpListener(FakeControl(), TOKEN, bind=bind)


def test_a_busy_port_is_one_clear_error_and_leaves_nothing_behind() -> None:
    async def case() -> None:
        async with McpListener(FakeControl(), TOKEN) as first:
            port: Any = httpx.URL(first.url).port
            with pytest.raises(ServeError, match=f"port {port}"):
                async with McpListener(FakeControl(), TOKEN, port=port):
                    raise AssertionError("two listen on one port")
            assert await status(first.url, **BEARER) == 200

    run(case())


def test_closing_it_does_not_wait_for_those_who_wait_on_the_phone() -> None:
    async def ask(url: str) -> None:
        async with connected(url) as client:
            await client.call_tool("continue_call", QUESTION)

    async def case() -> None:
        control = FakeControl(record())
        control.silent = True
        async with McpListener(control, TOKEN) as listener:
            asking = asyncio.create_task(ask(listener.url))
            await control.asking.wait()
        await control.cancelled.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    run(case())
