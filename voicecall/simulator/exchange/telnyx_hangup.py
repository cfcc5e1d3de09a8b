"""How calls at the simulated Telnyx end, in its words.

Source: the `call.hangup` event of Telnyx's published API description.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.simulator.exchange.line import Direction, Ending
    from voicecall.simulator.exchange.party import Pickup


@dataclass(frozen=True, slots=True)
class Hangup:
    """How a call ended, in Telnyx's words.

    Attributes:
        cause: `hangup_cause`.
        source: `hangup_source`.
        sip: `sip_hangup_cause`.
    """

    cause: str
    source: str
    sip: str = "unspecified"


NO_ANSWER: Final = Hangup("no_answer", "unknown", "487")
TIMEOUT: Final = Hangup("timeout", "unknown", "487")
BRIDGE_OVER: Final = Hangup("normal_clearing", "callee", "200")
TIME_LIMIT: Final = Hangup("time_limit", "unknown", "200")

ENDINGS: Final[Mapping[tuple[Direction, bool, Ending], Hangup]] = {
    ("outbound", True, "api"): Hangup("normal_clearing", "caller", "200"),
    ("outbound", True, "party"): Hangup("normal_clearing", "callee", "200"),
    ("outbound", True, "carrier"): Hangup("unspecified", "unknown"),
    ("outbound", False, "api"): Hangup("originator_cancel", "caller", "487"),
    ("outbound", False, "party"): Hangup("call_rejected", "callee", "603"),
    ("outbound", False, "carrier"): Hangup("unspecified", "unknown"),
    # Of inbound calls no SIP response is known.
    ("inbound", True, "api"): Hangup("normal_clearing", "callee"),
    ("inbound", True, "party"): Hangup("normal_clearing", "caller"),
    ("inbound", True, "carrier"): Hangup("unspecified", "unknown"),
    ("inbound", False, "api"): Hangup("call_rejected", "callee"),
    ("inbound", False, "party"): Hangup("originator_cancel", "caller"),
    ("inbound", False, "carrier"): Hangup("unspecified", "unknown"),
}
"""By direction, by whether the call was answered, and by who hung up."""

UNREACHED: Final[Mapping[Pickup, Hangup]] = {
    "busy": Hangup("user_busy", "callee", "486"),
    "reject": Hangup("call_rejected", "callee", "603"),
    "no-answer": NO_ANSWER,
}

REJECTED: Final[Mapping[str, Hangup]] = {
    "CALL_REJECTED": Hangup("call_rejected", "callee"),
    "NOT_FOUND": Hangup("not_found", "callee"),
    "TEMPORARILY_UNAVAILABLE": Hangup("call_rejected", "callee"),
    "USER_BUSY": Hangup("user_busy", "callee"),
}
