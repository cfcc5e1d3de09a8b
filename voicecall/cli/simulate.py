"""`voicecall simulate`: a carrier on this machine, to try a server with and without an account."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option
from voicecall.errors import ServeError

if TYPE_CHECKING:
    from voicecall.simulator.exchange.by_name import ExchangeName
    from voicecall.simulator.exchange.exchange import Exchange
    from voicecall.simulator.exchange.line import Line
    from voicecall.simulator.exchange.party import ScriptedParty

CARRIERS: Final[tuple[ExchangeName, ...]] = ("twilio", "telnyx", "plivo")
OUR_NUMBER: Final = "+15550000000"
CALLER: Final = "+15550001234"
WEBHOOK_URL: Final = "http://127.0.0.1:3334"
MEDIA_URL: Final = "http://127.0.0.1:3335"
WEBHOOK_PATH: Final = "/voice/webhook"


@click.command("simulate")
@click.argument("carrier", type=click.Choice(CARRIERS))
@click.option(
    "--write",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the configuration of a server that uses it to this file, which must not exist.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, carrier: ExchangeName, path: Path | None) -> None:
    """Run a simulated carrier until Ctrl-C.

    It has the REST interface, the signed webhooks and the media sockets of the real one, and
    everybody it calls talks like the caller of the demonstration. Servers on this machine reach it
    with the configuration that is printed, on the usual ports.

    A line on standard input lets somebody call the server: from the number in it, or from a usual
    one if it is empty.

    Example: voicecall simulate twilio --write twilio.json5
    """
    # A server's parts are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    with suppress(KeyboardInterrupt):
        uvloop.run(_simulate(invocation, carrier, path))


async def _simulate(invocation: Invocation, carrier: ExchangeName, path: Path | None) -> None:
    from voicecall.clock import SystemClock  # noqa: PLC0415  (as above)
    from voicecall.simulator.engines import local_engines  # noqa: PLC0415  (as above)
    from voicecall.simulator.exchange.by_name import exchange_by_name  # noqa: PLC0415  (as above)
    from voicecall.simulator.exchange.party import ScriptedParty  # noqa: PLC0415  (as above)
    from voicecall.simulator.script import demo_script  # noqa: PLC0415  (as above)

    clock = SystemClock()
    engines = local_engines(clock)

    def reach(line: Line) -> ScriptedParty:
        click.echo(f"{line.direction} call {line.provider_call_id}", err=True)
        return ScriptedParty(demo_script(), engines, clock=clock)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(engines.close)
        exchange = await stack.enter_async_context(exchange_by_name(carrier, reach, clock))
        exchange.own(OUR_NUMBER, f"{WEBHOOK_URL}{WEBHOOK_PATH}")
        settings = configuration(carrier, exchange.account)
        if path is None:
            emit_json(settings)
        else:
            _write(path, settings)
        if not invocation.wants_json:
            click.echo(f"a simulated {carrier.title()} is at {exchange.base_url}", err=True)
            click.echo("Enter lets somebody call the server, Ctrl-C ends it", err=True)
        await _take_callers(exchange)


def configuration(carrier: str, account: dict[str, str]) -> dict[str, Any]:
    """The configuration of a server that uses a simulated carrier, camelCase keys.

    Args:
        carrier: its name.
        account: how it is reached.
    """
    return {
        "provider": carrier,
        "fromNumber": OUR_NUMBER,
        "publicUrl": WEBHOOK_URL,
        "inboundPolicy": "open",
        carrier: account,
        "streaming": {"enabled": True, "publicUrl": MEDIA_URL},
        "stt": {"provider": "local"},
        "tts": {"provider": "local"},
        "responseModel": "scripted/builtin",
    }


def _write(path: Path, settings: dict[str, Any]) -> None:
    try:
        with path.open("x") as file:
            file.write(json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise ServeError(f"--write: {path} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}; start a server with: voicecall --config {path} serve", err=True)


async def _take_callers(exchange: Exchange[Any]) -> None:
    """Let somebody call for each line of the standard input; runs until cancelled."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    # No pipe, since it may be anything, and no worker of the loop, which would wait for its end.
    reader = Thread(target=_read, args=(asyncio.get_running_loop(), lines), daemon=True)
    reader.start()
    while True:
        caller = (await lines.get()).strip() or CALLER
        await exchange.call_in(caller, OUR_NUMBER, f"{WEBHOOK_URL}{WEBHOOK_PATH}")


def _read(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
    for line in sys.stdin:
        # The loop may have been closed meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lines.put_nowait, line)
