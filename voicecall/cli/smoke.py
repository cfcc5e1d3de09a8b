"""`voicecall smoke`: one real call, to hear that everything works."""

from __future__ import annotations

import logging
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.config.load import LoadedConfig
    from voicecall.diagnosis.smoke import Caller, Order, Outcome

_MARGIN_S: Final = 30.0
_SHOWN_DIGITS: Final = 4
_MS_PER_S = 1000

# What is told of a call while it happens.
_WORDS: Final = {
    "call.initiated": "the carrier has taken the call",
    "call.ringing": "it rings",
    "call.answered": "answered",
    "call.speaking": "the message plays",
    "call.spoken": "the message has been played",
    "call.ended": "hung up",
}
_STEPS: Final = (
    ("dialToRing", "until it rang"),
    ("dialToAnswer", "until it was answered"),
    ("answerToSpeech", "from there to our first word"),
    ("speech", "our words"),
    ("endOfSpeechToHangUp", "from there to the end"),
)


@click.command("smoke")
@click.option("--to", metavar="NUMBER", help="Whom to call, E.164: a phone that you can hear.")
@click.option("--yes", is_flag=True, help="Really call. It may cost what a call costs.")
@click.option("--message", help="What to say.")
@json_option
@click.pass_obj
def command(invocation: Invocation, *, to: str | None, yes: bool, message: str | None) -> None:
    """Place one real call, say a sentence, hang up, and report how that went.

    Without --to and --yes nobody is called: then it only shows the call that would be placed. The
    running server places it; if none runs, one serves until the call ends. There is one attempt,
    whatever comes of it. Exits with 1 unless the call was answered and the message played.

    Example: voicecall smoke --to +15550001234 --yes
    """
    loaded = invocation.load_config()
    # Server and engines are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    order = _order(loaded, to, message)
    if order is None or not yes:
        uvloop.run(_rehearse(invocation, loaded, order, message))
        return
    if not invocation.verbose:
        logging.getLogger("voicecall").setLevel(logging.WARNING)
    outcome = uvloop.run(_call(invocation, loaded, order))
    if invocation.wants_json:
        emit_json({"dry": False, **outcome.to_json()})
    else:
        _report(outcome)
    sys.exit(0 if outcome.ok else 1)


def _order(loaded: LoadedConfig, to: str | None, message: str | None) -> Order | None:
    """The call; None when nobody is named.

    Raises:
        click.UsageError: it is no number.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415  (as above)

    from voicecall.config.schema import PhoneNumber  # noqa: PLC0415
    from voicecall.diagnosis.smoke import MESSAGE, Order  # noqa: PLC0415

    if to is None:
        return None
    try:
        number = TypeAdapter(PhoneNumber).validate_python(to)
    except ValidationError:
        raise click.UsageError("--to must be an E.164 number such as +15550001234") from None
    config = loaded.config
    lasting_s = config.ring_timeout_ms / _MS_PER_S + config.max_duration_seconds
    return Order(number, message or MESSAGE, lasting_s + _MARGIN_S)


async def _rehearse(
    invocation: Invocation, loaded: LoadedConfig, order: Order | None, message: str | None
) -> None:
    """Show what would be done."""
    from voicecall.diagnosis.host import Host  # noqa: PLC0415
    from voicecall.diagnosis.smoke import MESSAGE  # noqa: PLC0415

    config = loaded.config
    async with Host(loaded) as host:
        server = host.control_url if await host.runs() else None
    # Whoever looks at a terminal has to see whom he calls; what is piped ends up in logs.
    number = masked if invocation.wants_json else _whole
    request = {
        "provider": config.provider,
        "from": number(config.from_number),
        "to": number(order.to if order else None),
        "mode": "notify",
        "message": message or MESSAGE,
        "publicUrl": config.public_url,
        "server": server or "none runs; one would serve until the call ends",
    }
    missing = "--yes" if order else "--to NUMBER --yes"
    if invocation.wants_json:
        emit_json({"dry": True, "request": request, "missing": missing})
        return
    click.echo("Nobody was called. This call would be placed, once:\n")
    for name, value in request.items():
        click.echo(f"  {name:10} {value or '-'}")
    click.echo(f"\nTo place it, add {missing}; before that: voicecall setup")


async def _call(invocation: Invocation, loaded: LoadedConfig, order: Order) -> Outcome:
    from voicecall.clock import SystemClock  # noqa: PLC0415
    from voicecall.diagnosis import smoke  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        caller = await _caller(invocation, loaded, stack)
        told = _Told(show=not invocation.wants_json)
        return await smoke.call(caller, order, SystemClock().wall_ms, told)


async def _caller(invocation: Invocation, loaded: LoadedConfig, stack: AsyncExitStack) -> Caller:
    """A client of the running server; of one in this process, if none runs."""
    from voicecall.client import Client  # noqa: PLC0415
    from voicecall.config.state import keep_rpc_token  # noqa: PLC0415
    from voicecall.diagnosis.host import Host  # noqa: PLC0415
    from voicecall.server import Server  # noqa: PLC0415

    async with Host(loaded) as host:
        running = await host.runs()
    if running:
        return await stack.enter_async_context(Client.from_loaded(loaded))
    if not invocation.wants_json:
        click.echo("no server runs; serving until the call ends", err=True)
    token = loaded.config.rpc.token or keep_rpc_token(loaded.state_directory)
    server = Server(loaded.config, rpc_token=token.get_secret_value())
    await stack.enter_async_context(server)
    # The server's certificate is its own, and this is its own process.
    client = Client(server.control_url, server.rpc_token, verify=False)
    return await stack.enter_async_context(client)


class _Told:
    """Tells of the call while it happens, each step once.

    Args:
        show: whether anybody looks.
    """

    def __init__(self, *, show: bool) -> None:
        self._show = show
        self._told: set[str] = set()

    def __call__(self, kind: str, change: Mapping[str, Any]) -> None:
        """A change of the call."""
        if not self._show or kind in self._told or kind not in _WORDS:
            return
        self._told.add(kind)
        reason = f" ({change['reason']})" if kind == "call.ended" else ""
        click.echo(f"  {_WORDS[kind]}{reason}")


def _report(outcome: Outcome) -> None:
    told = outcome.to_json()
    click.echo("")
    for name, words in _STEPS:
        took_ms = told["latencyMs"][name]
        if took_ms is not None:
            click.echo(f"  {took_ms:7} ms  {words}")
    if outcome.ok:
        click.secho("\nThe call was answered, and the message played.", fg="green")
        return
    why = outcome.error or _shortcoming(outcome)
    click.secho(f"\nIt did not work: {why}", fg="red")
    click.echo("To find out why: voicecall setup")


def _shortcoming(outcome: Outcome) -> str:
    if outcome.answered_at is None:
        return f"nobody answered ({outcome.end_reason})"
    if not outcome.heard:
        return "the call was answered, but nothing of the message was played"
    return f"the call ended with {outcome.end_reason}"


def _whole(number: str | None) -> str | None:
    return number


def masked(number: str | None) -> str | None:
    """A phone number as it may stand in logs: its last four digits."""
    return f"…{number[-_SHOWN_DIGITS:]}" if number else None
