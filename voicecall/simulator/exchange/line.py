"""One call as a simulated carrier sees it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from voicecall.errors import CallHasEnded

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from voicecall.simulator.exchange.party import Party, Pickup
    from voicecall.simulator.phone import Phone

Direction: TypeAlias = Literal["inbound", "outbound"]
"""Seen from the customer: an inbound call reaches them."""

Ending: TypeAlias = Literal["party", "api", "carrier"]
"""Who hung up: the other end, the customer's software, or the carrier itself."""

T = TypeVar("T")

_MAX_LOG = 1000

_log = logging.getLogger("voicecall.simulator")


class Line:
    """A call. Carriers add what they know besides in a class of their own.

    Args:
        provider_call_id: the carrier's id.
        direction: who called.
        from_number: the caller.
        to_number: the callee.
        status: where it stands, in the carrier's own word.

    Attributes:
        party: who is reached; set when the exchange takes the call.
        phone: what they talk into; None before there is media.
        sockets: how many media sockets the phone has connected.
        ended: set when somebody has hung up.
        reason: who did.
        handed_on: whom the party was connected with instead of the customer, in order.
        far_end: what comes of ringing there.
        far_end_left: set when whoever picked up there hangs up.
        log: what the carrier complains about and takes note of, the latest 1000 entries.
    """

    party: Party

    def __init__(
        self,
        provider_call_id: str,
        *,
        direction: Direction,
        from_number: str,
        to_number: str,
        status: str = "",
    ) -> None:
        self.provider_call_id = provider_call_id
        self.direction: Direction = direction
        self.from_number = from_number
        self.to_number = to_number
        self.status = status
        self.phone: Phone | None = None
        self.sockets = 0
        self.ended = asyncio.Event()
        self.reason: Ending | None = None
        self.handed_on: list[str] = []
        self.far_end: Pickup = "answer"
        self.far_end_left = asyncio.Event()
        self.log: deque[str] = deque(maxlen=_MAX_LOG)
        self._socket_opened = asyncio.Event()
        self._talking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def hang_up(self, by: Ending) -> None:
        """End the call; only the first time counts."""
        if not self.ended.is_set():
            self.reason = by
            self.ended.set()

    async def until_ended(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do `work`, and cancel it when the call ends before.

        Returns:
            What it returned, or None when it was cancelled. What it raised is raised.
        """
        if self.ended.is_set():
            work.close()
            return None
        working = asyncio.create_task(work)
        ending = asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            ending.cancel()
            await asyncio.gather(working, ending, return_exceptions=True)

    def ring_far_end(self, to: str) -> bool:
        """Let somebody else's phone ring; whether they pick up."""
        self.handed_on.append(to)
        return self.far_end in {"answer", "machine"}

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` besides, until the call is over; what it raises is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    async def close(self) -> None:
        """Stop whatever goes on in the call and put down the phone; for the exchange."""
        self.hang_up("carrier")
        tasks = self._tasks | ({self._talking} if self._talking is not None else set())
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            # Also when the exchange, which closes, has no more patience.
            if self.phone is not None:
                await self.phone.close()

    # --- media ---------------------------------------------------------------------------------

    def socket_opened(self, phone: Phone) -> None:
        """The phone has connected a socket; at the first one the party begins to talk."""
        self.phone = phone
        self.sockets += 1
        self._socket_opened.set()
        self._socket_opened = asyncio.Event()
        if self._talking is None:
            self._talking = asyncio.create_task(self._talk(phone))

    async def await_socket(self, count: int) -> None:
        """Wait until `count` sockets have been connected, the replaced ones included."""
        while self.sockets < count:
            await self._socket_opened.wait()

    async def _talk(self, phone: Phone) -> None:
        try:
            await self.party.talk(phone)
        except CallHasEnded:
            # The stream is over, which is not for them to decide on; the call may go on without.
            return
        except Exception:  # noqa: BLE001  (a task's boundary: a party that fails hangs up)
            _log.exception("the simulated party failed")
        self.hang_up("party")

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("the simulated carrier failed in a call", exc_info=error)
