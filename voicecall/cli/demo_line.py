"""What the demonstration's call goes through: the mock carrier, or a simulated real one.

With the mock carrier the server itself lets the phone ring. With the others it dials by the
vendor's own package, is told of the call by signed webhooks, says what the call shall do, and gets
its audio in the carrier's dialect: the whole path, against a carrier on this machine.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from voicecall.config.schema import Config
from voicecall.simulator.callee import Callee
from voicecall.simulator.engines import local_engines
from voicecall.simulator.exchange.by_name import exchange_by_name
from voicecall.simulator.exchange.party import ScriptedParty
from voicecall.simulator.script import demo_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from voicecall.clock import Clock
    from voicecall.simulator.callee import Pickup
    from voicecall.simulator.phone import Phone
    from voicecall.simulator.script import Script, Step

CarrierName: TypeAlias = Literal["mock", "twilio", "telnyx", "plivo"]

OUR_NUMBER = "+15550000000"


class Talker(Protocol):
    """Who was reached, and how far they came with their script."""

    @property
    def script(self) -> Script | None:
        """What they were to do."""
        ...

    @property
    def steps(self) -> Sequence[Step]:
        """What of it was begun."""
        ...

    @property
    def failure(self) -> str | None:
        """Why they gave up, if so."""
        ...


@dataclass(slots=True)
class DemoLine:
    """One call's way.

    Attributes:
        config: leads a server to the carrier.
        callee: whom the mock carrier reaches; None with the others.
        caller: who was reached, once somebody was.
    """

    config: Config
    callee: Callee | None = None
    talker: Talker | None = None


@dataclass(frozen=True, slots=True)
class Watcher:
    """Looks on.

    Attributes:
        on_phone: told of the phone before it connects.
        on_step: told of each step before it is done.
    """

    on_phone: Callable[[Phone], None]
    on_step: Callable[[Step], None]


@asynccontextmanager
async def demo_line(
    carrier: CarrierName, settings: Mapping[str, Any], watcher: Watcher, clock: Clock
) -> AsyncIterator[DemoLine]:
    """The way of one call through `carrier`, as long as the context lasts.

    Args:
        carrier: whose protocols are spoken.
        settings: of the server, apart from the carrier; camelCase keys.
        watcher: looks on.
        clock: the time.

    Raises:
        DependencyMissing: the package that simulates or reaches the carrier is not installed.
    """
    if carrier == "mock":
        line = DemoLine(Config.model_validate(settings))

        def picked_up(pickup: Pickup) -> None:
            line.talker = pickup
            watcher.on_phone(pickup.phone)

        line.callee = Callee("auto", None, clock, on_pickup=picked_up, on_step=watcher.on_step)
        yield line
        return
    engines = local_engines(clock)
    party = ScriptedParty(
        demo_script(), engines, clock=clock, on_phone=watcher.on_phone, on_step=watcher.on_step
    )
    try:
        async with exchange_by_name(carrier, lambda _: party, clock) as exchange:
            account = {"fromNumber": OUR_NUMBER, carrier: exchange.account}
            reached = _reachable(settings)
            yield DemoLine(
                Config.model_validate({**settings, **reached, "provider": carrier, **account}),
                talker=party,
            )
    finally:
        await engines.close()


def _reachable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where the carrier finds the server: its URL has to be known before the server starts."""
    port = free_port()
    return {
        "serve": {**settings.get("serve", {}), "port": port},
        "publicUrl": f"http://127.0.0.1:{port}",
        "streaming": {
            **settings.get("streaming", {}),
            "publicUrl": f"http://127.0.0.1:{settings['streaming']['port']}",
        },
    }


def free_port() -> int:
    """A TCP port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
