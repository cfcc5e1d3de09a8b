"""The tools and resources, asked for by the package's own client."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, MCPError
from mcp.types import TextContent, TextResourceContents

from tests.agent.fakes import FakeControl, record, run
from voicecall.agent.actions import ACTIONS
from voicecall.agent.mcp import CALLS_URI, VoiceCallTools
from voicecall.call.record import CallState
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.types import CallToolResult

pytestmark = pytest.mark.unit

# The handshake of today's clients, and what replaces it.
MODES = ["legacy", "auto"]


@asynccontextmanager
async def connected(control: FakeControl, mode: str = "legacy") -> AsyncIterator[Client]:
    async with Client(VoiceCallTools(control).server(), mode=mode) as client:
        yield client


def text_of(result: CallToolResult) -> dict[str, Any]:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return dict(json.loads(block.text))


async def read(client: Client, uri: str) -> Any:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    return json.loads(contents.text)


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_there_is_one_tool_for_each_action(mode: str) -> None:
    async def case() -> None:
        async with connected(FakeControl(), mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert list(tools) == list(ACTIONS)
            for name, action in ACTIONS.items():
                assert tools[name].input_schema == action.schema()
                assert tools[name].output_schema == action.result
                assert tools[name].description == action.description
            dial = tools["initiate_call"].annotations
            look = tools["get_status"].annotations
            assert dial is not None
            assert look is not None
            assert (dial.read_only_hint, dial.idempotent_hint) == (False, False)
            assert (look.read_only_hint, look.open_world_hint) == (True, False)

    run(case())


def test_clients_are_told_how_calls_are_held() -> None:
    async def case() -> None:
        async with connected(FakeControl()) as client:
            instructions = client.instructions or ""
            assert client.server_info is not None
            assert client.server_info.name == "voicecall"
            for name in ("initiate_call", "continue_call", "end_call"):
                assert name in instructions
            assert "you are an AI assistant" in instructions

    run(case())


@pytest.mark.parametrize("mode", MODES)
def test_a_result_is_structured_and_text_alike(mode: str) -> None:
    async def case() -> None:
        control = FakeControl(record())
        async with connected(control, mode) as client:
            given = {"callId": "c-1", "message": "Well?"}
            # The client checks it against the schema of the tool.
            result = await client.call_tool("continue_call", given)
            assert not result.is_error
            assert result.structured_content == {"success": True, "transcript": "Fine."}
            assert text_of(result) == result.structured_content
            assert control.asked == [("ask", "c-1", "Well?")]

    run(case())


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("initiate_call", {}, "invalid_request"),
        ("initiate_call", {"message": "Hi.", "mode": 5}, "invalid_request"),
        ("initiate_call", {"message": "Hi.", "action": "end_call"}, "invalid_request"),
        ("end_call", {"callId": "c-9"}, "unknown_call"),
    ],
)
def test_an_error_is_a_result_that_the_model_sees(
    name: str, given: dict[str, Any], code: str
) -> None:
    async def case() -> None:
        control = FakeControl(record())
        async with connected(control) as client:
            result = await client.call_tool(name, given)
            assert result.is_error
            assert result.structured_content is None
            assert text_of(result)["error"]["code"] == code
            assert control.asked == []

    run(case())


def test_a_tool_that_does_not_exist_is_an_error_of_the_protocol() -> None:
    async def case() -> None:
        async with connected(FakeControl()) as client:
            with pytest.raises(MCPError, match="there is no tool 'dance'"):
                await client.call_tool("dance", {})

    run(case())


# --- waiting -------------------------------------------------------------------------------------


def test_who_waits_for_an_answer_is_told_how_the_call_stands() -> None:
    async def case() -> None:
        control = FakeControl(record())
        control.silent = True
        reports: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            assert total is None
            reports.append((progress, message))
            control.silent = False

        async with connected(control) as client:
            given = {"callId": "c-1", "message": "Well?"}
            result = await client.call_tool("continue_call", given, progress_callback=note)
            assert result.structured_content == {"success": True, "transcript": "Fine."}
            assert [message for _, message in reports] == ["the call is listening"]

    run(case())


def test_reports_that_fail_do_not_disturb_the_call() -> None:
    class Deaf(FakeControl):
        async def status(self, call_id: str) -> None:
            raise RemoteError(f"nobody knows {call_id}")

    async def case() -> None:
        async def note(progress: float, total: float | None, message: str | None) -> None:
            raise AssertionError((progress, total, message))

        async with connected(Deaf(record())) as client:
            given = {"callId": "c-1", "message": "Well?"}
            result = await client.call_tool("continue_call", given, progress_callback=note)
            assert not result.is_error

    run(case())


@pytest.mark.parametrize("reported", [True, False])
def test_a_cancelled_request_is_no_longer_waited_for_and_the_call_goes_on(reported: bool) -> None:
    async def ignore(progress: float, total: float | None, message: str | None) -> None:
        del progress, total, message

    async def case() -> None:
        control = FakeControl(record())
        control.silent = True
        async with connected(control) as client:
            given = {"callId": "c-1", "message": "Well?"}
            asking = asyncio.create_task(
                client.call_tool(
                    "continue_call", given, progress_callback=ignore if reported else None
                )
            )
            await control.asking.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await control.cancelled.wait()
            assert control.asked == [("ask", "c-1", "Well?")]
            # The connection is still good.
            status = await client.call_tool("get_status", {"callId": "c-1"})
            assert status.structured_content["call"]["ended"] is False

    run(case())


# --- resources -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_calls_are_resources(mode: str) -> None:
    async def case() -> None:
        ended = record("c/2", state=CallState.COMPLETED)
        async with connected(FakeControl(record(), ended), mode) as client:
            listed = (await client.list_resources()).resources
            assert [each.uri for each in listed] == [CALLS_URI, f"{CALLS_URI}/c-1"]
            assert listed[1].title == "outbound call, +15550002222"
            (template,) = (await client.list_resource_templates()).resource_templates
            assert template.uri_template == "voicecall://calls/{callId}"

            live = await read(client, CALLS_URI)
            assert [each["callId"] for each in live["calls"]] == ["c-1"]
            assert await read(client, f"{CALLS_URI}/c-1") == record().to_json()
            assert (await read(client, f"{CALLS_URI}/c%2F2"))["callId"] == "c/2"

    run(case())


@pytest.mark.parametrize("uri", [f"{CALLS_URI}/c-9", f"{CALLS_URI}/", "voicecall://x", "file:///x"])
def test_what_is_no_resource_cannot_be_read(uri: str) -> None:
    async def case() -> None:
        async with connected(FakeControl(record())) as client:
            with pytest.raises(MCPError, match="there is no such resource"):
                await client.read_resource(uri)

    run(case())


def test_without_a_server_resources_are_listed_and_reading_them_says_why_not() -> None:
    async def case() -> None:
        control = FakeControl()
        control.raises = [RemoteError("no server answers"), RemoteError("no server answers")]
        async with connected(control) as client:
            assert len((await client.list_resources()).resources) == 1
            with pytest.raises(MCPError, match="no server answers"):
                await client.read_resource(CALLS_URI)

    run(case())
