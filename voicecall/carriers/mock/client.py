"""The mock carrier's calling side: a carrier that lives in this process."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from voicecall.call.events import CallEnded, CallEvent, CallRinging
from voicecall.call.record import CallState
from voicecall.errors import CarrierError
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from voicecall.clock import Clock

Phone: TypeAlias = Literal["auto", "echo", "busy", "no-answer", "off"]
Emit: TypeAlias = Callable[[CallEvent], Awaitable[None]]
Ring: TypeAlias = Callable[[DialRequest, str, Emit], Awaitable[None]]
PressKeys: TypeAlias = Callable[[str, str], Awaitable[None]]

MAX_CALLS_REMEMBERED = 1000
_HANG_UP_DEADLINE_S = 2.0
_MS_PER_S = 1000

logger = logging.getLogger("voicecall.carriers.mock")


class MockCarrier:
    """`ports.Carrier` whose callees are simulated.

    `auto` and `echo` reach a simulated phone: it rings, `ring` runs for as long as the phone is
    on the call, and its return is the callee hanging up. `busy` and `no-answer` fail the way real
    ones do. `off` reaches nobody: what happens to the call comes by webhook only.

    Args:
        phone: whom calls reach.
        clock: stamps the events.
        emit: takes the events of all calls, as a webhook would deliver them.
        ring: the simulated phone: given the request, the call's id here and `emit`, it answers
            (by emitting so), talks, and returns when it hangs up. Needed for `auto` and `echo`.
        press: lets the callee hear the keys we send: call id here, digits.
    """

    def __init__(
        self,
        phone: Phone,
        *,
        clock: Clock,
        emit: Emit,
        ring: Ring | None = None,
        press: PressKeys | None = None,
    ) -> None:
        if ring is None and phone in {"auto", "echo"}:
            raise ValueError(f"phone {phone} needs a simulated phone to ring")
        self._phone = phone
        self._clock = clock
        self._emit = emit
        self._ring = ring
        self._press = press
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # None: alive; else why it ended. Overflow: the oldest call is forgotten.
        self._calls: OrderedDict[str, CallState | None] = OrderedDict()

    @property
    def name(self) -> str:
        """`mock`."""
        return "mock"

    async def dial(self, request: DialRequest) -> str:
        """Place a call; returns before anything has happened to it, as carriers do."""
        provider_call_id = f"mock-{uuid.uuid4()}"
        self._calls[provider_call_id] = None
        if len(self._calls) > MAX_CALLS_REMEMBERED:
            self._calls.popitem(last=False)
        if self._phone != "off":
            self._tasks[provider_call_id] = asyncio.create_task(
                self._run(request, provider_call_id), name=f"mock call {provider_call_id}"
            )
        return provider_call_id

    async def hang_up(self, provider_call_id: str) -> None:
        """End a call; one that is over or was never placed is a success."""
        if self._calls.get(provider_call_id, CallState.COMPLETED) is None:
            self._calls[provider_call_id] = CallState.COMPLETED
        task = self._tasks.get(provider_call_id)
        if task is not None:
            await _stop([task])

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        """Send keys to the callee.

        Raises:
            CarrierError: there is no such call, or it is over.
        """
        if self._calls.get(provider_call_id, CallState.COMPLETED) is not None:
            raise CarrierError("the mock carrier has no such call", status=404)
        if self._press is not None:
            await self._press(provider_call_id, digits)

    async def transfer(self, provider_call_id: str, to: str) -> None:
        """Let go of a call: there is nobody at `to` whom its callee could be connected with.

        To the callee it ends.

        Raises:
            CarrierError: there is no such call, or it is over.
        """
        if self._calls.get(provider_call_id, CallState.COMPLETED) is not None:
            raise CarrierError("the mock carrier has no such call", status=404)
        logger.info("mock call handed on", extra={"pii_to": to})
        await self.hang_up(provider_call_id)

    async def status(self, provider_call_id: str) -> CarrierStatus:
        """Look the call up."""
        if provider_call_id not in self._calls:
            return CarrierStatus(alive=False)
        reason = self._calls[provider_call_id]
        return CarrierStatus(alive=reason is None, end_reason=reason)

    async def close(self) -> None:
        """Hang up everything still going on."""
        await _stop(list(self._tasks.values()))

    async def _run(self, request: DialRequest, provider_call_id: str) -> None:
        try:
            await self._tell("ringing", CallRinging, request, provider_call_id)
            reason = await self._callee(request, provider_call_id)
        except Exception:  # the boundary of a task: a simulated phone may be anybody's code
            logger.exception("mock call broke", extra={"call_id": request.call_id})
            reason = CallState.FAILED
        finally:
            self._tasks.pop(provider_call_id, None)
        self._calls[provider_call_id] = reason
        try:
            await self._tell("ended", partial(CallEnded, reason=reason), request, provider_call_id)
        except Exception:  # as above; nobody awaits this task's result
            logger.exception("end of mock call not taken", extra={"call_id": request.call_id})

    async def _callee(self, request: DialRequest, provider_call_id: str) -> CallState:
        if self._phone == "busy":
            return CallState.BUSY
        if self._phone == "no-answer" or self._ring is None:
            await asyncio.sleep(request.ring_timeout_ms / _MS_PER_S)
            return CallState.NO_ANSWER
        await self._ring(request, provider_call_id, self._emit)
        return CallState.HANGUP_USER

    async def _tell(
        self,
        what: str,
        make: Callable[..., CallEvent],
        request: DialRequest,
        provider_call_id: str,
    ) -> None:
        event_id = f"{provider_call_id}:{what}"
        await self._emit(
            make(
                id=event_id,
                dedupe_key=event_id,
                timestamp=self._clock.wall_ms(),
                call_id=request.call_id,
                provider_call_id=provider_call_id,
            )
        )


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    # A phone may hang up from inside its own call; a task cannot wait for itself.
    others = [task for task in tasks if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    if not others:
        return
    _, stubborn = await asyncio.wait(others, timeout=_HANG_UP_DEADLINE_S)
    for task in stubborn:
        logger.warning("mock call does not end", extra={"task": task.get_name()})
