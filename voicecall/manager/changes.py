"""Changes of calls, told to whoever listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

    from voicecall.clock import Clock

Change: TypeAlias = Mapping[str, Any]


class Subscription(AsyncGenerator[Change, None]):
    """Changes from the moment it was made, in order.

    A subscriber that does not keep up loses the oldest changes and is told how many by a change
    of type `gap` in their place. Iteration ends when the subscription or the feed is closed.

    Args:
        capacity: how many changes wait for the subscriber at most.
        clock: dates the gaps.
    """

    def __init__(self, capacity: int, clock: Clock) -> None:
        self._waiting: deque[Change] = deque(maxlen=capacity)
        self._clock = clock
        self._arrived = asyncio.Event()
        self._closed = False
        self._lost = 0
        self.dropped = 0
        """How many changes were lost in all."""

    def offer(self, change: Change) -> None:
        """Hand it one more change; never blocks."""
        if self._closed:
            return
        if len(self._waiting) == self._waiting.maxlen:
            self._lost += 1
            self.dropped += 1
        self._waiting.append(change)
        self._arrived.set()

    def end(self) -> None:
        """No more changes follow; those waiting are still delivered."""
        self._closed = True
        self._arrived.set()

    async def asend(self, value: None) -> Change:
        """The next change; `value` is not used."""
        del value
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return {"type": "gap", "timestamp": self._clock.wall_ms(), "dropped": lost}
        return self._waiting.popleft()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Change:
        """Close the subscription and raise what is thrown."""
        del tb
        self._waiting.clear()
        self.end()
        if isinstance(typ, BaseException):
            raise typ
        raise val if isinstance(val, BaseException) else typ


class ChangeFeed:
    """Passes changes on to all subscriptions; forgotten ones vanish by themselves.

    Args:
        capacity: how many changes wait for one subscriber at most.
        clock: dates the gaps.
    """

    def __init__(self, clock: Clock, capacity: int = 1000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._to_all: WeakSet[Subscription] = WeakSet()
        self._to_one: dict[str, WeakSet[Subscription]] = {}
        self._closed = False

    def subscribe(self, call_id: str | None = None) -> Subscription:
        """A subscription to everything from now on.

        Args:
            call_id: our id of the only call of interest; the subscription ends when that has. It
                must not have ended yet.
        """
        subscription = Subscription(self._capacity, self._clock)
        if self._closed:
            subscription.end()
        elif call_id is None:
            self._to_all.add(subscription)
        else:
            self._to_one.setdefault(call_id, WeakSet()).add(subscription)
        return subscription

    def publish(self, change: Change) -> None:
        """Tell everybody."""
        for subscription in list(self._to_all):
            subscription.offer(change)
        for subscription in list(self._to_one.get(change.get("callId", ""), ())):
            subscription.offer(change)

    def over(self, call_id: str) -> None:
        """Nothing more will happen to a call."""
        for subscription in list(self._to_one.pop(call_id, ())):
            subscription.end()

    def close(self) -> None:
        """End all subscriptions, present and future."""
        self._closed = True
        for subscription in list(self._to_all):
            subscription.end()
        for call_id in list(self._to_one):
            self.over(call_id)
