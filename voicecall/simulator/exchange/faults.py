"""What a simulated carrier is told to get wrong, and where."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

RestFaultKind: TypeAlias = Literal[
    "status", "status-after", "hang", "hang-after", "reset", "reset-after", "slow"
]
WebhookFaultKind: TypeAlias = Literal["lose", "repeat", "hold", "slow"]
SocketFaultKind: TypeAlias = Literal["drop", "drop-for-good", "second"]
FaultKind: TypeAlias = RestFaultKind | WebhookFaultKind | SocketFaultKind

ANY_WEBHOOK = "webhook:*"
SOCKET = "socket"

_WEBHOOK = "webhook:"
_MAX_FAULTS_A_PLACE = 1000
_REST_KINDS = frozenset(get_args(RestFaultKind))
_WEBHOOK_KINDS = frozenset(get_args(WebhookFaultKind))
_SOCKET_KINDS = frozenset(get_args(SocketFaultKind))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: of a REST request: `status` an error instead of doing it, `status-after` an error
            although it was done, `hang` neither done nor answered, `hang-after` done and never
            answered, `reset` the connection reset instead of doing it, `reset-after` reset although
            it was done, `slow` done at once and answered late. Of a webhook: `lose` never sent,
            `repeat` sent twice, `hold` sent after the one that follows it, `slow` sent late. Of a
            media socket: `drop` it breaks and comes back, `drop-for-good` it stays away, `second`
            another one is opened for the same call.
        times: how often; None for always.
        status: the HTTP status of `status` and `status-after`.
        delay_s: how late, after how long of the stream; of `hold`, how long at most (0: a second).
        code: the carrier's own error code; its usual one for the status when None.
    """

    kind: FaultKind
    times: int | None = 1
    status: int = 500
    delay_s: float = 0.0
    code: int | str | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: `times`, `status` or `delay_s` is out of range.
        """
        if self.times is not None and self.times < 1:
            raise ValueError("times is at least 1")
        if not 400 <= self.status <= 599:  # noqa: PLR2004  (HTTP's error statuses)
            raise ValueError("status is an HTTP error status")
        if self.delay_s < 0:
            raise ValueError("delay_s is not negative")


class Faults:
    """The faults of one carrier, each taken where and as often as it was added for.

    Places are `dial`, `hang-up`, `look-up`, `update`, `keys` and the like for REST requests,
    `webhook:<name>` or `webhook:*` for webhooks, and `socket` for media.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Left]] = {}

    def add(self, where: str, fault: Fault) -> None:
        """Let `fault` happen at `where`, after those already added there.

        Raises:
            ValueError: such a fault cannot happen there, or a thousand wait there already.
        """
        if fault.kind not in _kinds_at(where):
            raise ValueError(f"{fault.kind!r} is no fault of {where!r}")
        waiting = self._waiting.setdefault(where, deque())
        if len(waiting) >= _MAX_FAULTS_A_PLACE:
            raise ValueError(f"too many faults wait at {where!r}")
        waiting.append(_Left(fault, fault.times))

    def take(self, where: str) -> Fault | None:
        """The fault that happens at `where` now, counted as having happened."""
        fault = self._take_at(where)
        if fault is None and where.startswith(_WEBHOOK):
            fault = self._take_at(ANY_WEBHOOK)
        return fault

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self._waiting.clear()

    def _take_at(self, where: str) -> Fault | None:
        waiting = self._waiting.get(where)
        if not waiting:
            return None
        left = waiting[0]
        if left.times is not None:
            left.times -= 1
            if left.times == 0:
                waiting.popleft()
        return left.fault


@dataclass(slots=True)
class _Left:
    """A fault and how often it will still happen."""

    fault: Fault
    times: int | None


def _kinds_at(where: str) -> frozenset[str]:
    if where == SOCKET:
        return _SOCKET_KINDS
    return _WEBHOOK_KINDS if where.startswith(_WEBHOOK) else _REST_KINDS
