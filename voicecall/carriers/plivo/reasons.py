"""Why a call ended, in Plivo's words and in ours.

Source: Plivo, "Hangup causes" and "Call status".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.call.record import CallState, Direction

if TYPE_CHECKING:
    from collections.abc import Mapping

# A callee who declines is busy to the caller.
_BY_CODE: Mapping[str, CallState] = {
    "1000": CallState.HANGUP_BOT,
    "3000": CallState.NO_ANSWER,
    "3010": CallState.BUSY,
    "3020": CallState.BUSY,
    "4010": CallState.COMPLETED,
    "4020": CallState.COMPLETED,
    "4030": CallState.COMPLETED,
    # The limit on its length that the call was placed with.
    "6000": CallState.TIMEOUT,
    "6020": CallState.ERROR,
}
# Where the code is one that Plivo added since: destination, carrier, network, our own answers.
_BY_CLASS: Mapping[str, CallState] = {
    "1": CallState.FAILED,
    "2": CallState.FAILED,
    "3": CallState.FAILED,
    "5": CallState.FAILED,
    "7": CallState.ERROR,
    "8": CallState.ERROR,
}
_BY_STATUS: Mapping[str, CallState] = {
    "busy": CallState.BUSY,
    "failed": CallState.FAILED,
    "no-answer": CallState.NO_ANSWER,
    "rejected": CallState.BUSY,
    "timeout": CallState.NO_ANSWER,
}
# Parts of a cause's name; the first that fits decides.
_BY_NAME: Mapping[str, CallState] = {
    "machine": CallState.VOICEMAIL,
    "ring timeout": CallState.NO_ANSWER,
    "no answer": CallState.NO_ANSWER,
    "time limit": CallState.TIMEOUT,
    "busy": CallState.BUSY,
    "rejected": CallState.BUSY,
}
# A bot ends its calls by REST or by XML; all others who hang up are people.
_BY_SOURCE: Mapping[str, CallState] = {
    "api request": CallState.HANGUP_BOT,
    "answer xml": CallState.HANGUP_BOT,
    "caller": CallState.HANGUP_USER,
    "callee": CallState.HANGUP_USER,
    "call recipient": CallState.HANGUP_USER,
    "carrier": CallState.HANGUP_USER,
    "error": CallState.ERROR,
}
_CANCELED = frozenset({"cancel", "canceled", "cancelled"})

TERMINAL_STATUSES = frozenset({"completed", *_BY_STATUS, *_CANCELED})
"""Values of a call's status that say that it is over."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What Plivo says of a call that is over; empty strings where it says nothing.

    Attributes:
        status: the call's status.
        code: the hang-up cause as a number.
        cause: the hang-up cause as a name.
        source: who or what hung up.
        direction: who placed the call.
        machine: whether an answering machine took it.
    """

    status: str = ""
    code: str = ""
    cause: str = ""
    source: str = ""
    direction: Direction | None = None
    machine: bool = False

    def reason(self) -> CallState:
        """The terminal state that it amounts to."""
        if self.machine:
            return CallState.VOICEMAIL
        return (
            _BY_CODE.get(self.code)
            or _BY_STATUS.get(self.status.lower())
            or self._by_name()
            or _BY_CLASS.get(self.code[:1])
            or _BY_SOURCE.get(self.source.lower())
            or self._by_direction()
        )

    def _by_name(self) -> CallState | None:
        name = self.cause.lower().replace("_", " ")
        return next((state for part, state in _BY_NAME.items() if part in name), None)

    def _by_direction(self) -> CallState:
        if self.status.lower() not in _CANCELED:
            return CallState.COMPLETED
        # Only who placed a call can cancel it.
        inbound = self.direction is Direction.INBOUND
        return CallState.HANGUP_USER if inbound else CallState.HANGUP_BOT
