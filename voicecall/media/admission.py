"""Who may open a media socket: exact counters, and tokens that belong to calls."""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_MS, Clock

if TYPE_CHECKING:
    from http import HTTPStatus

    from voicecall.ports import StreamStart

TOKEN_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Refusal:
    """An upgrade that is answered with an HTTP status."""

    status: HTTPStatus
    label: str


class Admission:
    """Counts media sockets. A decision and its count happen in the same step.

    Args:
        max_connections: sockets open at once, upgrades in flight included.
        max_pending: of these, sockets that have shown no token yet.
        max_pending_per_address: likewise, for one client address.
    """

    def __init__(
        self, max_connections: int, max_pending: int, max_pending_per_address: int
    ) -> None:
        self._max_connections = max_connections
        self._max_pending = max_pending
        self._max_pending_per_address = max_pending_per_address
        self._pending_by_address: Counter[str] = Counter()
        self.open = 0
        self.draining = False

    @property
    def pending(self) -> int:
        """Sockets that have shown no token yet."""
        return self._pending_by_address.total()

    def enter(self) -> bool:
        """Reserve a place for a socket; False when there is none or the server drains."""
        if self.draining or self.open >= self._max_connections:
            return False
        self.open += 1
        return True

    def leave(self) -> None:
        """Give a socket's place back."""
        self.open -= 1

    def enter_pending(self, address: str) -> bool:
        """Reserve a place for a socket without a token; False when there is none."""
        if (
            self.pending >= self._max_pending
            or self._pending_by_address[address] >= self._max_pending_per_address
        ):
            return False
        self._pending_by_address[address] += 1
        return True

    def leave_pending(self, address: str) -> None:
        """Give such a place back."""
        self._pending_by_address[address] -= 1
        if self._pending_by_address[address] <= 0:
            del self._pending_by_address[address]


@dataclass(slots=True)
class _Ticket:
    call_id: str
    expires_ns: int | None

    def expired(self, now_ns: int) -> bool:
        return self.expires_ns is not None and now_ns > self.expires_ns


class StreamTokens:
    """One-call secrets for media sockets: 128 random bits in hex, in the path of the URL.

    A token has to be used within `valid_ms`; once used it is good for that call's reconnects until
    it is revoked. Tokens are looked up by a keyed digest, so the time a lookup takes says nothing
    about how much of a guess was right.

    Args:
        clock: the time.
        valid_ms: how long a fresh token may wait to be used.

    Attributes:
        base_url: the `wss://host/path` that tokens are appended to; known once the server listens.
    """

    def __init__(self, clock: Clock, valid_ms: int) -> None:
        self._clock = clock
        self.base_url = ""
        self._valid_ns = valid_ms * NS_PER_MS
        self._key = secrets.token_bytes(32)
        self._tickets: dict[bytes, _Ticket] = {}
        self._digests: dict[str, list[bytes]] = {}

    def issue(self, call_id: str) -> str:
        """A fresh URL whose token belongs to `call_id`."""
        self._forget_expired()
        token = secrets.token_hex(TOKEN_OCTETS)
        digest = self._digest(token)
        self._tickets[digest] = _Ticket(call_id, self._clock.now_ns() + self._valid_ns)
        self._digests.setdefault(call_id, []).append(digest)
        return self.url_for(token)

    def url_for(self, token: str | None) -> str:
        """The URL that leads a socket here with `token` in its path, or with none."""
        return self.base_url if token is None else f"{self.base_url}/{token}"

    def call_for(self, token: str) -> str | None:
        """The call a token was made for; None for a wrong, expired or revoked one."""
        ticket = self._tickets.get(self._digest(token))
        if ticket is None or ticket.expired(self._clock.now_ns()):
            return None
        return ticket.call_id

    def call_of(self, start: StreamStart) -> str | None:
        """The call of a socket that shows its token only in its `start`."""
        return self.call_for(start.token or "")

    def used(self, call_id: str) -> None:
        """The call's media is connected: its tokens are good until they are revoked."""
        now_ns = self._clock.now_ns()
        for digest in self._digests.get(call_id, ()):
            ticket = self._tickets[digest]
            if not ticket.expired(now_ns):
                ticket.expires_ns = None

    def revoke(self, call_id: str) -> None:
        """Forget the call's tokens."""
        for digest in self._digests.pop(call_id, ()):
            self._tickets.pop(digest, None)

    def __len__(self) -> int:
        return len(self._tickets)

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode("utf-8", "surrogateescape"), "sha256")

    def _forget_expired(self) -> None:
        now_ns = self._clock.now_ns()
        expired = [
            (digest, ticket.call_id)
            for digest, ticket in self._tickets.items()
            if ticket.expired(now_ns)
        ]
        for digest, call_id in expired:
            del self._tickets[digest]
            self._digests[call_id].remove(digest)
            if not self._digests[call_id]:
                del self._digests[call_id]
