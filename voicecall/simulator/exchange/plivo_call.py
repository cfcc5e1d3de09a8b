"""One call's life at the simulated Plivo: it rings, is answered, does as told, and ends.

Source: Plivo, "Make a call", "Voice XML", "Machine detection" and "Audio streaming".
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from voicecall.errors import CarrierError
from voicecall.simulator.exchange import plivo_line, plivo_xml
from voicecall.simulator.exchange.faults import Faults
from voicecall.simulator.exchange.media import connect_media
from voicecall.simulator.exchange.party import Keys
from voicecall.simulator.exchange.plivo_webhooks import patience
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.plivo import PlivoOptions, PlivoWire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.faults import Fault
    from voicecall.simulator.exchange.party import Pickup
    from voicecall.simulator.exchange.plivo_line import Cause, PlivoLine
    from voicecall.simulator.exchange.plivo_requests import Callback
    from voicecall.simulator.exchange.plivo_xml import Ask
    from voicecall.simulator.exchange.webhooks import HttpAnswer, Sign, Webhooks
    from voicecall.simulator.stream import Closing

CONNECT_ATTEMPTS: Final = 3
"""How often a media socket is tried."""

_CONNECT_PAUSE_S = 0.5
_KEY_S = 0.2
_PAUSES_S: Mapping[str, float] = {"w": 0.5, "W": 1.0}
_PLAYING_S = 5.0
_LOST_CONNECTION = 1006
_HTTP_OK = range(200, 300)
_SCHEME = re.compile(r"^wss?://")
_NOT_TAKEN: Mapping[Pickup, Cause] = {
    "busy": plivo_line.BUSY,
    "reject": plivo_line.REJECTED,
    "no-answer": plivo_line.NO_ANSWER,
}
_DIAL_STATUSES: Mapping[Pickup, str] = {
    "busy": "busy",
    "reject": "failed",
    "no-answer": "no-answer",
}
# What a request for instructions is called: in faults, and in its `Event`.
_OCCASIONS: Mapping[str, tuple[str, str]] = {
    "answer": ("answer", "StartApp"),
    "action": ("input", ""),
    "redirect": ("redirect", "Redirect"),
    "transfer": ("transfer", "Transfer"),
}


@dataclass(frozen=True, slots=True)
class Switch:
    """What all calls of one simulated Plivo share.

    Attributes:
        auth_id: the account.
        webhooks: what is told to the customer.
        sign: proves where media sockets come from.
        faults: what goes wrong.
        clock: the time.
        pace: how long what Plivo does itself takes, where 1 is as long as in reality.
        queue_s: how long calls are queued before they are placed.
    """

    auth_id: str
    webhooks: Webhooks
    sign: Sign
    faults: Faults
    clock: Clock
    pace: float
    queue_s: float


class PlivoCall:
    """Lives one call; implements `plivo_xml.Performer`. It keeps nothing that the line does not.

    Args:
        line: the call.
        switch: what it shares with others.
    """

    def __init__(self, line: PlivoLine, switch: Switch) -> None:
        self._line = line
        self._switch = switch

    async def place(self) -> None:
        """Live a call of the customer's."""
        cause = await self._line.until_ended(self._reach())
        self._finish(cause)

    async def take(self) -> None:
        """Live a call to the customer."""
        cause = await self._line.until_ended(self._obey_all())
        self._finish(cause)

    async def _reach(self) -> Cause:
        line, placing = self._line, self._line.placing
        await asyncio.sleep(self._switch.queue_s)
        line.status = "ringing"
        self._tell("ring", placing.ring, {"Event": "Ring"})
        if placing.hangup_on_ring_s is not None:
            self.hang_up_later(placing.hangup_on_ring_s)
        try:
            async with asyncio.timeout(placing.ring_s):
                pickup = await line.party.ring(line)
        except TimeoutError:
            return plivo_line.RING_TIMEOUT
        if pickup in _NOT_TAKEN:
            return _NOT_TAKEN[pickup]
        self._answer()
        if placing.digits:
            line.spawn(self._press(placing.digits))
        if placing.machines is not None and pickup == "machine":
            await self._find_machine()
        return await self._obey_all()

    def _answer(self) -> None:
        self._line.answer(self._switch.clock.wall_ms())
        self.hang_up_later(self._line.placing.limit_s)

    def _finish(self, cause: Cause | None) -> None:
        if cause is not None:
            self._line.end(cause)
        self._line.finish(self._switch.clock.wall_ms())
        self._tell("hangup", self._line.placing.hangup, self._line.farewell())

    # --- machines ------------------------------------------------------------------------------

    async def _find_machine(self) -> None:
        """Find out that it is one: first, or beside what the call does."""
        if self._line.placing.machine.url:
            self._line.spawn(self._detect())
        else:
            await self._detect()

    async def _detect(self) -> None:
        line, placing = self._line, self._line.placing
        await asyncio.sleep(self._switch.pace * placing.detection_ms / 1000)
        line.machine = True
        found = {"Event": "MachineDetection", "IfMachine": placing.machines or ""}
        self._tell("machine", placing.machine, found)
        if placing.machines == "hangup":
            line.end(plivo_line.MACHINE)

    # --- instructions --------------------------------------------------------------------------

    async def _obey_all(self) -> Cause:
        answer = self._line.placing.answer
        return await self._line.follow(
            plivo_xml.Ask("answer", answer.url, answer.method), self._obey
        )

    async def _obey(self, ask: Ask) -> Ask | Cause:
        """Ask, and do what is said."""
        line = self._line
        answer = await self._ask(ask)
        if answer is None or answer.status not in _HTTP_OK:
            line.log.append(f"the {ask.kind} URL did not answer as it has to")
            return plivo_line.unreachable(ask)
        try:
            document = plivo_xml.read(answer.body)
        except plivo_xml.XmlError as error:
            line.log.append(str(error))
            return plivo_line.invalid(ask)
        line.log += document.remarks
        if not line.answered:
            if document.refusal is not None:
                return _hung_up(document.refusal)
            self._answer()
        ending = await plivo_xml.perform(document, self)
        match ending:
            case plivo_xml.Ask():
                return ending
            case plivo_xml.Hangup():
                return replace(plivo_line.NORMAL, source="Answer XML")
        return plivo_line.END_OF_XML

    async def _ask(self, ask: Ask) -> HttpAnswer | None:
        answer = await self._ask_at(ask, ask.url)
        fallback = self._line.placing.fallback
        failed = answer is None or answer.status not in _HTTP_OK
        if failed and ask.kind == "answer" and fallback.url:
            return await self._ask_at(replace(ask, method=fallback.method), fallback.url)
        return answer

    async def _ask_at(self, ask: Ask, url: str) -> HttpAnswer | None:
        name, event = _OCCASIONS[ask.kind]
        fields = self._line.fields() | ({"Event": event} if event else {}) | dict(ask.fields)
        return await self._switch.webhooks.ask(
            self._line.provider_call_id,
            name,
            url,
            fields,
            method=ask.method,
            habits=patience(url),
        )

    def _tell(self, name: str, callback: Callback, fields: Mapping[str, str]) -> None:
        if not callback.url:
            return
        self._switch.webhooks.tell(
            self._line.provider_call_id,
            name,
            callback.url,
            self._line.fields() | dict(fields),
            method=callback.method,
            habits=patience(callback.url),
        )

    # --- elements ------------------------------------------------------------------------------

    async def prompt(self, element: plivo_xml.Prompt) -> None:
        """Say, play, or keep silent."""
        await self._line.interruptibly(self._prompt(element))

    async def press(self, element: plivo_xml.Dtmf) -> None:
        """Send keys."""
        if element.aside:
            self._line.spawn(self._press(element.digits))
        else:
            await self._line.interruptibly(self._press(element.digits))

    async def get_input(self, element: plivo_xml.GetInput) -> plivo_xml.Heard:
        """Let the party speak or press keys."""
        return await self._line.interruptibly(self._listen(element))

    async def stream(self, element: plivo_xml.Stream) -> None:
        """Connect media; alone, or beside what follows."""
        self._line.see_transfer()
        if element.keep_call_alive:
            await self._stream(element, self.wire(element))
        else:
            self.stream_aside(element)

    async def dial(self, element: plivo_xml.Dial) -> str:
        """Let somebody else talk with the party, until one of both hangs up."""
        self._line.see_transfer()
        if not self._line.ring_far_end(element.to):
            return _DIAL_STATUSES[self._line.far_end]
        await self._line.interruptibly(self._line.far_end_left.wait())
        return "completed"

    def stream_aside(self, element: plivo_xml.Stream) -> str:
        """Connect media while something else is done; the stream's id."""
        wire = self.wire(element)
        self._line.spawn(self._stream(element, wire))
        return wire.stream_id

    def hang_up_later(self, after_s: int) -> None:
        """End the call in so many seconds."""
        self._line.spawn(self._hang_up_later(after_s))

    def report(self, ask: Ask) -> None:
        """Tell what was heard to somebody who does not take over the call."""
        self._line.spawn(self._report(ask))

    def speak_aside(self, text: str) -> None:
        """Say `text` while something else is done."""
        self._line.spawn(self._line.party.listen(text))

    def press_aside(self, digits: str) -> None:
        """Send keys while something else is done."""
        self._line.spawn(self._press(digits))

    async def _report(self, ask: Ask) -> None:
        await self._ask(ask)

    async def _hang_up_later(self, after_s: int) -> None:
        await asyncio.sleep(after_s)
        self._line.end(plivo_line.SCHEDULED)

    async def _prompt(self, element: plivo_xml.Prompt) -> None:
        match element:
            case plivo_xml.Wait(length_s):
                await asyncio.sleep(self._switch.pace * length_s)
            case plivo_xml.Speak(text, times) | plivo_xml.Play(text, times):
                done = 0
                while times == 0 or done < times:
                    await self._sound(element, text)
                    done += 1

    async def _sound(self, element: plivo_xml.Prompt, text: str) -> None:
        if isinstance(element, plivo_xml.Speak):
            await self._line.party.listen(text)
        else:
            await asyncio.sleep(self._switch.pace * _PLAYING_S)

    async def _press(self, digits: str) -> None:
        for digit in digits:
            await asyncio.sleep(self._switch.pace * _PAUSES_S.get(digit, _KEY_S))
            if digit not in _PAUSES_S:
                self._line.party.keys(digit)

    async def _listen(self, element: plivo_xml.GetInput) -> plivo_xml.Heard:
        heard = plivo_xml.Heard()
        with suppress(TimeoutError):
            async with asyncio.timeout(element.timeout_s):
                heard = _heard(await self._line.party.speak(), element)
        if heard == plivo_xml.Heard():
            await asyncio.sleep(self._switch.pace * element.timeout_s)
        return heard

    # --- media ---------------------------------------------------------------------------------

    def wire(self, element: plivo_xml.Stream) -> PlivoWire:
        """A stream of the call."""
        pairs = (pair.partition("=") for pair in element.extra_headers.split(",") if pair)
        identity = StreamIdentity(
            self._line.provider_call_id,
            self._switch.auth_id,
            parameters={name: value for name, _, value in pairs},
        )
        return PlivoWire(identity, PlivoOptions(audio=element.audio), clock=self._switch.clock)

    async def _stream(self, element: plivo_xml.Stream, wire: PlivoWire) -> None:
        line = self._line
        if line.stream_id:
            line.log.append("a second stream at the same time is not connected")
            return
        line.stream_id = wire.stream_id
        line.on_stream = lambda stream_id: self._stream_began(element, stream_id)
        event, detail = "StopStream", ""
        try:
            closing = await line.stream_for(element.timeout_s, self._connect(element, wire))
            if closing is not None and closing.code == _LOST_CONNECTION:
                event, detail = "DroppedStream", "connection lost"
        except CarrierError as error:
            event, detail = "DroppedStream", "connection_failed"
            line.log.append(f"the media socket was not connected: {error}")
        finally:
            # The call's own end cancels this, and ends the stream as well.
            ended, line.stream_id = line.stream_id, ""
            self._tell_stream(element, ended, event, detail)

    def _stream_began(self, element: plivo_xml.Stream, stream_id: str) -> None:
        self._line.stream_id = stream_id
        self._tell_stream(element, stream_id, "StartStream")

    async def _connect(self, element: plivo_xml.Stream, wire: PlivoWire) -> Closing:
        """Connect and stay connected. Raises `CarrierError` when the last attempt has failed."""
        faults = _SocketFaults(self._switch.faults, self._line)
        for _ in range(1, CONNECT_ATTEMPTS):
            with suppress(CarrierError):
                return await self._connect_once(element, wire, faults)
            await asyncio.sleep(self._switch.pace * _CONNECT_PAUSE_S)
        return await self._connect_once(element, wire, faults)

    async def _connect_once(
        self, element: plivo_xml.Stream, wire: PlivoWire, faults: Faults
    ) -> Closing:
        if self._line.unstreamable:
            raise CarrierError("the media server cannot be reached any more")
        return await connect_media(
            self._line,
            element.url,
            wire,
            faults=faults,
            clock=self._switch.clock,
            # Signed as the HTTP request that it begins as, without TLS even where there is some.
            headers=self._switch.sign("GET", _SCHEME.sub("http://", element.url), {}),
        )

    def _tell_stream(
        self, element: plivo_xml.Stream, stream_id: str, event: str, detail: str = ""
    ) -> None:
        """Report what became of a media stream, where it is wanted."""
        if not element.status_url:
            return
        line = self._line
        fields = {
            "CallUUID": line.provider_call_id,
            "From": line.fields()["From"],
            "To": line.fields()["To"],
            "Direction": line.direction,
            "Event": event,
            "StreamID": stream_id,
            "ServiceURL": element.url,
            "Timestamp": str(self._switch.clock.wall_ms()),
            **({"StatusReason": detail} if detail else {}),
        }
        # The patience that a fragment asks for is not for these.
        self._switch.webhooks.tell(
            line.provider_call_id,
            "stream",
            element.status_url,
            fields,
            method=element.status_method,
        )


class _SocketFaults(Faults):
    """What goes wrong with media sockets, as it does at Plivo.

    Plivo does not reconnect a socket that broke: it goes on with the document, which may connect
    another one. So every drop is one for good, and after what was meant as such no other socket of
    the call can be connected.
    """

    def __init__(self, faults: Faults, line: PlivoLine) -> None:
        super().__init__()
        self._faults = faults
        self._line = line

    def take(self, where: str) -> Fault | None:
        """The next fault."""
        fault = self._faults.take(where)
        if fault is None or fault.kind == "second":
            return fault
        self._line.unstreamable = fault.kind == "drop-for-good"
        return replace(fault, kind="drop-for-good")


def _hung_up(element: plivo_xml.Hangup) -> Cause:
    cause = plivo_line.BUSY if element.reason == "busy" else plivo_line.REJECTED
    return replace(cause, source="Answer XML")


def _heard(said: str | None, element: plivo_xml.GetInput) -> plivo_xml.Heard:
    """What of it Plivo was to listen for."""
    if isinstance(said, Keys):
        digits = said
        if element.finish_on_key:
            digits = Keys(said.partition(element.finish_on_key)[0])
        return plivo_xml.Heard(digits=str(digits[: element.num_digits]) if element.dtmf else "")
    return plivo_xml.Heard(words=said if said and element.speech else "")
