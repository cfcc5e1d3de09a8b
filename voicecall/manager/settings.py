"""What the call manager has to know of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.call.policy import InboundPolicy, SessionScope
    from voicecall.call.record import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """Limits, times and numbers.

    Attributes:
        from_number: caller id of outbound calls, E.164.
        to_number: whom to call when nobody is named.
        default_mode: of outbound calls that name none.
        max_concurrent_calls: calls not yet ended, both directions together.
        inbound_policy: who may call.
        allow_from: callers that the allowlist takes.
        inbound_greeting: what callers are greeted with.
        numbers: by dialled number, camelCase keys and JSON types, what differs there. It is frozen
            on the call's record as `metadata["number"]`, which clients can read: no secrets.
        session_scope: whose conversation memory a new call continues.
        sip: whether the carrier dials `sip:` addresses.
        transfer_sip: whether it hands calls on to them.
        dial_timeout_ms: how long the carrier may take to accept a dial.
        carrier_timeout_ms: how long any other request to it may take.
        ring_timeout_ms: how long a call may go unanswered.
        max_duration_ms: how long a call may last from the answer.
        transcript_timeout_ms: how long to wait for the caller's answer.
        stale_after_ms: calls older than that are ended by the reaper; 0 for no reaper.
    """

    from_number: str = ""
    to_number: str | None = None
    default_mode: Mode = "notify"
    max_concurrent_calls: int = 128
    inbound_policy: InboundPolicy = "disabled"
    allow_from: tuple[str, ...] = ()
    inbound_greeting: str | None = None
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    session_scope: SessionScope = "per-phone"
    sip: bool = False
    transfer_sip: bool = False
    dial_timeout_ms: int = 15_000
    carrier_timeout_ms: int = 10_000
    ring_timeout_ms: int = 30_000
    max_duration_ms: int = 300_000
    transcript_timeout_ms: int = 180_000
    stale_after_ms: int = 0

    @property
    def reaper_spares_answered(self) -> bool:
        """Whether answered calls are left to the limit on their duration.

        The reaper would otherwise cut calls that are within their limit; worth a warning at start.
        """
        return 0 < self.stale_after_ms <= self.max_duration_ms
