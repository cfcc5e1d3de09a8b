"""One call as the simulated Twilio keeps it: where it stands, and what it is told to do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

from voicecall.simulator.exchange.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from voicecall.clock import Clock
    from voicecall.simulator.exchange.line import Direction, Ending
    from voicecall.simulator.exchange.twilio_requests import Next, Reports
    from voicecall.simulator.phone import Phone

API_VERSION: Final = "2010-04-01"
OVER: Final = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})

_MS_PER_S = 1000
_S_PER_MIN = 60
_DIRECTIONS: Mapping[Direction, str] = {"inbound": "inbound", "outbound": "outbound-api"}
# What a call comes to that nobody has answered, by who gave it up.
_UNANSWERED: Mapping[tuple[Direction, Ending], tuple[str, int]] = {
    ("inbound", "party"): ("canceled", 487),
    ("inbound", "api"): ("canceled", 487),
    ("inbound", "carrier"): ("failed", 500),
    ("outbound", "party"): ("busy", 603),
    ("outbound", "api"): ("canceled", 487),
    ("outbound", "carrier"): ("failed", 500),
}

Obey: TypeAlias = "Callable[[Next], Coroutine[Any, Any, Next | None]]"
"""Does what it is told, and returns what to do then; nothing when that is all."""


class TwilioLine(Line):
    """A call at Twilio.

    Args:
        account_sid: whose call it is.
        direction: who called.
        from_number: the caller.
        to_number: the callee.
        reports: who is told of its progress.
        clock: the time.

    Attributes:
        reports: who is told of its progress.
        answered_by: what was detected; empty without detection.
        sip_code: how the phone network ended it.
        machine: whether a machine took it.
        cut_off: whether media cannot be connected any more.
        document_url: where the present instructions came from.
        finished: set when it is over and that has been reported.
        on_stream: called with the id of each media stream that is connected.
    """

    def __init__(
        self,
        account_sid: str,
        *,
        direction: Direction,
        from_number: str,
        to_number: str,
        reports: Reports,
        clock: Clock,
    ) -> None:
        super().__init__(
            f"CA{uuid4().hex}",
            direction=direction,
            from_number=from_number,
            to_number=to_number,
            status="ringing" if direction == "inbound" else "queued",
        )
        self.reports = reports
        self.answered_by = ""
        self.sip_code = 200
        self.machine = False
        self.cut_off = False
        self.document_url = ""
        self.finished = asyncio.Event()
        self.on_stream: Callable[[str], None] | None = None
        self._account_sid = account_sid
        self._clock = clock
        self._created_ms = clock.wall_ms()
        self._answered_ms: int | None = None
        self._ended_ms: int | None = None
        self._reported = 0
        self._ordered: Next | None = None
        self._interruption: asyncio.Timeout | None = None

    # --- where it stands -----------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether it was picked up."""
        return self._answered_ms is not None

    def pick_up(self) -> None:
        """It is answered, if it was not."""
        if not self.answered:
            self.status = "in-progress"
            self._answered_ms = self._clock.wall_ms()

    def refuse(self, status: str, sip_code: int) -> None:
        """It will not be picked up."""
        self.status = status
        self.sip_code = sip_code

    def finish(self) -> None:
        """It is over; find out what that is called."""
        self._ended_ms = self._clock.wall_ms()
        if self.answered:
            self.status = "completed"
        elif self.status not in OVER:
            self.refuse(*_UNANSWERED[self.direction, self.reason or "carrier"])

    # --- what it is told to do -----------------------------------------------------------------

    async def follow(self, begin: Next, obey: Obey) -> None:
        """Do one thing after the other, each to its end or until `order` has another one."""
        following = self._next(begin)
        while following is not None:
            try:
                async with asyncio.timeout(None) as self._interruption:
                    following = await obey(following)
            except TimeoutError:
                if self._interruption is None or not self._interruption.expired():
                    raise
            finally:
                self._interruption = None
            following = self._next(following)

    def order(self, instead: Next) -> None:
        """Stop what is being done, and do this."""
        self._ordered = instead
        if self._interruption is not None and not self._interruption.expired():
            self._interruption.reschedule(asyncio.get_running_loop().time())

    def _next(self, following: Next | None) -> Next | None:
        ordered, self._ordered = self._ordered, None
        return ordered or following

    def socket_opened(self, phone: Phone) -> None:
        """The phone has connected a socket."""
        super().socket_opened(phone)
        if self.on_stream is not None:
            self.on_stream(phone.stream_sid)

    # --- what Twilio says of it ----------------------------------------------------------------

    def fields(self) -> dict[str, str]:
        """What every request about it says."""
        return {
            "CallSid": self.provider_call_id,
            "AccountSid": self._account_sid,
            "ApiVersion": API_VERSION,
            "From": self.from_number,
            "Caller": self.from_number,
            "To": self.to_number,
            "Called": self.to_number,
            "Direction": _DIRECTIONS[self.direction],
            "CallStatus": self.status,
            **({"AnsweredBy": self.answered_by} if self.answered_by else {}),
        }

    def report(self) -> dict[str, str]:
        """What the next report of its progress says."""
        fields = self.fields() | {
            "Timestamp": rfc_2822(self._clock.wall_ms()),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._reported),
        }
        self._reported += 1
        if self.status in OVER:
            seconds = self._duration_s()
            fields |= {
                "CallDuration": str(seconds),
                # In minutes begun, as they are billed.
                "Duration": str(-(-seconds // _S_PER_MIN)),
                "SipResponseCode": str(self.sip_code),
            }
        return fields

    def resource(self) -> dict[str, Any]:
        """The call as the API shows it."""
        path = f"/{API_VERSION}/Accounts/{self._account_sid}/Calls/{self.provider_call_id}"
        over = self._ended_ms is not None
        begun_ms = self._answered_ms or self._ended_ms
        return {
            "sid": self.provider_call_id,
            "account_sid": self._account_sid,
            "parent_call_sid": None,
            "api_version": API_VERSION,
            "from": self.from_number,
            "from_formatted": self.from_number,
            "to": self.to_number,
            "to_formatted": self.to_number,
            "phone_number_sid": None,
            # Reports say `initiated` besides, which the API counts as queued.
            "status": "queued" if self.status == "initiated" else self.status,
            "direction": _DIRECTIONS[self.direction],
            "answered_by": self.answered_by or None,
            "date_created": rfc_2822(self._created_ms),
            "date_updated": rfc_2822(self._ended_ms or begun_ms or self._created_ms),
            "start_time": rfc_2822(begun_ms) if begun_ms else None,
            "end_time": rfc_2822(self._ended_ms) if self._ended_ms else None,
            "duration": str(self._duration_s()) if over else None,
            "price": None,
            "price_unit": "USD",
            "caller_name": None,
            "forwarded_from": None,
            "group_sid": None,
            "queue_time": "0",
            "trunk_sid": None,
            "annotation": None,
            "uri": f"{path}.json",
            "subresource_uris": {"streams": f"{path}/Streams.json"},
        }

    def _duration_s(self) -> int:
        if self._answered_ms is None or self._ended_ms is None:
            return 0
        return round((self._ended_ms - self._answered_ms) / _MS_PER_S)


def rfc_2822(at_ms: int) -> str:
    """A time as Twilio writes it, always in UTC."""
    return format_datetime(datetime.fromtimestamp(at_ms // _MS_PER_S, UTC))
