"""Tools of MCP servers: programs run here, or services that are reached by HTTP.

A connection is held by a task of its own, since the package's contexts have to be left where they
were entered. One that breaks is opened again when a tool of it is used next.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import math
import os
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from voicecall.errors import DependencyMissing, SpeechError
from voicecall.llm.tools import Tool, ToolError
from voicecall.ports import ToolSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from anyio import CancelScope
    from mcp import Client
    from mcp.client._transport import ReadStream, Transport, TransportStreams
    from mcp.shared.message import SessionMessage
    from mcp.types import CallToolResult
    from mcp.types import Tool as ListedTool

    from voicecall.config.schema import McpServer
    from voicecall.llm.tools import ToolContext

_log = logging.getLogger("voicecall.llm")

CONNECT_TIMEOUT_MS = 30_000
"""From starting a server to its list of tools; one that is installed on the way takes its time."""
# The package gives a program two seconds to end by itself, two more after SIGTERM.
_CLOSE_TIMEOUT_S = 6.0
_MAX_PAGES = 20
_MAX_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
# Errors that tell that a connection, or what the server knew of it, is gone.
_GONE = frozenset({-32000, -32600})


class McpTools:
    """The tools of one server; implements `toolbox.ToolSource`.

    Args:
        name: of the server; tools are named `<name>_<tool>`.
        server: how it is reached.
        connect_timeout_ms: from starting to connect to its list of tools.
    """

    def __init__(
        self, name: str, server: McpServer, *, connect_timeout_ms: int = CONNECT_TIMEOUT_MS
    ) -> None:
        self._name = name
        self._server = server
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._connection: _Connection | None = None
        self._retired: set[_Connection] = set()
        self._closed = False

    async def prepare(self) -> Sequence[Tool]:
        """Connect; what tools there are.

        Raises:
            DependencyMissing: the package is not installed.
            SpeechError: the server cannot be reached.
        """
        try:
            # Large; its first import would hold up every call.
            await asyncio.to_thread(importlib.import_module, "mcp")
        except ImportError as error:
            raise DependencyMissing(
                "tools.mcp needs a package: pip install 'voicecall[mcp]'"
            ) from error
        try:
            connection = await self._connected()
        except ToolError:
            raise SpeechError(
                f"tools.mcp.{self._name}: cannot be connected; the log tells why", retryable=True
            ) from None
        return [self._tool(listed) for listed in connection.tools]

    async def close(self) -> None:
        """Disconnect; a program that was started has ended afterwards."""
        self._closed = True
        connections = [*self._retired]
        if self._connection is not None:
            connections.append(self._connection)
        await asyncio.gather(*(connection.close() for connection in connections))

    def _tool(self, listed: ListedTool) -> Tool:
        name = _NOT_IN_NAMES.sub("_", f"{self._name}_{listed.name}")[:_MAX_NAME]
        parameters = {"type": "object", "properties": {}, **listed.input_schema}
        description = listed.description or listed.title or listed.name

        async def run(arguments: str, context: ToolContext) -> str:
            del context
            return await self._call(listed.name, _object(arguments))

        return Tool(ToolSpec(name, description, parameters), run)

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        from mcp import MCPError  # noqa: PLC0415  (loaded by `prepare`)

        connection = await self._connected()
        try:
            with connection.in_use():
                result = await connection.client.call_tool(name, arguments)
        except MCPError as error:
            if error.code in _GONE:
                self._retire(connection)
                raise ToolError(
                    "the connection to it broke; it may work when tried again"
                ) from None
            raise ToolError(error.message) from None
        text = _text(result)
        if result.is_error:
            raise ToolError(text)
        return text

    async def _connected(self) -> _Connection:
        """The connection, opened again where it broke. Raises `ToolError`."""
        if self._closed:
            raise ToolError("it is closed")
        connection = self._connection
        if connection is None or connection.over:
            extra = {"server": self._name}
            connection = _Connection(_Opener(self._server), self._connect_timeout_s, extra)
            self._connection = connection
        # Who gives up waiting does not keep others from it.
        await asyncio.shield(connection.opened)
        return connection

    def _retire(self, connection: _Connection) -> None:
        """Have the next use open another one; this one ends when nobody uses it any more."""
        if self._connection is connection:
            self._connection = None
        self._retired.add(connection)
        connection.ended.add_done_callback(lambda _: self._retired.discard(connection))
        connection.retire()


class _Opener:
    """Makes clients of one server.

    Args:
        server: how it is reached.
    """

    def __init__(self, server: McpServer) -> None:
        self._server = server

    async def open(
        self, stack: AsyncExitStack, begun: Callable[[], None], lost: asyncio.Event
    ) -> Client:
        """Enter a client.

        Args:
            stack: what is entered here.
            begun: called when there is something to talk to.
            lost: set when the other side has gone.
        """
        from mcp import Client, StdioServerParameters, stdio_client  # noqa: PLC0415
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

        transport: Transport
        if self._server.url is None:
            command, *args = self._server.command
            # What it complains about is worth seeing, unless nobody can.
            errors = sys.__stderr__ or stack.enter_context(_nowhere())
            parameters = StdioServerParameters(command=command, args=args)
            transport = stdio_client(parameters, errlog=errors)
        else:
            http = await stack.enter_async_context(await asyncio.to_thread(_http, self._server))
            transport = streamable_http_client(self._server.url, http_client=http)
        return await stack.enter_async_context(Client(_watched(transport, begun, lost)))


class _Connection:
    """One connection to a server, open until it breaks or is closed.

    Args:
        opener: makes its client.
        timeout_s: how long opening may take.
        extra: fields of log records.

    Attributes:
        opened: done once it is; fails with `ToolError`.
        ended: done once everything of it is gone.
        client: of the package, once opened.
        tools: that the server has, once opened.
    """

    client: Client

    def __init__(self, opener: _Opener, timeout_s: float, extra: dict[str, str]) -> None:
        self._opener = opener
        self._timeout_s = timeout_s
        self._extra = extra
        self._users = 0
        self._retired = False
        self._scope: CancelScope | None = None
        # A program that is cut off while it is being started would be left behind.
        self._begun = asyncio.Event()
        # The other side has gone, or nobody wants it any more.
        self._done = asyncio.Event()
        self.tools: Sequence[ListedTool] = ()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whether anybody waits for it or not.
        self.opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self.ended = asyncio.create_task(self._hold(), name=f"mcp {extra['server']}")

    @property
    def over(self) -> bool:
        """Whether it cannot be used any more."""
        return self._done.is_set() or self.ended.done()

    def in_use(self) -> _Use:
        """While the returned context is entered, retiring it waits."""
        return _Use(self)

    def use(self, change: int) -> None:
        """Count its users; the last one of a retired connection ends it."""
        self._users += change
        if self._retired and not self._users:
            self._done.set()

    def retire(self) -> None:
        """End it as soon as nobody uses it."""
        self._retired = True
        self.use(0)

    async def close(self) -> None:
        """End it, in order if that is possible within six seconds."""
        self._done.set()
        if not self.opened.done():
            # There is nothing to end in order yet.
            begun = asyncio.create_task(self._begun.wait())
            await asyncio.wait({begun}, timeout=_CLOSE_TIMEOUT_S)
            begun.cancel()
            self._abort()
        _, pending = await asyncio.wait({self.ended}, timeout=_CLOSE_TIMEOUT_S)
        if pending:
            self._abort()
            _, pending = await asyncio.wait(pending, timeout=_CLOSE_TIMEOUT_S)
        if pending:
            _log.error("a server of tools cannot be disconnected", extra=self._extra)

    def _abort(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _begin(self) -> None:
        if self._scope is not None:
            self._scope.deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._begun.set()

    async def _hold(self) -> None:
        import anyio  # noqa: PLC0415  (comes with the package)

        try:
            # Left as it was entered, so that what was started is also ended: only the package's own
            # kind of cancellation lets it do that.
            with anyio.CancelScope() as scope:
                self._scope = scope
                async with AsyncExitStack() as stack:
                    self.client = await self._opener.open(stack, self._begin, self._done)
                    self.tools = await _listed(self.client)
                    scope.deadline = math.inf
                    self.opened.set_result(None)
                    await self._done.wait()
        except Exception:  # noqa: BLE001  (a task's boundary)
            _log.warning("a server of tools is not connected", exc_info=True, extra=self._extra)
        finally:
            self._done.set()
            self._begun.set()
            if not self.opened.done():
                self.opened.set_exception(ToolError("its server cannot be reached"))


class _Use:
    """While entered, a connection has one user more."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.use(1)

    def __exit__(self, *_: object) -> None:
        self._connection.use(-1)


class _WatchedStream:
    """A stream from the other side that tells when it ends.

    Args:
        stream: what is read.
        lost: set at its end.
    """

    def __init__(self, stream: ReadStream[SessionMessage | Exception], lost: asyncio.Event) -> None:
        self._stream = stream
        self._lost = lost

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (as the stream has it)
        return getattr(self._stream, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await anext(self._stream)
        except BaseException:
            self._lost.set()
            raise

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        try:
            return await self._stream.receive()
        except BaseException:
            self._lost.set()
            raise

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, trace)


@asynccontextmanager
async def _watched(
    transport: AbstractAsyncContextManager[TransportStreams],
    begun: Callable[[], None],
    lost: asyncio.Event,
) -> AsyncGenerator[TransportStreams]:
    async with transport as (incoming, outgoing):
        begun()
        yield _WatchedStream(incoming, lost), outgoing


async def _listed(client: Client) -> list[ListedTool]:
    tools: list[ListedTool] = []
    cursor = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools.extend(page.tools)
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


def _object(arguments: str) -> dict[str, Any]:
    """Arguments as the server wants them, which checks the rest. Raises `ToolError`."""
    try:
        value = json.loads(arguments.strip() or "{}")
    except (ValueError, RecursionError):
        raise ToolError("the arguments are not valid JSON") from None
    if not isinstance(value, dict):
        raise ToolError("the arguments have to be a JSON object")
    return value


def _text(result: CallToolResult) -> str:
    """What a model can read of a result."""
    texts = []
    for block in result.content:
        match block.type:
            case "text":
                texts.append(block.text)
            case "resource" if isinstance(text := getattr(block.resource, "text", None), str):
                texts.append(text)
            case kind:
                texts.append(f"[{kind}]")
    if not texts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(texts) or "Done."


def _http(server: McpServer) -> Any:  # noqa: ANN401  (an httpx2.AsyncClient)
    """A client that shows the configured headers; made off the loop, as it reads certificates."""
    import httpx2  # noqa: PLC0415  (comes with the package)

    headers = {name: value.get_secret_value() for name, value in server.headers.items()}
    # Streams may be silent for long; each use of a tool has a deadline of its own.
    timeout = httpx2.Timeout(10.0, read=300.0)
    return httpx2.AsyncClient(headers=headers, timeout=timeout)


def _nowhere() -> Any:  # noqa: ANN401  (a text file)
    return open(os.devnull, "w", encoding="utf-8")
