"""Whom a mock call reaches: rings, answers, does what its script says, and hangs up."""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from voicecall.call.events import CallAnswered, CallEvent
from voicecall.errors import CallHasEnded, VoicecallError
from voicecall.simulator.engines import Engines, local_engines
from voicecall.simulator.phone import EchoPhone, Phone
from voicecall.simulator.script import demo_script, load_script, run_script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from voicecall.clock import Clock
    from voicecall.ports import DialRequest
    from voicecall.simulator.script import Script, Step

Emit: TypeAlias = "Callable[[CallEvent], Awaitable[None]]"

RING_S = 0.3
# They take time, and make no tone.
_PAUSES = str.maketrans("", "", "wW")

log = logging.getLogger("voicecall.simulator")


@dataclass(slots=True)
class Pickup:
    """One call taken; hooks may be set on the phone before it connects.

    Attributes:
        phone: the phone.
        script: what its owner does.
        request: the call.
        steps: those of the script that were begun.
        failure: why its owner gave up, if so.
    """

    phone: Phone
    script: Script | None
    request: DialRequest
    steps: list[Step] = field(default_factory=list)
    failure: str | None = None


class Callee:
    """The people behind all mock calls of one server.

    Args:
        kind: `auto` follows a script, `echo` says back what it hears.
        script: the script's file; the built-in demonstration when None.
        clock: the time.
        on_pickup: told of each phone before it connects.
        on_step: told of each step before it is done.
        engines: voice and ears of all its phones, which stay the caller's to close; this machine's
            own, made at first use and closed with it, when None.
    """

    def __init__(
        self,
        kind: Literal["auto", "echo", "busy", "no-answer", "off"],
        script: Path | None,
        clock: Clock,
        *,
        on_pickup: Callable[[Pickup], Any] | None = None,
        on_step: Callable[[Step], None] | None = None,
        engines: Engines | None = None,
    ) -> None:
        self._kind = kind
        self._script = None if kind != "auto" else load_script(script) if script else demo_script()
        self._clock = clock
        self._on_pickup = on_pickup
        self._on_step = on_step
        self._engines = engines
        self._owns_engines = engines is None
        self._phones: dict[str, Phone] = {}

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        """Take one call, from its ringing to our hanging up; cancelled when the caller hangs up."""
        await asyncio.sleep(RING_S)
        await emit(
            CallAnswered(
                id=str(uuid.uuid4()),
                dedupe_key=f"{provider_call_id}:answered",
                timestamp=self._clock.wall_ms(),
                call_id=request.call_id,
                provider_call_id=provider_call_id,
            )
        )
        if request.stream_url is None:
            # Nobody can be heard without media, so it stays on the line until the caller hangs up.
            await asyncio.Event().wait()
            return
        phone = self._pick_up(request.stream_url, provider_call_id)
        phone.keys_heard += (request.dtmf_sequence or "").translate(_PAUSES)
        pickup = Pickup(phone, self._script, request)
        self._phones[provider_call_id] = phone
        try:
            if self._on_pickup is not None:
                self._on_pickup(pickup)
            await self._talk(pickup)
        finally:
            del self._phones[provider_call_id]
            await phone.close()

    async def press(self, provider_call_id: str, digits: str) -> None:
        """Let the callee hear keys; it takes note of them and goes on."""
        phone = self._phones.get(provider_call_id)
        if phone is not None:
            phone.keys_heard += digits

    async def close(self) -> None:
        """Free the voices and ears."""
        if self._engines is not None and self._owns_engines:
            await self._engines.close()
            self._engines = None

    def _pick_up(self, url: str, provider_call_id: str) -> Phone:
        if self._kind == "echo":
            silent = Engines(voice=None, ears=None)
            return EchoPhone(url, call_sid=provider_call_id, engines=silent, clock=self._clock)
        if self._engines is None:
            self._engines = local_engines(self._clock)
        return Phone(url, call_sid=provider_call_id, engines=self._engines, clock=self._clock)

    def _begin_step(self, pickup: Pickup, step: Step) -> None:
        pickup.steps.append(step)
        if self._on_step is not None:
            self._on_step(step)

    async def _talk(self, pickup: Pickup) -> None:
        try:
            await pickup.phone.connect()
            if pickup.script is None:
                await pickup.phone.closed
                return
            await run_script(
                pickup.phone,
                pickup.script,
                clock=self._clock,
                on_step=lambda _, step: self._begin_step(pickup, step),
            )
        except CallHasEnded:
            pickup.failure = "the call ended before the script did"
            log.info("the call ended before the callee's script did")
        except (TimeoutError, VoicecallError) as error:
            pickup.failure = str(error)
            log.warning("the simulated callee gives up", extra={"reason": str(error)})
