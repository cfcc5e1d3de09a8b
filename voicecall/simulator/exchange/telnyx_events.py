"""What the simulated Telnyx reports, and how it proves that it was Telnyx who did.

Source: Telnyx, "Receiving webhooks" and "Voice API webhooks"; captured deliveries.
"""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from voicecall.errors import DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voicecall.clock import Clock

SIGNATURE_HEADER: Final = "telnyx-signature-ed25519"
TIMESTAMP_HEADER: Final = "telnyx-timestamp"

_MS_PER_S = 1000
_US_PER_MS = 1000
_US_PER_S = 1_000_000

Payload: TypeAlias = "Mapping[str, Any]"


class Signer:
    """Signs webhooks with a key of its own.

    Args:
        clock: dates the signatures.

    Raises:
        DependencyMissing: PyNaCl is not installed.
    """

    def __init__(self, clock: Clock) -> None:
        try:
            # An optional package, needed for this carrier only.
            from nacl.signing import SigningKey  # noqa: PLC0415
        except ImportError as error:
            raise DependencyMissing(
                "Telnyx's signatures need the package PyNaCl; install voicecall[telnyx]"
            ) from error
        self._clock = clock
        self._key = SigningKey.generate()

    @property
    def public_key(self) -> str:
        """What customers verify with: base64 of 32 octets, as the portal shows it."""
        return base64.b64encode(bytes(self._key.verify_key)).decode()

    def sign(self, method: str, url: str, body: Mapping[str, str] | bytes) -> Mapping[str, str]:
        """The headers of one delivery; only its time and its body are signed."""
        del method, url
        octets = body if isinstance(body, bytes) else orjson.dumps(dict(body))
        timestamp = str(self._clock.wall_ms() // _MS_PER_S)
        signature = self._key.sign(f"{timestamp}|".encode() + octets).signature
        return {
            SIGNATURE_HEADER: base64.b64encode(signature).decode(),
            TIMESTAMP_HEADER: timestamp,
        }


class Moments:
    """Times in ISO 8601 with microseconds, no two alike, so that events can be put in order.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_us = 0

    def now(self) -> str:
        """The present moment."""
        self._last_us = max(self._clock.wall_ms() * _US_PER_MS, self._last_us + 1)
        seconds, micros = divmod(self._last_us, _US_PER_S)
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def envelope(
    kind: str, payload: Payload, *, occurred_at: str, delivered_to: str
) -> Callable[[int], bytes]:
    """One event as it is sent: the n-th attempt, all of the same id.

    Args:
        kind: `event_type`.
        payload: what happened.
        occurred_at: when.
        delivered_to: the URL it is sent to.
    """
    data = {
        "event_type": kind,
        "id": str(uuid.uuid4()),
        "occurred_at": occurred_at,
        "payload": dict(payload),
        "record_type": "event",
    }

    def body(attempt: int) -> bytes:
        return orjson.dumps(
            {"data": data, "meta": {"attempt": attempt, "delivered_to": delivered_to}}
        )

    return body
