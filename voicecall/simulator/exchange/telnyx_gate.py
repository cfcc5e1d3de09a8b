"""What the simulated Telnyx lets through: so many requests a second, and each command once."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_S
from voicecall.simulator.exchange import telnyx_refusals as refusals

if TYPE_CHECKING:
    from voicecall.clock import Clock

IGNORED_FOR_S = 60
"""How long a command is remembered, and not done again."""

_MAX_REMEMBERED = 10_000


class RateLimit:
    """Counts requests in windows of one second.

    Args:
        per_s: how many are taken in each; None for any number.
        clock: the time.
    """

    def __init__(self, per_s: int | None, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._window_ns = 0
        self._taken = 0

    def count(self) -> None:
        """One more request. Raises Refused when it is one too many."""
        if self._per_s is None:
            return
        now_ns = self._clock.now_ns()
        if now_ns - self._window_ns >= NS_PER_S:
            self._window_ns, self._taken = now_ns, 0
        if self._taken >= self._per_s:
            left_ns = self._window_ns + NS_PER_S - now_ns
            raise refusals.too_many_requests(self._per_s, math.ceil(left_ns / NS_PER_S))
        self._taken += 1


@dataclass(frozen=True, slots=True)
class _Done:
    """A command that was done: about which call, and when."""

    call_id: str
    at_ns: int


class Repeats:
    """Remembers for a minute which commands were done, by their `command_id`.

    Overflow: of more than 10 000 the oldest is forgotten.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._done: OrderedDict[tuple[str, str], _Done] = OrderedDict()

    def earlier(self, scope: str, command_id: str | None) -> str | None:
        """The call that the same command was about before, if it was.

        Args:
            scope: within which ids are told apart: a call, or all dials.
            command_id: as the customer gave it; without one nothing is a repeat.
        """
        done = None if command_id is None else self._done.get((scope, command_id))
        if done is None or self._clock.now_ns() - done.at_ns >= IGNORED_FOR_S * NS_PER_S:
            return None
        return done.call_id

    def note(self, scope: str, command_id: str | None, call_id: str) -> None:
        """The command was done, about call `call_id`."""
        if command_id is None:
            return
        self._done[scope, command_id] = _Done(call_id, self._clock.now_ns())
        self._done.move_to_end((scope, command_id))
        if len(self._done) > _MAX_REMEMBERED:
            self._done.popitem(last=False)
