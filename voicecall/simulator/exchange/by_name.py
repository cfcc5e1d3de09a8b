"""A simulated carrier by its name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.exchange import Exchange
    from voicecall.simulator.exchange.line import Line
    from voicecall.simulator.exchange.party import Party

ExchangeName: TypeAlias = Literal["twilio", "telnyx", "plivo"]


def exchange_by_name(
    name: ExchangeName, party: Callable[[Line], Party], clock: Clock
) -> Exchange[Any]:
    """The simulated carrier `name`, which has to be started.

    Args:
        name: whose protocols it speaks.
        party: who is reached by a call.
        clock: the time.

    Raises:
        DependencyMissing: it needs a package that is not installed.
    """
    # Imported by who calls through it.
    module = import_module(f"voicecall.simulator.exchange.{name}")
    exchange: Exchange[Any] = getattr(module, f"{name.title()}Exchange")(party, clock=clock)
    return exchange
