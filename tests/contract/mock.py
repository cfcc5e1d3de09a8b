"""The mock carrier's other side: people whom its calls reach, and who call us by webhook."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

import httpx

from voicecall.call.events import CallAnswered, CallEnded
from voicecall.call.record import CallState
from voicecall.clock import SystemClock
from voicecall.errors import CarrierError
from voicecall.simulator import Callee
from voicecall.simulator.exchange import Faults, Line, connect_media
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.ports import DialRequest
    from voicecall.simulator.callee import Emit
    from voicecall.simulator.exchange import Party
    from voicecall.simulator.exchange.line import Direction


class MockExchange(Callee):
    """As much of an `Exchange` as there is without a carrier: lines, dials, media and their faults.

    It has no REST interface, so nothing is ever requested.
    """

    def __init__(self, party: Callable[[Line], Party]) -> None:
        self._clock = SystemClock()
        super().__init__("off", None, self._clock)
        self._party = party
        self._living: set[asyncio.Task[None]] = set()
        self._http = httpx.AsyncClient(trust_env=False)
        self.calls: dict[str, Line] = {}
        self.dials = 0
        self.faults = Faults()
        self.requests: deque[tuple[str, str, int]] = deque()

    @property
    def account(self) -> dict[str, str]:
        """There is nothing to say."""
        return {}

    async def start(self) -> None:
        """Nothing has to be started."""

    async def close(self) -> None:
        for life in self._living:
            life.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        await self._http.aclose()
        await super().close()

    # --- calls to somebody ---------------------------------------------------------------------

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        self.dials += 1
        line = self._new_line(provider_call_id, "outbound", request.from_number, request.to)
        try:
            head: dict[str, Any] = {
                "id": uuid.uuid4().hex,
                "dedupe_key": f"{provider_call_id}:picked up",
                "timestamp": self._clock.wall_ms(),
                "call_id": request.call_id,
                "provider_call_id": provider_call_id,
            }
            if await line.party.ring(line) != "answer":
                await emit(CallEnded(**head, reason=CallState.BUSY))
                return
            line.party.keys(request.dtmf_sequence or "")
            await emit(CallAnswered(**head))
            await self._connect(line, request.stream_url or "")
        except asyncio.CancelledError:
            line.hang_up("api")
            raise
        finally:
            await line.close()

    async def press(self, provider_call_id: str, digits: str) -> None:
        self.calls[provider_call_id].party.keys(digits)

    # --- calls from somebody -------------------------------------------------------------------

    async def call_in(
        self, from_number: str, to_number: str, webhook_url: str, direction: Direction = "inbound"
    ) -> Line:
        line = self._new_line(f"mock-{uuid.uuid4()}", direction, from_number, to_number)
        life = asyncio.create_task(self._be_called(line, webhook_url))
        self._living.add(life)
        life.add_done_callback(self._living.discard)
        return line

    async def _be_called(self, line: Line, url: str) -> None:
        try:
            await self._tell(line, url, type="call.ringing")
            answer = await self._tell(line, url, type="call.answered")
            if "streamUrl" in answer:
                await self._connect(line, answer["streamUrl"])
                reason = "hangup-user" if line.reason == "party" else "completed"
                await self._tell(line, url, type="call.ended", reason=reason)
        finally:
            line.hang_up("api")
            await line.close()

    async def _tell(self, line: Line, url: str, **event: str) -> dict[str, Any]:
        parties = {"direction": line.direction, "from": line.from_number, "to": line.to_number}
        told = {"event": {"providerCallId": line.provider_call_id, **parties, **event}}
        answer = await self._http.post(url, json=told)
        assert answer.status_code == 200
        return dict(answer.json()) if answer.content else {}

    # --- both ----------------------------------------------------------------------------------

    def _new_line(self, call_id: str, direction: Direction, caller: str, callee: str) -> Line:
        line = Line(call_id, direction=direction, from_number=caller, to_number=callee)
        line.party = self._party(line)
        line.party.join(line)
        self.calls[call_id] = line
        return line

    async def _connect(self, line: Line, url: str) -> None:
        wire = TwilioWire(StreamIdentity(line.provider_call_id, "AC" + "0" * 32))
        try:
            await line.until_ended(connect_media(line, url, wire, faults=self.faults))
        except CarrierError as error:
            # The server stops, or has hung up meanwhile.
            line.log.append(str(error))
