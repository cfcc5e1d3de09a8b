"""Exact admission: how many calls may be live at once."""

from __future__ import annotations

from voicecall.errors import CapacityReached


class Slots:
    """One slot for each call that has not ended; counting and deciding are one step.

    Args:
        limit: how many calls there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[str] = set()
        self._closed = False

    @property
    def held(self) -> int:
        """How many slots are taken."""
        return len(self._holders)

    @property
    def closed(self) -> bool:
        """Whether nobody is admitted any more."""
        return self._closed

    def reserve(self, call_id: str) -> None:
        """Take a slot for the call.

        Raises:
            CapacityReached: all are taken, or no calls are taken any more.
        """
        if self._closed:
            raise CapacityReached("no more calls are taken: the server is shutting down")
        if len(self._holders) >= self._limit:
            raise CapacityReached(f"the limit of {self._limit} concurrent calls is reached")
        self._holders.add(call_id)

    def hold(self, call_id: str) -> None:
        """Count a call that there is already, whatever the limit; it goes on all the same."""
        self._holders.add(call_id)

    def release(self, call_id: str) -> None:
        """Give the call's slot back; doing it again changes nothing."""
        self._holders.discard(call_id)

    def close(self) -> None:
        """Admit nobody from now on."""
        self._closed = True
