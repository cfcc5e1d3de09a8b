"""`voicecall mcp` as an agent starts it: a program, spoken to by the protocol's own package."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from tests.hosting import CALLEE, TOKEN, free_port, run, serving, settings, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.types import CallToolResult

    from tests.hosting import Served

pytestmark = pytest.mark.socket

DEADLINE_S = 60
SAYS = {"scripted": {"transcripts": ["Until six."]}}
PROGRAM = str(Path(sys.executable).with_name("voicecall"))


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder), **more}


def configured(folder: Path, port: int, **sections: Any) -> str:
    path = folder / "voicecall.json5"
    path.write_text(json.dumps(settings(serve={"port": port}, **sections)))
    return str(path)


def port_of(served: Served) -> int:
    return int(served.server.control_url.rpartition(":")[2])


def arguments(config: str, *options: str) -> list[str]:
    return ["--config", config, "mcp", *options]


@asynccontextmanager
async def started(folder: Path, config: str, *options: str) -> AsyncIterator[Client]:
    """A client of the command, over its standard input and output."""
    parameters = StdioServerParameters(
        command=PROGRAM, args=arguments(config, *options), env=environment(folder)
    )
    with (folder / "stderr").open("w") as errors:
        transport = stdio_client(parameters, errlog=errors)
        # The handshake of today's agents; over HTTP below, what replaces it.
        async with Client(transport, mode="legacy") as client:
            yield client


async def use(client: Client, name: str, **given: str) -> dict[str, Any]:
    result = await client.call_tool(name, given)
    assert not result.is_error, result
    return dict(result.structured_content)


def error_of(result: CallToolResult) -> dict[str, Any]:
    assert result.is_error
    (block,) = result.content
    assert isinstance(block, TextContent)
    return dict(json.loads(block.text)["error"])


async def place(client: Client) -> str:
    placed = await use(client, "initiate_call", message="Hello.", to=CALLEE, mode="conversation")
    return str(placed["callId"])


async def hold(client: Client, served: Served) -> None:
    """A whole dialogue."""
    assert len((await client.list_tools()).tools) == 7
    reports: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        del progress, total
        reports.append(message)

    call_id = await place(client)
    question = {"callId": call_id, "message": "Open today?"}
    asking = asyncio.create_task(
        client.call_tool("continue_call", question, progress_callback=note)
    )
    phone = await served.connected(call_id)
    await served.listening(call_id, said=2)
    pending = await client.call_tool("continue_call", question)
    assert error_of(pending)["code"] == "turn_pending"
    await phone.say("Until six")
    answered = (await asking).structured_content
    assert answered == {"success": True, "transcript": "Until six."}
    assert reports
    await use(client, "speak_to_user", callId=call_id, message="Bye.")
    await use(client, "end_call", callId=call_id)
    record = await served.ended(call_id)
    assert record["state"] == "hangup-bot"
    assert texts(record)[1:] == [
        ("bot", "Open today?"),
        ("user", "Until six."),
        ("bot", "Bye."),
    ]
    status = await use(client, "get_status", callId=call_id)
    assert status["call"]["ended"] is True
    read = await client.read_resource(f"voicecall://calls/{call_id}")
    assert call_id in str(read.contents[0])


# --- standard input and output -------------------------------------------------------------------


def test_an_agent_holds_a_call_through_the_server_that_runs(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(stt=SAYS) as served:
            config = configured(tmp_path, port_of(served))
            async with started(tmp_path, config) as client:
                await hold(client, served)

    run(case(), within_s=DEADLINE_S)
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_who_cancels_can_ask_again_and_the_call_goes_on(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(stt=SAYS) as served:
            config = configured(tmp_path, port_of(served))
            async with started(tmp_path, config) as client:
                call_id = await place(client)
                phone = await served.connected(call_id)
                question = {"callId": call_id, "message": "Well?"}
                asking = asyncio.create_task(client.call_tool("continue_call", question))
                await served.listening(call_id, said=2)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

                async def again() -> CallToolResult:
                    # The server learns a moment later that nobody waits any more.
                    while (told := await client.call_tool("continue_call", question)).is_error:
                        assert error_of(told)["code"] == "turn_pending"
                    return told

                asking = asyncio.create_task(again())
                await served.listening(call_id, said=3)
                await phone.say("Until six")
                assert (await asking).structured_content["transcript"] == "Until six."
                await use(client, "end_call", callId=call_id)

    run(case(), within_s=DEADLINE_S)


def test_without_a_server_each_tool_says_how_to_start_one(tmp_path: Path) -> None:
    async def case() -> None:
        config = configured(tmp_path, free_port())
        async with started(tmp_path, config) as client:
            told = await client.call_tool("initiate_call", {"message": "Hello.", "to": CALLEE})
            assert "voicecall serve" in error_of(told)["message"]

    run(case(), within_s=DEADLINE_S)


def test_a_server_with_another_token_is_said_to_be_one(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving() as served:
            config = configured(tmp_path, port_of(served), rpc={"token": "another"})
            async with started(tmp_path, config) as client:
                told = await client.call_tool("get_status", {})
                assert "rpc.token" in error_of(told)["message"]

    run(case(), within_s=DEADLINE_S)


def test_a_server_of_its_own_is_run_when_there_is_none(tmp_path: Path) -> None:
    async def case() -> None:
        config = configured(
            tmp_path, free_port(), mock={"phone": "echo"}, bargeIn={"enabled": False}
        )
        async with started(tmp_path, config, "--serve") as client:
            call_id = await place(client)
            await use(client, "speak_to_user", callId=call_id, message="One moment.")
            live = await use(client, "get_status")
            assert [call["callId"] for call in live["calls"]] == [call_id]
            # An agent that comes second uses the server of the first.
            async with started(tmp_path, config, "--serve") as other:
                assert (await use(other, "get_status"))["calls"] == live["calls"]
                await use(other, "end_call", callId=call_id)
            assert (await use(client, "get_status"))["calls"] == []

    run(case(), within_s=DEADLINE_S)
    assert "Traceback" not in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGTERM, ["--serve"]), (signal.SIGINT, [])]
)
def test_a_signal_ends_it_though_its_input_is_open(
    tmp_path: Path, number: signal.Signals, options: list[str]
) -> None:
    async def case() -> None:
        config = configured(tmp_path, free_port(), mock={"phone": "echo"})
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments(config, *options),
            env=environment(tmp_path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        process.stdin.write(json.dumps(ping).encode() + b"\n")
        answer = json.loads(await process.stdout.readline())
        assert answer["id"] == 1
        process.send_signal(number)
        assert await process.wait() == -number
        assert await process.stdout.read() == b""
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()

    run(case(), within_s=DEADLINE_S)


# --- HTTP ----------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(folder: Path, config: str) -> AsyncIterator[str]:
    """The command with --http on a free port; where it says it is."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments(config, "--http", "--port", "0"),
        env=environment(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b"voicecall mcp is ready at " in line:
                yield line.decode().split()[-1]
                break
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def connected(url: str, token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode="auto") as client,
    ):
        yield client


def test_an_agent_holds_a_call_over_http(tmp_path: Path) -> None:
    async def case() -> None:
        async with serving(stt=SAYS) as served:
            config = configured(tmp_path, port_of(served))
            async with listening(tmp_path, config) as url:
                async with connected(url, TOKEN) as client:
                    await hold(client, served)
                async with httpx2.AsyncClient(trust_env=False) as http:
                    assert (await http.post(url, json={})).status_code == 401

    run(case(), within_s=DEADLINE_S)


# --- usage ---------------------------------------------------------------------------------------


def said(folder: Path, *given: str, **more: str) -> tuple[int | None, str]:
    async def case() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *given,
            env=environment(folder, **more),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    return run(case(), within_s=DEADLINE_S)


def test_listening_for_everybody_needs_a_name(tmp_path: Path) -> None:
    config = configured(tmp_path, free_port())
    everybody = "0.0.0.0"  # noqa: S104  (it is refused)
    status, text = said(tmp_path, *arguments(config, "--http", "--bind", everybody))
    assert status == 1
    assert "--allow-host" in text


def test_a_missing_package_is_named_with_how_to_install_it(tmp_path: Path) -> None:
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "mcp.py").write_text("raise ImportError('blocked by a test')\n")
    config = configured(tmp_path, free_port())
    status, text = said(tmp_path, *arguments(config), PYTHONPATH=str(blocker))
    assert (status, len(text.splitlines())) == (1, 1)
    assert "pip install 'voicecall[mcp]'" in text


def test_help_shows_an_example(tmp_path: Path) -> None:
    status, text = said(tmp_path, "mcp", "--help")
    assert status == 0
    assert "Example: voicecall mcp" in text
