"""Hanging up at the carrier: once per call, in the background, stubbornly."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from voicecall.errors import CarrierError

if TYPE_CHECKING:
    from voicecall.manager.tasks import Tasks
    from voicecall.ports import Carrier

_log = logging.getLogger("voicecall.manager")

# A line left open costs money; a carrier in trouble for longer than that needs a person.
_RETRY_DELAYS_S = (1.0, 5.0)


class HangUps:
    """Asks the carrier to end calls.

    Args:
        carrier: whom to ask.
        tasks: owns the attempts.
        timeout_s: how long one attempt may take.
        capacity: how many calls are remembered as hung up; the oldest is forgotten.
    """

    def __init__(
        self, carrier: Carrier, tasks: Tasks, *, timeout_s: float, capacity: int = 10_000
    ) -> None:
        self._carrier = carrier
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._capacity = capacity
        self._tried: OrderedDict[str, asyncio.Event] = OrderedDict()
        # Stands for all attempts that are over, so that a call remembered costs its name only.
        self._over = asyncio.Event()
        self._over.set()

    def __contains__(self, provider_call_id: str) -> bool:
        return provider_call_id in self._tried

    def request(self, provider_call_id: str) -> asyncio.Event:
        """Have the call ended; asking again for the same call changes nothing.

        A failed attempt is repeated twice if that may help, as ending a call twice does no harm.

        Returns:
            set once the first attempt is over, whatever came of it.
        """
        if (tried := self._tried.get(provider_call_id)) is not None:
            return tried
        if len(self._tried) >= self._capacity:
            self._tried.popitem(last=False)
        tried = self._tried[provider_call_id] = asyncio.Event()
        self._tasks.spawn(self._persist(provider_call_id, tried), "hang up")
        return tried

    async def _persist(self, provider_call_id: str, tried: asyncio.Event) -> None:
        try:
            for delay_s in (*_RETRY_DELAYS_S, None):
                again = await self._attempt(provider_call_id)
                tried.set()
                if not again or delay_s is None:
                    return
                await asyncio.sleep(delay_s)
        finally:
            tried.set()
            if self._tried.get(provider_call_id) is tried:
                self._tried[provider_call_id] = self._over

    async def _attempt(self, provider_call_id: str) -> bool:
        """Try once; whether trying again may help."""
        fields = {"carrier": self._carrier.name, "provider_call_id": provider_call_id}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._carrier.hang_up(provider_call_id)
        except TimeoutError:
            _log.warning("the carrier did not hang up in time", extra=fields)
            return True
        except CarrierError as error:
            _log.warning("the carrier refused to hang up", extra=fields, exc_info=error)
            return error.retryable
        return False
