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

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command("serve")
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Stopping refuses new calls and sockets, ends the live ones and exits with 0 within 10 seconds.
    A second signal ends the process at once.

    Example: voicecall --config production.json5 serve
    """
    # The server and its engines are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    uvloop.run(_serve(invocation.load_config()))


async def _serve(loaded: LoadedConfig) -> None:
    from voicecall.config.state import keep_rpc_token  # noqa: PLC0415
    from voicecall.server import Server  # noqa: PLC0415

    token = loaded.config.rpc.token or keep_rpc_token(loaded.state_directory)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    server = Server(loaded.config, rpc_token=token.get_secret_value())
    if not await _started(server, stop):
        return
    click.echo(f"voicecall is ready at {server.control_url}", err=True)
    if server.tunnelled:
        click.echo(f"reached from outside at {server.public_url}", err=True)
    await stop.wait()
    for number in _STOP_SIGNALS:
        # Who asks again does not want to wait, not even for a loop that hangs.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    click.echo("stopping: refusing new calls, ending the live ones", err=True)
    await server.stop()


async def _started(server: Server, stop: asyncio.Event) -> bool:
    """Whether it started before it was told to stop, for which it need not have started."""
    starting = asyncio.create_task(server.start())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    await asyncio.wait({told})
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        if starting.cancelled():
            return False
    # It did start, or says why it could not.
    await starting
    return True
