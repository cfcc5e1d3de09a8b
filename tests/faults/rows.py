"""What goes wrong: the rows of the matrix, each with the call that it happens to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voicecall.provider import Patience
from voicecall.simulator.exchange import Fault, SimpleParty

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.faults.site import CarrierName
    from voicecall.simulator.exchange import Party

# Short enough to wait for, long enough for a request that nothing is wrong with.
_SHORT: Final = Patience(dial_s=2.0, late_dial_s=3.0, request_s=2.0)
_SOON_S: Final = 0.4
_LATE_S: Final = 0.2
_HELD_S: Final = 0.5
_TALK_S: Final = 0.6
# Longer than it takes until a socket that drops is given up.
_LONG_TALK_S: Final = 3.5

Place: TypeAlias = str | None
"""Where a fault happens at one carrier; None where that carrier has no such thing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that goes wrong.

    Attributes:
        wrong: what, in words.
        where: the place of the fault, for all carriers or for each.
        fault: what happens there.
        party: who is called.
        ended_here: whether the client ends the call once it is answered; the callee does otherwise,
            if anybody.
        handed_on: whether the client has it connected with somebody else once it is answered.
        patience: how long the carrier may take to answer.
        settings: further ones of the server.
    """

    wrong: str
    where: str | Mapping[CarrierName, Place]
    fault: Fault
    party: Callable[[], Party]
    ended_here: bool = False
    handed_on: bool = False
    patience: Patience | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What it has in common with other rows."""
        return self.wrong.partition(":")[0]

    def place(self, carrier: CarrierName) -> Place:
        """Where it happens at `carrier`."""
        return self.where if isinstance(self.where, str) else self.where[carrier]


def _rings_on() -> Party:
    return SimpleParty(ring_s=None)


def _talks() -> Party:
    return SimpleParty(stays=_TALK_S)


def _talks_long() -> Party:
    return SimpleParty(stays=_LONG_TALK_S)


def _stays() -> Party:
    return SimpleParty()


_RINGING: Mapping[CarrierName, Place] = {
    "twilio": "webhook:ringing",
    "telnyx": "webhook:call.initiated",
    "plivo": "webhook:ring",
}
_ANSWERED: Mapping[CarrierName, Place] = {
    "twilio": "webhook:answered",
    "telnyx": "webhook:call.answered",
    "plivo": None,
}
_INSTRUCTIONS: Mapping[CarrierName, Place] = {
    "twilio": "webhook:voice",
    "telnyx": None,
    "plivo": "webhook:answer",
}
_LAST: Mapping[CarrierName, Place] = {
    "twilio": "webhook:completed",
    "telnyx": "webhook:call.hangup",
    "plivo": "webhook:hangup",
}
_TRANSFER: Mapping[CarrierName, Place] = {
    "twilio": "transfer",
    "telnyx": "transfer",
    "plivo": "update",
}
_WHOM: Mapping[CarrierName, Place] = {
    "twilio": None,
    "telnyx": None,
    "plivo": "webhook:transfer",
}
_ALL = "webhook:*"
_NO_MEDIA = {"streaming": {"enabled": False}, "maxDurationSeconds": 2}

ROWS: Final[Sequence[Row]] = (
    # A call that was placed all the same rings until somebody gives up.
    Row("dial: HTTP 500", "dial", Fault("status"), _rings_on),
    Row("dial: placed, then HTTP 500", "dial", Fault("status-after"), _rings_on),
    Row("dial: no answer", "dial", Fault("hang"), _rings_on, patience=_SHORT),
    Row("dial: placed, no answer", "dial", Fault("hang-after"), _rings_on, patience=_SHORT),
    Row(
        "dial: placed, no answer, and the callee picks up meanwhile",
        "dial",
        Fault("hang-after"),
        _talks_long,
        patience=_SHORT,
    ),
    Row("dial: connection reset", "dial", Fault("reset"), _rings_on),
    Row("dial: placed, then connection reset", "dial", Fault("reset-after"), _rings_on),
    Row("dial: HTTP 429", "dial", Fault("status", status=429), _rings_on),
    Row("hang-up: HTTP 500", "hang-up", Fault("status"), _stays, ended_here=True),
    Row("hang-up: no answer", "hang-up", Fault("hang"), _stays, ended_here=True, patience=_SHORT),
    Row("transfer: HTTP 500", _TRANSFER, Fault("status"), _talks, handed_on=True),
    Row(
        "transfer: done, then HTTP 500",
        _TRANSFER,
        Fault("status-after"),
        _talks_long,
        handed_on=True,
    ),
    Row(
        "transfer: no answer",
        _TRANSFER,
        Fault("hang"),
        _talks_long,
        handed_on=True,
        patience=_SHORT,
    ),
    Row(
        "transfer: done, no answer",
        _TRANSFER,
        Fault("hang-after"),
        _talks_long,
        handed_on=True,
        patience=_SHORT,
    ),
    Row("transfer: webhook lost: to whom?", _WHOM, Fault("lose"), _talks, handed_on=True),
    Row("webhooks: each twice", _ALL, Fault("repeat", times=None), _talks),
    Row(
        "webhooks: each overtaken by the next",
        _ALL,
        Fault("hold", times=None, delay_s=_HELD_S),
        _talks,
    ),
    Row("webhooks: each late", _ALL, Fault("slow", times=None, delay_s=_LATE_S), _talks),
    Row("webhook lost: it rings", _RINGING, Fault("lose"), _talks),
    Row("webhook lost: it is answered", _ANSWERED, Fault("lose"), _talks),
    Row("webhook lost: what to do next?", _INSTRUCTIONS, Fault("lose"), _talks),
    Row("webhook lost: it is over", _LAST, Fault("lose"), _talks),
    Row(
        "webhook lost: it is over (without media streaming)",
        _LAST,
        Fault("lose"),
        _talks,
        settings=_NO_MEDIA,
    ),
    Row("socket: drops and comes back", "socket", Fault("drop", delay_s=_SOON_S), _talks_long),
    Row("socket: drops for good", "socket", Fault("drop-for-good", delay_s=_SOON_S), _stays),
    Row("socket: a second one", "socket", Fault("second", delay_s=_SOON_S), _talks_long),
)
