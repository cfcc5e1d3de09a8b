"""What the simulated Twilio does on a call: says, plays, listens, and connects media."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urljoin

from voicecall.errors import CarrierError
from voicecall.simulator.exchange import twiml
from voicecall.simulator.exchange.party import Keys
from voicecall.simulator.wire import StreamIdentity
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.party import Pickup
    from voicecall.simulator.exchange.twilio_line import TwilioLine
    from voicecall.simulator.stream import Closing
    from voicecall.simulator.wire import Wire

APOLOGY: Final = "We are sorry, an application error has occurred. Goodbye."

_REFUSED_SOCKET = 31902
_BROKEN_SOCKET = 31903
_REFUSED_HANDSHAKE = 31920
_CLOSED_SOCKET = 31921
_NO_CLOSE = 1006

_DIAL_STATUSES: Mapping[Pickup, str] = {
    "busy": "busy",
    "no-answer": "no-answer",
    "reject": "busy",
}

_KEY_S = 0.2
_WAIT_S = 0.5
_RECORDING_S = 5.0
_LONGEST_SPEECH_S = 60.0
_MS_PER_S = 1000


class Studio(Protocol):
    """What the carrier gives a stage to work with.

    Attributes:
        account_sid: whose calls they are.
        pace: how long things take, where 1 is as long as in reality.
        clock: the time.
    """

    account_sid: str
    pace: float
    clock: Clock

    async def connect_media(self, line: TwilioLine, url: str, wire: Wire) -> Closing:
        """Connect a call's media until the stream is over. Raises `CarrierError`."""
        ...

    def tell(
        self, line: TwilioLine, name: str, url: str, fields: Mapping[str, str], method: str
    ) -> None:
        """Tell the customer something about a call."""
        ...


class Stage:
    """Does verbs on one call; implements `twiml.Performer`.

    Args:
        studio: the carrier.
        line: the call.
    """

    def __init__(self, studio: Studio, line: TwilioLine) -> None:
        self._studio = studio
        self._line = line

    async def prompt(self, verb: twiml.Prompt) -> None:
        """Say, play, or keep silent, which alone does not answer the call."""
        if isinstance(verb, twiml.Pause):
            await self._pass(verb.length_s)
            return
        self._line.pick_up()
        if isinstance(verb, twiml.Say):
            for _ in range(verb.times) if verb.times else itertools.count():
                await self._line.party.listen(verb.text)
        elif verb.digits:
            await self.press(verb.digits)
        else:
            await self._pass(_RECORDING_S)

    async def press(self, digits: str) -> None:
        """Send keys, and pauses of a half or (`W`) a whole second."""
        for digit in digits.replace("W", "ww"):
            await self._pass(_WAIT_S if digit == "w" else _KEY_S)
            if digit != "w":
                self._line.party.keys(digit)

    async def gather(self, verb: twiml.Gather) -> twiml.Heard:
        """Let the party speak or press keys; what is not listened for is not heard."""
        self._line.pick_up()
        try:
            async with asyncio.timeout(_LONGEST_SPEECH_S):
                heard = _heard(verb, await self._line.party.speak())
        except TimeoutError:
            heard = twiml.Heard()
        if heard == twiml.Heard():
            await self._pass(verb.timeout_s)
        return heard

    async def stream(self, verb: twiml.Stream) -> None:
        """Connect media until the customer closes the socket, or cannot be reached."""
        self._line.pick_up()
        identity = StreamIdentity(
            self._line.provider_call_id, self._studio.account_sid, parameters=verb.parameters
        )
        wire = TwilioWire(identity)
        reports = _StreamReports(self._studio, self._line, verb)
        self._line.on_stream = reports.started
        try:
            closing = await self._studio.connect_media(self._line, verb.url, wire)
        except CarrierError as error:
            code = _REFUSED_SOCKET if error.status is None else _REFUSED_HANDSHAKE
            self._line.log.append(f"{code} {error}")
            reports.failed(wire.stream_id, f"{code}: {error}")
        else:
            if closing.by_server:
                code = _BROKEN_SOCKET if closing.code == _NO_CLOSE else _CLOSED_SOCKET
                self._line.log.append(f"{code} the server closed the stream: {closing.code}")
        finally:
            self._line.on_stream = None
            reports.stopped()

    async def dial(self, verb: twiml.Dial) -> str:
        """Let somebody else talk with the party, until one of both hangs up."""
        self._line.pick_up()
        if not self._line.ring_far_end(verb.to):
            return _DIAL_STATUSES[self._line.far_end]
        await self._line.far_end_left.wait()
        return "completed"

    async def apologise(self) -> None:
        """Say that there are no instructions that could be done."""
        if self._line.answered:
            await self._line.party.listen(APOLOGY)

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(self._studio.pace * seconds)


class _StreamReports:
    """Reports what becomes of the media streams of one verb, where that is wanted."""

    def __init__(self, studio: Studio, line: TwilioLine, verb: twiml.Stream) -> None:
        self._studio = studio
        self._line = line
        self._verb = verb
        self._present = ""

    def started(self, stream_sid: str) -> None:
        self.stopped()
        self._present = stream_sid
        self._tell("stream-started", stream_sid)

    def stopped(self) -> None:
        if self._present:
            self._tell("stream-stopped", self._present)
            self._present = ""

    def failed(self, stream_sid: str, error: str) -> None:
        self._tell("stream-error", stream_sid, StreamError=error)

    def _tell(self, event: str, stream_sid: str, **more: str) -> None:
        if not self._verb.status_url:
            return
        at = datetime.fromtimestamp(self._studio.clock.wall_ms() / _MS_PER_S, UTC)
        fields = {
            "CallSid": self._line.provider_call_id,
            "AccountSid": self._studio.account_sid,
            "StreamSid": stream_sid,
            "StreamName": self._verb.name or stream_sid,
            "StreamEvent": event,
            "Timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **more,
        }
        url = urljoin(self._line.document_url, self._verb.status_url)
        self._studio.tell(self._line, "stream", url, fields, self._verb.status_method)


def _heard(verb: twiml.Gather, answer: str | None) -> twiml.Heard:
    """What a `<Gather>` makes of what the party said or pressed."""
    if not answer:
        return twiml.Heard()
    if not isinstance(answer, Keys):
        return twiml.Heard(words=answer) if verb.speech else twiml.Heard()
    if not verb.dtmf:
        return twiml.Heard()
    digits = "".join(itertools.takewhile(lambda key: key not in verb.finish_on_key, answer))
    return twiml.Heard(digits=digits[: verb.num_digits])
