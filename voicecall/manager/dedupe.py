"""Bounded memory of facts already applied."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class SeenKeys(Generic[K]):
    """Remembers the newest keys; the oldest is forgotten when there is no room.

    Args:
        capacity: how many keys are kept, at least one.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a memory without room remembers nothing")
        self._capacity = capacity
        self._keys: OrderedDict[K, None] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: K) -> bool:
        """Remember `key`; whether it was new. A known key does not become newer."""
        if key in self._keys:
            return False
        if len(self._keys) == self._capacity:
            self._keys.popitem(last=False)
        self._keys[key] = None
        return True
