from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.llm.modelserver import run
from tests.llm.toolserver import tool_server
from tests.session.fakes import soon
from voicecall.config.schema import McpServer
from voicecall.control.listen import ControlListener
from voicecall.errors import ConfigError, DependencyMissing, SpeechError
from voicecall.llm.mcp import McpTools
from voicecall.llm.toolbox import Toolbox
from voicecall.llm.tools import ToolContext
from voicecall.ports import ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.socket

HERE = Path(__file__).parent
CONTEXT = ToolContext("c-1")
CLOSED = "Error: Error executing tool fail: the shop is closed."
HEADERS = {"authorization": "Bearer secret"}


def program(*arguments: str) -> McpServer:
    """One that begins at once."""
    return McpServer(command=(sys.executable, str(HERE / "smalltools.py"), *arguments))


@asynccontextmanager
async def connected(server: McpServer, name: str = "shop") -> AsyncGenerator[Toolbox]:
    toolbox = Toolbox(sources=[McpTools(name, server)], timeout_ms=30_000)
    try:
        await toolbox.prepare()
        yield toolbox
    finally:
        await toolbox.close()


async def use(toolbox: Toolbox, name: str, arguments: str = "{}") -> str:
    return (await toolbox.use(ToolCall("1", name, arguments), CONTEXT)).output


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class HttpServer:
    """The tools by HTTP, for who shows the key; can be started again at the same place."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self.refused = 0

    async def __aenter__(self) -> Self:
        server = tool_server()
        self._app = server.streamable_http_app()
        self._sessions = server.session_manager.run()
        await self._sessions.__aenter__()
        self._listener = ControlListener(self._guarded, "127.0.0.1", self._port)
        await self._listener.start()
        self._port = self._listener.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.stop(0)
        await self._sessions.__aexit__(None, None, None)

    @property
    def port(self) -> int:
        return self._port

    def settings(self, headers: dict[str, str] = HEADERS) -> McpServer:
        url = f"http://127.0.0.1:{self._port}/mcp"
        return McpServer.model_validate({"url": url, "headers": headers})

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if dict(scope["headers"]).get(b"authorization") == b"Bearer secret":
            await self._app(scope, receive, send)
            return
        self.refused += 1
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})


# --- a program run here --------------------------------------------------------------------------


def test_the_tools_of_a_program_are_told_and_used() -> None:
    # By the vendor's own package on the other side, too.
    server = McpServer(command=(sys.executable, str(HERE / "toolserver.py")))

    async def case() -> None:
        async with connected(server) as toolbox:
            specs = {spec.name: spec for spec in toolbox.specs()}
            assert specs.keys() == {
                "shop_add",
                "shop_process_id",
                "shop_fail",
                "shop_hang",
                "shop_die",
                "shop_show",
            }
            add = specs["shop_add"]
            assert add.description == "Add two numbers."
            assert add.parameters["type"] == "object"
            assert add.parameters["properties"].keys() == {"a", "b"}
            assert await use(toolbox, "shop_add", '{"a": 2, "b": 3}') == "5"
            # Names of tools are not what models insist on.
            assert is_running(int(await use(toolbox, "shop_process_id")))
            assert await use(toolbox, "shop_show") == "The menu:\ntea\n[image]"

            # What does not work is told as it was said there.
            assert await use(toolbox, "shop_fail") == CLOSED
            assert (await use(toolbox, "shop_add", '{"a": "x"}')).startswith("Error: ")
            no_json, no_object = "{", "[1]"
            assert "not valid JSON" in await use(toolbox, "shop_add", no_json)
            assert "JSON object" in await use(toolbox, "shop_add", no_object)

            # Uses at the same time do not meet.
            uses = (use(toolbox, "shop_add", f'{{"a": {a}}}') for a in range(20))
            assert await asyncio.gather(*uses) == [str(a + 1) for a in range(20)]

    run(case())


def test_all_pages_of_a_list_are_read() -> None:
    async def case() -> list[str]:
        async with connected(program()) as toolbox:
            return [spec.name for spec in toolbox.specs()]

    assert run(case()) == ["shop_process_id", "shop_die", "shop_hang"]


def test_names_that_are_the_same_for_models_are_refused() -> None:
    async def case() -> list[str]:
        async with connected(program(), name="our shop, " + "a" * 60) as toolbox:
            return [spec.name for spec in toolbox.specs()][:1]

    with pytest.raises(ConfigError, match="two of them are named our_shop__a"):
        run(case())


def test_a_tool_that_hangs_is_given_up_and_the_others_go_on() -> None:
    async def case() -> None:
        async with connected(program()) as toolbox:
            patience_s, toolbox._timeout_s = toolbox._timeout_s, 0.05
            assert "did not answer" in await use(toolbox, "shop_hang")
            toolbox._timeout_s = patience_s
            assert is_running(int(await use(toolbox, "shop_process_id")))

    run(case())


def test_a_program_that_dies_while_it_is_used_is_started_again_at_the_next_use() -> None:
    async def case() -> None:
        async with connected(program()) as toolbox:
            first = await use(toolbox, "shop_process_id")
            assert "may work when tried again" in await use(toolbox, "shop_die")
            second = await use(toolbox, "shop_process_id")
            assert first != second
            assert not is_running(int(first))
            assert is_running(int(second))

    run(case())


def test_a_program_that_died_in_between_is_not_noticed_by_who_uses_it() -> None:
    async def case() -> None:
        tools = McpTools("shop", program())
        toolbox = Toolbox(sources=[tools])
        await toolbox.prepare()
        first = await use(toolbox, "shop_process_id")
        connection = tools._connection
        assert connection is not None
        os.kill(int(first), signal.SIGKILL)
        await asyncio.wait({connection.ended}, timeout=30)
        uses = await asyncio.gather(*(use(toolbox, "shop_process_id") for _ in range(3)))
        await toolbox.close()
        # One program, not one for each use.
        assert len({first, *uses}) == 2

    run(case())


def test_a_program_has_ended_once_it_is_closed() -> None:
    async def case() -> int:
        async with connected(program()) as toolbox:
            return int(await use(toolbox, "shop_process_id"))

    assert not is_running(run(case()))


def test_a_program_that_would_stay_is_ended(tmp_path: Path) -> None:
    stayed = tmp_path / "pid"

    async def case() -> int:
        async with connected(program(str(stayed))) as toolbox:
            return int(await use(toolbox, "shop_process_id"))

    pid = run(case())
    assert stayed.read_text("utf-8") == str(pid)
    assert not is_running(pid)


def test_a_program_is_ended_even_if_who_started_it_is_cancelled() -> None:
    async def case() -> int:
        pids: asyncio.Queue[int] = asyncio.Queue()

        async def hold() -> None:
            async with connected(program()) as toolbox:
                pids.put_nowait(int(await use(toolbox, "shop_process_id")))
                await asyncio.get_running_loop().create_future()

        holding = asyncio.create_task(hold())
        pid = await pids.get()
        holding.cancel()
        await asyncio.wait({holding})
        return pid

    assert not is_running(run(case()))


def test_a_program_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); "
        "sys.stdin.read(); time.sleep(60)"
    )
    server = McpServer(command=(sys.executable, "-c", code, str(note)))

    async def case() -> None:
        tools = McpTools("shop", server, connect_timeout_ms=500)
        with pytest.raises(SpeechError, match=r"tools\.mcp\.shop: cannot be connected"):
            await tools.prepare()
        await tools.close()

    run(case())
    assert not note.exists() or not is_running(int(note.read_text()))


def test_closing_does_not_wait_for_a_program_that_never_answers() -> None:
    server = McpServer(command=(sys.executable, "-c", "import sys; sys.stdin.read()"))

    async def case() -> None:
        tools = McpTools("shop", server)
        preparing = asyncio.create_task(tools.prepare())
        await soon(lambda: tools._connection is not None)
        await tools.close()
        with pytest.raises(SpeechError):
            await preparing
        with pytest.raises(SpeechError):
            await tools.prepare()

    run(case())


def test_a_program_that_is_not_there_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with connected(McpServer(command=(str(tmp_path / "nothing"),))):
            pass

    with pytest.raises(SpeechError, match=r"tools\.mcp\.shop: cannot be connected"):
        run(case())
    assert "a server of tools is not connected" in caplog.text


def test_closing_what_was_never_opened_is_nothing() -> None:
    run(McpTools("shop", program()).close())


def test_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(DependencyMissing, match=r"pip install 'voicecall\[mcp\]'"):
        run(McpTools("shop", program()).prepare())


# --- a service that is reached by HTTP ------------------------------------------------------------


def test_the_tools_of_a_service_are_told_and_used() -> None:
    async def case() -> None:
        async with HttpServer() as server, connected(server.settings()) as toolbox:
            assert "shop_add" in {spec.name for spec in toolbox.specs()}
            assert await use(toolbox, "shop_add", '{"a": 2, "b": 3}') == "5"
            assert await use(toolbox, "shop_fail") == CLOSED
            assert server.refused == 0

    run(case())


def test_a_service_that_refuses_the_key_is_told() -> None:
    async def case() -> None:
        async with HttpServer() as server:
            with pytest.raises(SpeechError, match=r"tools\.mcp\.shop: cannot be connected"):
                async with connected(server.settings({"authorization": "Bearer wrong"})):
                    pass
            assert server.refused > 0

    run(case())


def test_a_service_that_was_away_is_used_again() -> None:
    async def case() -> None:
        async with HttpServer() as server:
            settings = server.settings()
            toolbox = Toolbox(sources=[McpTools("shop", settings)])
            await toolbox.prepare()
        away = await use(toolbox, "shop_add", '{"a": 2}')
        assert away.startswith("Error: ")
        async with HttpServer(server.port):
            assert await use(toolbox, "shop_add", '{"a": 2}') == "3"
            await toolbox.close()

    run(case())


def test_a_service_that_was_started_again_meanwhile_is_used_again() -> None:
    async def case() -> None:
        async with HttpServer() as server:
            toolbox = Toolbox(sources=[McpTools("shop", server.settings())])
            await toolbox.prepare()
        async with HttpServer(server.port):
            # What it knew of us is gone; at the latest the second use finds its way.
            await use(toolbox, "shop_add", '{"a": 2}')
            assert await use(toolbox, "shop_add", '{"a": 2}') == "3"
            await toolbox.close()

    run(case())
