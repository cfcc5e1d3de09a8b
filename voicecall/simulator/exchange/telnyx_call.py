"""One call at the simulated Telnyx, from its beginning to its end."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.clock import NS_PER_S
from voicecall.errors import CarrierError
from voicecall.simulator.exchange import telnyx_commands as commands
from voicecall.simulator.exchange import telnyx_refusals as refusals
from voicecall.simulator.exchange.line import Direction, Line
from voicecall.simulator.exchange.telnyx_hangup import (
    BRIDGE_OVER,
    ENDINGS,
    REJECTED,
    TIME_LIMIT,
    TIMEOUT,
    UNREACHED,
    Hangup,
)
from voicecall.simulator.exchange.telnyx_voice import MAX_TEXTS, Ears, Voice, press

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.party import Pickup
    from voicecall.simulator.exchange.telnyx_commands import (
        Dialling,
        Fields,
        Streaming,
        Transferring,
    )
    from voicecall.simulator.exchange.telnyx_events import Moments
    from voicecall.simulator.exchange.telnyx_voice import Manners

BRIDGING: Final = "bridging"
PARKED: Final = "parked"
ANSWERED: Final = "answered"
HANGUP: Final = "hangup"

_PREMIUM = "premium"
# They take time, and make no tone.
_PAUSES = str.maketrans("", "", "wW")


@dataclass(frozen=True, slots=True)
class Office:
    """What a call needs of its exchange.

    Attributes:
        clock: measures how long calls last.
        moments: dates what happens.
        tell: sends a webhook: of which call, what kind, what it says.
        connect: connects the media of a call until the stream is over. Raises CarrierError.
        second_s: how long one of the carrier's seconds takes.
        manners: when parties speak whose media are not streamed.
        patience_s: how long a caller lets it ring.
    """

    clock: Clock
    moments: Moments
    tell: Callable[[TelnyxCall, str, Mapping[str, Any]], None]
    connect: Callable[[TelnyxCall, Streaming], Awaitable[object]]
    second_s: float
    manners: Manners
    patience_s: float


@dataclass(frozen=True, slots=True)
class Application:
    """The Call Control application a call belongs to.

    Attributes:
        connection_id: its id.
        webhook_url: where calls are reported.
    """

    connection_id: str
    webhook_url: str


class TelnyxCall(Line):
    """A call leg of Call Control. Its methods that take `Fields` are commands.

    Args:
        office: what it needs of its exchange.
        application: whose call it is.
        direction: who called.
        from_number: the caller.
        to_number: the callee.
        client_state: what webhooks bring back.

    Attributes:
        leg_id: the leg, in webhooks.
        session_id: the session, in webhooks.
        application: whose call it is, and where it is reported.
        client_state: what webhooks bring back, as last set.
        began_at: when, in ISO 8601.
        over_at: when it ended; None before.
        over_ns: the same on the monotonic clock.
    """

    def __init__(
        self,
        office: Office,
        application: Application,
        *,
        direction: Direction,
        from_number: str,
        to_number: str,
        client_state: str | None = None,
    ) -> None:
        super().__init__(
            f"v3:{uuid.uuid4().hex}-{uuid.uuid4().hex[:12]}_A",
            direction=direction,
            from_number=from_number,
            to_number=to_number,
            status=BRIDGING if direction == "outbound" else PARKED,
        )
        self.leg_id = str(uuid.uuid4())
        self.session_id = str(uuid.uuid4())
        self.application = application
        self.client_state = client_state
        self.began_at = office.moments.now()
        self.over_at: str | None = None
        self.over_ns: int | None = None
        self._office = office
        self._began_ns = office.clock.now_ns()
        self._hangup: Hangup | None = None
        self._picked_up: asyncio.Future[Streaming | None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._voice: Voice | None = None
        self._stream: asyncio.Task[None] | None = None
        self._ears: asyncio.Task[None] | None = None
        self._far_end: asyncio.Task[None] | None = None

    # --- its life ------------------------------------------------------------------------------

    async def place(self, dialling: Dialling) -> None:
        """Live an outbound call."""
        self._report("call.initiated", direction="outgoing", state=BRIDGING, **self._parties())
        pickup = await self.until_ended(self._ring(dialling.ring_s * self._office.second_s))
        if pickup is not None and pickup in UNREACHED:
            self._hangup = UNREACHED[pickup]
            if pickup == "no-answer" and dialling.retry_on_timeout:
                self._hangup = TIMEOUT
            self.hang_up("carrier" if pickup == "no-answer" else "party")
        elif pickup is not None:
            await self.until_ended(self._hold(dialling.streaming, dialling=dialling, pickup=pickup))
        self._end()

    async def come_in(self) -> None:
        """Live an inbound call."""
        self._picked_up = asyncio.get_running_loop().create_future()
        self._report("call.initiated", direction="incoming", state=PARKED, **self._parties())
        try:
            async with asyncio.timeout(self._office.patience_s):
                await self.until_ended(_wait(self._picked_up))
        except TimeoutError:
            self.hang_up("party")
        if not self.ended.is_set():
            await self.until_ended(self._hold(self._picked_up.result()))
        self._end()

    async def _ring(self, longest_s: float) -> Pickup:
        try:
            async with asyncio.timeout(longest_s):
                return await self.party.ring(self)
        except TimeoutError:
            return "no-answer"

    async def _hold(
        self,
        streaming: Streaming | None,
        *,
        dialling: Dialling | None = None,
        pickup: Pickup = "answer",
    ) -> None:
        """Hold an answered call until it has lasted long enough."""
        longest_s = commands.LONGEST_CALL_S if dialling is None else dialling.longest_s
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._voice = Voice(self.party, self._report)
            self.status = ANSWERED
            self._report("call.answered", state=ANSWERED, **self._parties())
            group.create_task(self._voice.run())
            if streaming is not None:
                self._open_stream(streaming)
            if dialling is not None:
                self._greet(dialling, pickup)
            await asyncio.sleep(longest_s * self._office.second_s)
            self._hangup = TIME_LIMIT
            self.hang_up("carrier")

    def _greet(self, dialling: Dialling, pickup: Pickup) -> None:
        """What a dial asked for besides, once the call is answered."""
        if dialling.digits is not None:
            self.party.keys(dialling.digits.translate(_PAUSES))
        if dialling.detection != "disabled" and self._group is not None:
            self._group.create_task(self._detect(dialling.detection, pickup))

    async def _detect(self, how: str, pickup: Pickup) -> None:
        """Say who answered, after having listened for a second."""
        await asyncio.sleep(self._office.second_s)
        if how.startswith(_PREMIUM):
            kind, human = "call.machine.premium.detection.ended", "human_residence"
        else:
            kind, human = "call.machine.detection.ended", "human"
        result = "machine" if pickup == "machine" else human
        self._report(kind, result=result, **self._parties())

    def _end(self) -> None:
        self.status = HANGUP
        reason = self.reason or "carrier"
        answered = self._group is not None
        hangup = self._hangup or ENDINGS[self.direction, answered, reason]
        self.over_at = self._office.moments.now()
        self.over_ns = self._office.clock.now_ns()
        self._report(
            "call.hangup",
            state=HANGUP,
            hangup_cause=hangup.cause,
            hangup_source=hangup.source,
            sip_hangup_cause=hangup.sip,
            end_time=self.over_at,
            **self._parties(),
        )

    def resource(self) -> dict[str, Any]:
        """The call as a look-up shows it."""
        call: dict[str, Any] = {
            "call_control_id": self.provider_call_id,
            "call_leg_id": self.leg_id,
            "call_session_id": self.session_id,
            "client_state": self.client_state,
            "is_alive": self.over_ns is None,
            "record_type": "call",
            "start_time": self.began_at,
        }
        if self.over_ns is not None:
            call["end_time"] = self.over_at
            call["call_duration"] = (self.over_ns - self._began_ns) // NS_PER_S
        return call

    # --- commands ------------------------------------------------------------------------------

    def answer(self, fields: Fields) -> None:
        """Pick up an inbound call."""
        streaming = commands.streaming(fields)
        self._report_to(commands.webhook_url(fields))
        if self._picked_up is None or self._picked_up.done():
            raise refusals.not_possible("This call has been answered already.")
        self._picked_up.set_result(streaming)

    def reject(self, fields: Fields) -> None:
        """Refuse an inbound call."""
        self._hangup = REJECTED[commands.rejection(fields)]
        self.hang_up("api")

    def hang_up_now(self, fields: Fields) -> None:
        """End the call."""
        fields.text("reason")
        self.hang_up("api")

    def speak(self, fields: Fields) -> None:
        """Say a text after those that wait."""
        voice = self._answered_voice()
        text = commands.speech(fields)
        stop = fields.choice("stop", frozenset({"none", "current", "all"}), "none")
        if voice.full:
            raise refusals.not_possible(f"{MAX_TEXTS} texts already wait to be said.")
        if stop != "none":
            voice.stop("all" if stop == "all" else "current")
        voice.say(text)

    def stop_speaking(self, fields: Fields) -> None:
        """Cut what is being said."""
        stop = fields.choice("stop", frozenset({"current", "all"}), "current")
        self._answered_voice().stop("all" if stop == "all" else "current")

    def send_keys(self, fields: Fields) -> None:
        """Let the party hear keys."""
        self.party.keys(commands.keys(fields).translate(_PAUSES))

    def transfer(self, fields: Fields) -> None:
        """Connect the party with somebody else; streams and transcriptions go on meanwhile."""
        transferring = commands.Transferring.read(fields)
        self._report_to(commands.webhook_url(fields))
        if self._group is None:
            raise refusals.not_answered()
        if self._far_end is not None and not self._far_end.done():
            raise refusals.not_possible("This call is being transferred already.")
        self._far_end = self._group.create_task(self._talk_with_far_end(transferring))

    def start_streaming(self, fields: Fields) -> None:
        """Stream the call's media."""
        if self._stream is not None:
            raise refusals.already_streaming()
        self._open_stream(commands.required_streaming(fields))

    def stop_streaming(self, fields: Fields) -> None:
        """Stream the call's media no longer; without a stream there is nothing to do."""
        fields.text("stream_id")
        if self._stream is not None:
            self._stream.cancel()

    def start_transcription(self, fields: Fields) -> None:
        """Transcribe what the party says."""
        transcribing = commands.Transcribing.read(fields)
        if self._ears is not None:
            raise refusals.already_transcribing()
        voice = self._answered_voice()
        if self._group is None:
            raise refusals.not_answered()
        if self._stream is not None:
            self.log.append("the simulation does not transcribe streamed media")
            return
        ears = Ears(self.party, voice, self._report, transcribing, self._office.manners)
        self._ears = self._group.create_task(ears.run())

    def stop_transcription(self, fields: Fields) -> None:
        """Transcribe no longer; without a transcription there is nothing to do."""
        del fields
        if self._ears is not None:
            self._ears.cancel()
            self._ears = None

    def update_client_state(self, fields: Fields) -> None:
        """Have webhooks bring back something else, as every command may."""
        if fields.client_state() is None:
            raise refusals.missing("client_state")

    async def _talk_with_far_end(self, transferring: Transferring) -> None:
        """Ring somebody else; when they were reached and hang up, the call is over."""
        leg = {
            "call_control_id": f"v3:{uuid.uuid4().hex}-{uuid.uuid4().hex[:12]}_B",
            "call_leg_id": str(uuid.uuid4()),
            "client_state": transferring.state,
            "from": transferring.from_number or self.to_number,
            "to": transferring.to,
            "start_time": self._office.moments.now(),
        }
        self._report("call.initiated", direction="outgoing", state=BRIDGING, **leg)
        if not self.ring_far_end(transferring.to):
            self._report_far_end_left(leg, UNREACHED[self.far_end])
            return
        try:
            self._report("call.answered", state=ANSWERED, **leg)
            self._report("call.bridged", **leg)
            self._report("call.bridged", **self._parties())
            await self.far_end_left.wait()
            self._hangup = BRIDGE_OVER
            self.hang_up("carrier")
        finally:
            self._report_far_end_left(leg, BRIDGE_OVER)

    def _report_far_end_left(self, leg: Mapping[str, Any], hangup: Hangup) -> None:
        self._report(
            "call.hangup",
            state=HANGUP,
            hangup_cause=hangup.cause,
            hangup_source=hangup.source,
            sip_hangup_cause=hangup.sip,
            end_time=self._office.moments.now(),
            **leg,
        )

    # --- the party's doing ---------------------------------------------------------------------

    def press(self, digits: str) -> None:
        """The party presses keys. Each makes a webhook; a media socket brings them besides."""
        press(digits, self._report)

    # --- media ---------------------------------------------------------------------------------

    def _open_stream(self, streaming: Streaming) -> None:
        if self._group is None:
            raise refusals.not_answered()
        self._stream = self._group.create_task(self._stream_media(streaming))

    async def _stream_media(self, streaming: Streaming) -> None:
        """Stream until the socket is closed, by whomever; the call goes on without it."""
        self._report("streaming.started", stream_url=streaming.url)
        failure: CarrierError | None = None
        try:
            await self._office.connect(self, streaming)
        except CarrierError as error:
            failure = error
        finally:
            self._stream = None
            if failure is None:
                self._report("streaming.stopped", stream_url=streaming.url)
            else:
                self._report_no_stream(streaming, failure)

    def _report_no_stream(self, streaming: Streaming, failure: CarrierError) -> None:
        self.log.append(f"the media socket cannot be connected: {failure}")
        self._report(
            "streaming.failed",
            failure_reason="connection_failed",
            stream_id=str(uuid.uuid4()),
            stream_type="websocket",
            stream_params=streaming.described(),
        )

    # --- webhooks ------------------------------------------------------------------------------

    def _report_to(self, webhook_url: str | None) -> None:
        if webhook_url is not None:
            self.application = Application(self.application.connection_id, webhook_url)

    def _report(self, kind: str, **payload: Any) -> None:  # noqa: ANN401  (any JSON)
        usual = {
            "call_control_id": self.provider_call_id,
            "call_leg_id": self.leg_id,
            "call_session_id": self.session_id,
            "client_state": self.client_state,
            "connection_id": self.application.connection_id,
        }
        self._office.tell(self, kind, usual | payload)

    def _parties(self) -> dict[str, str]:
        return {"from": self.from_number, "to": self.to_number, "start_time": self.began_at}

    def _answered_voice(self) -> Voice:
        if self._voice is None:
            raise refusals.not_answered()
        return self._voice


async def _wait(done: asyncio.Future[Any]) -> None:
    # Shielded: whoever stops waiting must not cancel what others set.
    await asyncio.shield(done)
