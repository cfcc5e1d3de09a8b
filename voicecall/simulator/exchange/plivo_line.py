"""One call as the simulated Plivo keeps it: where it stands, and how it ended.

Source: Plivo, "Call status", "Hangup causes", "Call API" and "XML request".
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from uuid import uuid4

from voicecall.simulator.exchange.line import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from voicecall.simulator.exchange.line import Direction, Ending
    from voicecall.simulator.exchange.plivo_requests import Placing
    from voicecall.simulator.exchange.plivo_xml import Ask
    from voicecall.simulator.phone import Phone

T = TypeVar("T")

_MS_PER_S = 1000
_S_PER_MIN = 60
_RATE = 0.0085


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a call ended, in Plivo's words.

    Attributes:
        code: `HangupCauseCode`.
        name: `HangupCauseName`.
        words: `HangupCause`.
        source: `HangupSource`.
        status: what becomes of `CallStatus`, if it is more than `completed` or `failed`.
    """

    code: int
    name: str
    words: str
    source: str
    status: str = ""


CANCELED: Final = Cause(1000, "Canceled", "ORIGINATOR_CANCEL", "API Request", "cancel")
NO_ANSWER: Final = Cause(3000, "No Answer", "NO_ANSWER", "Carrier", "no-answer")
BUSY: Final = Cause(3010, "Busy Line", "USER_BUSY", "Carrier", "busy")
REJECTED: Final = Cause(3020, "Rejected", "CALL_REJECTED", "Carrier", "busy")
NORMAL: Final = Cause(4000, "Normal Hangup", "NORMAL_CLEARING", "Unknown")
END_OF_XML: Final = Cause(4010, "End Of XML Instructions", "NORMAL_CLEARING", "Plivo")
INTERNAL: Final = Cause(5010, "Internal Error", "SYSTEM_SHUTDOWN", "Error")
SCHEDULED: Final = Cause(6000, "Scheduled Hangup", "ALLOTTED_TIMEOUT", "Plivo")
RING_TIMEOUT: Final = Cause(6010, "Ring Timeout Reached", "NO_ANSWER", "Plivo", "timeout")
MACHINE: Final = Cause(9100, "Machine Detected", "NORMAL_CLEARING", "Plivo")

_OCCASIONS: Mapping[str, tuple[int, str]] = {
    "answer": (1, "Answer"),
    "action": (2, "Action"),
    "transfer": (3, "Transfer"),
    "redirect": (4, "Redirect"),
}


def unreachable(ask: Ask) -> Cause:
    """Nobody at a URL said what to do."""
    number, name = _OCCASIONS[ask.kind]
    return Cause(7010 + number, f"Error Reaching {name} URL", "NORMAL_CLEARING", "Error")


def invalid(ask: Ask) -> Cause:
    """What was said there is no Plivo XML."""
    number, name = _OCCASIONS[ask.kind]
    return Cause(8010 + number, f"Invalid {name} XML", "NORMAL_CLEARING", "Error")


class Transferred(Exception):
    """Leave what is being done: the call is to do something else."""


Obey: TypeAlias = "Callable[[Ask], Awaitable[Ask | Cause]]"
"""Does what somebody says, and returns whom to ask then, or why there is no more to do."""


class PlivoLine(Line):
    """A call at Plivo.

    Args:
        placing: how it was placed; of an inbound call, what its application says.
        direction: who called.
        to_number: the callee.
        at_ms: when it began, milliseconds since the epoch.
        same_uuid: whether call and request go by one id.

    Attributes:
        placing: as given.
        request_uuid: what the request for it is called; empty for inbound calls.
        machine: whether a machine was found to have taken it.
        cause: why it ended; None until then.
        unstreamable: whether no media socket can be connected any more.
        stream_id: of the present stream; empty without one.
        on_stream: called with the id of each media stream that is connected.
    """

    def __init__(
        self,
        placing: Placing,
        *,
        direction: Direction,
        to_number: str,
        at_ms: int,
        same_uuid: bool = False,
    ) -> None:
        call_uuid = str(uuid4())
        super().__init__(
            call_uuid,
            direction=direction,
            from_number=placing.from_number,
            to_number=to_number,
            status="ringing" if direction == "inbound" else "queued",
        )
        self.placing = placing
        self.request_uuid = ""
        if direction == "outbound":
            self.request_uuid = call_uuid if same_uuid else str(uuid4())
        self.machine = False
        self.cause: Cause | None = None
        self.unstreamable = False
        self.stream_id = ""
        self.on_stream: Callable[[str], None] | None = None
        self._created_ms = at_ms
        self._answered_ms: int | None = None
        self._ended_ms: int | None = None
        self._transfer: Ask | None = None
        self._interruption: asyncio.Timeout | None = None
        self._streaming: asyncio.Timeout | None = None

    # --- where it stands -----------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether it was picked up."""
        return self._answered_ms is not None

    @property
    def live(self) -> bool:
        """Whether Plivo counts it among the live calls."""
        return self.status in {"ringing", "in-progress"} and not self.ended.is_set()

    @property
    def over(self) -> bool:
        """Whether it has ended, and has been counted up."""
        return self._ended_ms is not None

    def answer(self, at_ms: int) -> None:
        """It is picked up."""
        self.status = "in-progress"
        self._answered_ms = at_ms

    def end(self, cause: Cause, by: Ending = "carrier") -> None:
        """End it; only the first time counts."""
        if not self.ended.is_set():
            self.cause = cause
            self.hang_up(by)

    def end_by_api(self) -> None:
        """End it as its owner asks."""
        cause = replace(NORMAL, source="API Request") if self.answered else CANCELED
        self.end(cause, "api")

    def finish(self, at_ms: int) -> None:
        """It is over; find out what that is called."""
        self._ended_ms = at_ms
        self.hang_up("carrier")
        self.cause = self.cause or self._unexplained()
        self.status = self.cause.status or ("completed" if self.answered else "failed")

    def _unexplained(self) -> Cause:
        if self.reason != "party":
            return INTERNAL
        source = "Callee" if self.direction == "outbound" else "Caller"
        if self.answered:
            return replace(NORMAL, source=source)
        if self.direction == "outbound":
            return replace(REJECTED, source=source)
        return replace(NORMAL, words="ORIGINATOR_CANCEL", source=source, status="cancel")

    # --- what it is told to do -----------------------------------------------------------------

    async def follow(self, begin: Ask, obey: Obey) -> Cause:
        """Ask, do what is said, and so on; why it came to an end.

        A transfer takes the place of whatever is being done. Only a stream that runs alone is not
        cut short by it: Plivo goes on when the stream is over.
        """
        ask = begin
        while True:
            try:
                after = await obey(ask)
            except Transferred:
                after = END_OF_XML
            pending, self._transfer = self._transfer, None
            if pending is not None:
                ask = pending
            elif isinstance(after, Cause):
                return after
            else:
                ask = after

    async def interruptibly(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`. Raises `Transferred` when there is something else to do instead."""
        if self._transfer is not None:
            work.close()
            raise Transferred
        self._interruption = interruption = asyncio.timeout(None)
        try:
            async with interruption:
                return await work
        except TimeoutError:
            if not interruption.expired():
                raise
            raise Transferred from None

    def transfer(self, ask: Ask) -> None:
        """Do what `ask` says instead of what is being done."""
        self._transfer = ask
        _expire(self._interruption)

    def see_transfer(self) -> None:
        """Raise `Transferred` if there is something else to do."""
        if self._transfer is not None:
            raise Transferred

    # --- media ---------------------------------------------------------------------------------

    async def stream_for(self, longest_s: float, streaming: Coroutine[Any, Any, T]) -> T | None:
        """Stream until that is over, too long, or stopped, which is None."""
        self._streaming = limit = asyncio.timeout(longest_s)
        try:
            async with limit:
                return await streaming
        except TimeoutError:
            if not limit.expired():
                raise
            return None

    def stop_stream(self) -> None:
        """Stop the present stream."""
        _expire(self._streaming)

    def socket_opened(self, phone: Phone) -> None:
        """The phone has connected a socket."""
        super().socket_opened(phone)
        if self.on_stream is not None:
            self.on_stream(phone.stream_sid)

    # --- what Plivo says of it -----------------------------------------------------------------

    def fields(self) -> dict[str, str]:
        """What every request about it says."""
        fields = {
            "CallUUID": self.provider_call_id,
            "From": _bare(self.from_number),
            "To": _bare(self.to_number),
            "Direction": self.direction,
            "CallStatus": self.status,
            "SessionStart": f"{_time(self._created_ms)}.000000",
            "BillRate": str(_RATE),
        }
        if self.direction == "outbound":
            fields |= {
                "RequestUUID": self.request_uuid,
                "ALegUUID": self.provider_call_id,
                "ALegRequestUUID": self.request_uuid,
            }
        return fields | ({"Machine": "true"} if self.machine else {})

    def farewell(self) -> dict[str, str]:
        """What the report of its end says."""
        cause = self.cause or INTERNAL
        seconds = self._duration_s()
        return self.fields() | {
            "Event": "Hangup",
            "HangupCause": cause.words,
            "HangupCauseName": cause.name,
            "HangupCauseCode": str(cause.code),
            "HangupSource": cause.source,
            "StartTime": _time(self._created_ms),
            **({"AnswerTime": _time(self._answered_ms)} if self._answered_ms else {}),
            "EndTime": _time(self._ended_ms or self._created_ms),
            "Duration": str(seconds),
            "BillDuration": str(_billed_s(seconds)),
            "TotalCost": _cost(seconds),
        }

    def resource(self) -> dict[str, Any]:
        """The call as the API shows it while it is queued or lives."""
        return {
            "call_uuid": self.provider_call_id if self.live else self.request_uuid,
            "request_uuid": self.request_uuid,
            "call_status": self.status,
            "direction": self.direction,
            "from": _bare(self.from_number),
            "to": _bare(self.to_number),
            "caller_name": _bare(self.from_number),
            "session_start": f"{_time(self._created_ms)}.000000",
        }

    def record(self, auth_id: str) -> dict[str, Any]:
        """The call as the API shows it afterwards."""
        cause = self.cause or INTERNAL
        seconds = self._duration_s()
        return {
            "call_uuid": self.provider_call_id,
            "parent_call_uuid": None,
            "call_direction": self.direction,
            "call_state": "ANSWER" if self.answered else "FAILED",
            "call_status": self.status,
            "from_number": f"+{_bare(self.from_number)}",
            "to_number": _bare(self.to_number),
            "initiation_time": f"{_time(self._created_ms)}+00:00",
            "answer_time": f"{_time(self._answered_ms)}+00:00" if self._answered_ms else None,
            "end_time": f"{_time(self._ended_ms or self._created_ms)}+00:00",
            "call_duration": seconds,
            "bill_duration": seconds,
            "billed_duration": _billed_s(seconds),
            "total_rate": str(_RATE),
            "total_amount": _cost(seconds),
            "hangup_cause_code": cause.code,
            "hangup_cause_name": cause.name,
            "hangup_source": cause.source,
            "resource_uri": f"/v1/Account/{auth_id}/Call/{self.provider_call_id}/",
        }

    def _duration_s(self) -> int:
        if self._answered_ms is None or self._ended_ms is None:
            return 0
        return -(-(self._ended_ms - self._answered_ms) // _MS_PER_S)


def _expire(timeout: asyncio.Timeout | None) -> None:
    if timeout is None:
        return
    try:
        timeout.reschedule(asyncio.get_running_loop().time())
    except RuntimeError:
        # What it measured is over; nothing is left to stop.
        return


def _bare(number: str) -> str:
    """A number as Plivo writes it: without the plus."""
    return number.removeprefix("+")


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // _MS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _billed_s(seconds: int) -> int:
    return -(-seconds // _S_PER_MIN) * _S_PER_MIN


def _cost(seconds: int) -> str:
    return f"{_billed_s(seconds) / _S_PER_MIN * _RATE:.5f}"
