"""`voicecall serve`: run the server until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voicecall.cli.invocation import Invocation
    from voicecall.config.load import LoadedConfig
    from voicecall.server import Server


@click.command("serve")
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Stopping refuses new calls and sockets, ends the live ones and exits with 0 within 10 seconds.
    A second signal does not wait for them.

    Example: voicecall --config production.json5 serve
    """
    # The server and its engines are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    uvloop.run(_serve(invocation.load_config()))


async def _serve(loaded: LoadedConfig) -> None:
    from voicecall.config.state import keep_rpc_token  # noqa: PLC0415
    from voicecall.server import Server  # noqa: PLC0415

    token = loaded.config.rpc.token or keep_rpc_token(loaded.state_directory)
    stop, force = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (force if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    server = Server(loaded.config, rpc_token=token.get_secret_value())
    await server.start()
    click.echo(f"voicecall is ready at {server.control_url}", err=True)
    await stop.wait()
    click.echo("stopping: refusing new calls, ending the live ones", err=True)
    await _stop(server, force)


async def _stop(server: Server, force: asyncio.Event) -> None:
    """Stop in order; a second signal leaves the rest to the end of the process."""
    stopping = asyncio.create_task(server.stop())
    forced = asyncio.create_task(force.wait())
    await asyncio.wait({stopping, forced}, return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    if stopping.done():
        await stopping
    else:
        stopping.cancel()
