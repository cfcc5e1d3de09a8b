"""Finding a server for a call: the one that runs, or one of our own that lasts as long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from voicecall.cli.progress import working

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from voicecall import Client
    from voicecall.config.load import LoadedConfig
    from voicecall.config.schema import Config

# It is on this machine, or close to it.
_CONNECT_S: Final = 3.0


async def reach(stack: AsyncExitStack, loaded: LoadedConfig) -> Client:
    """A client of the server that runs with this configuration; of a new one if there is none.

    Args:
        stack: closes the client, and the new server with all its calls.
        loaded: the configuration.

    Raises:
        ConfigError, ServeError, DependencyMissing, StoreError: the server cannot start, or what
            runs there is not known well enough.
    """
    from voicecall import Client  # noqa: PLC0415  (not worth loading for `--help`)

    if await _listens(loaded.config):
        return await stack.enter_async_context(Client.from_loaded(loaded))
    return await stack.enter_async_context(await _own(stack, loaded))


async def _own(stack: AsyncExitStack, loaded: LoadedConfig) -> Client:
    from voicecall import Client, Server  # noqa: PLC0415  (as above)
    from voicecall.config.state import keep_rpc_token  # noqa: PLC0415  (as above)

    click.echo("no server runs, so one is started that ends with the call", err=True)
    # Kept, so that other commands can reach it meanwhile.
    token = loaded.config.rpc.token or keep_rpc_token(loaded.state_directory)
    with working("starting the server"):
        server = Server(loaded.config, rpc_token=token.get_secret_value())
        await stack.enter_async_context(server)
    # Nobody can get between a process and itself, whatever the certificate is made for.
    return Client(server.control_url, token.get_secret_value(), verify=False)


async def _listens(config: Config) -> bool:
    """Whether something listens where a server with this configuration would."""
    from voicecall.client.address import server_url  # noqa: PLC0415  (as above)

    if not config.serve.port:
        # Whatever port it has, nobody could know it.
        return False
    parts = urlsplit(server_url(config))
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
