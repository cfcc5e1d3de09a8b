"""`voicecall mcp`: phone calls as tools of agents that speak the Model Context Protocol."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from voicecall.agent.control import CallControl
    from voicecall.cli.invocation import Invocation
    from voicecall.config.load import LoadedConfig

DEFAULT_PORT = 3336
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where HTTP is served."""

    bind: str
    port: int
    hosts: tuple[str, ...]


@click.command("mcp")
@click.option(
    "--serve",
    is_flag=True,
    help="Run a server in this process if none answers; its calls end with it.",
)
@click.option("--http", is_flag=True, help="Serve streamable HTTP instead of standard input.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Where to listen with --http; 0 picks a free port.",
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on with --http.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Name by which clients reach it with --http, besides localhost; may be repeated.",
)
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    serve: bool,
    http: bool,
    port: int,
    bind: str,
    hosts: tuple[str, ...],
) -> None:
    """Offer phone calls to an agent, as MCP tools.

    The tools place calls through the server that runs with this configuration (voicecall serve).
    Over standard input and output it ends when the agent closes them. Over HTTP, at /mcp, clients
    show the RPC token: Authorization: Bearer TOKEN.

    In the configuration of an agent it is a server with the command `voicecall mcp`.

    Example: voicecall mcp --serve
    """
    # None of it is worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    place = _Place(bind, port, hosts) if http else None
    uvloop.run(_run(invocation, place, serve=serve))


async def _run(invocation: Invocation, place: _Place | None, *, serve: bool) -> None:
    """Serve until there is nobody to serve, or a signal comes."""
    from voicecall.agent.stdio import quiet_stdout  # noqa: PLC0415
    from voicecall.config.state import keep_rpc_token  # noqa: PLC0415

    loaded = invocation.load_config()
    # Made here if need be, so that a server that starts later has the same.
    token = loaded.config.rpc.token or keep_rpc_token(loaded.state_directory)
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, _stop, stop, number)
    async with AsyncExitStack() as stack:
        with quiet_stdout():
            server = _Server(loaded, token.get_secret_value())
            control = await server.reach(stack, serve=serve)
        if place is not None:
            await _over_http(control, server, place, stop)
        elif await _over_stdio(control, stop):
            return
    if place is None:
        # A thread waits for input, and nothing else can end it.
        signal.raise_signal(stop.result())


@dataclass(frozen=True, slots=True)
class _Server:
    """The server whose calls are offered."""

    loaded: LoadedConfig
    token: str

    async def reach(self, stack: AsyncExitStack, *, serve: bool) -> CallControl:
        """A client of the one that runs; one of our own, if that is wanted and none answers."""
        # Not worth loading for `--help`.
        from voicecall import Client, Server  # noqa: PLC0415
        from voicecall.agent.control import InProcess  # noqa: PLC0415

        if not serve or await self._answers():
            return await stack.enter_async_context(Client.from_loaded(self.loaded))
        server = Server(self.loaded.config, rpc_token=self.token)
        return InProcess(await stack.enter_async_context(server))

    async def _answers(self) -> bool:
        from voicecall import Client  # noqa: PLC0415

        if not self.loaded.config.serve.port:
            # Nobody could know where it is.
            return False
        try:
            async with Client.from_loaded(self.loaded) as client:
                await client.calls()
        except RemoteError:
            return False
        return True


async def _over_stdio(control: CallControl, stop: asyncio.Future[signal.Signals]) -> bool:
    """Serve the agent that started us; whether it ended in order, and not by a signal."""
    from voicecall.agent.stdio import serve_stdio  # noqa: PLC0415

    if sys.stdin.isatty():
        click.echo("voicecall mcp talks to the agent that starts it, not to people", err=True)
    serving = asyncio.create_task(serve_stdio(control), name="mcp")
    either: set[asyncio.Future[Any]] = {serving, stop}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        return False
    await serving
    return True


async def _over_http(
    control: CallControl, server: _Server, place: _Place, stop: asyncio.Future[signal.Signals]
) -> None:
    from voicecall.agent.http import McpListener  # noqa: PLC0415
    from voicecall.control.listen import TlsFiles  # noqa: PLC0415

    tls = server.loaded.config.serve.tls
    async with McpListener(
        control,
        server.token,
        bind=place.bind,
        port=place.port,
        hosts=place.hosts,
        tls=TlsFiles(tls.cert, tls.key) if tls else None,
    ) as listener:
        click.echo(f"voicecall mcp is ready at {listener.url}", err=True)
        await stop


def _stop(stop: asyncio.Future[signal.Signals], asked: signal.Signals) -> None:
    stop.set_result(asked)
    for number in _STOP_SIGNALS:
        # Who asks again does not want to wait.
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
