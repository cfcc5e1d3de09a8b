"""A bounded memory of webhooks already answered, so that a replayed one has no effect."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_S

if TYPE_CHECKING:
    from voicecall.ports import WebhookAnswer

REPLAY_WINDOW_NS = 600 * NS_PER_S
MAX_REPLAY_KEYS = 10_000


class ReplayMemory:
    """Remembers answers by replay key, for a while and up to a number.

    Overflow: the oldest answer is forgotten. Only verified requests get in here, so nobody but
    the carrier can push anything out. Keys are kept as SHA-256 digests: canonical signed material
    may be as long as a request body.

    Args:
        window_ns: how long an answer is remembered.
        capacity: how many are remembered at once.
    """

    def __init__(
        self, *, window_ns: int = REPLAY_WINDOW_NS, capacity: int = MAX_REPLAY_KEYS
    ) -> None:
        self._window_ns = window_ns
        self._capacity = capacity
        self._answers: OrderedDict[bytes, tuple[int, WebhookAnswer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def recall(self, key: str, now_ns: int) -> WebhookAnswer | None:
        """What was answered to `key` within the window, else None."""
        self._expire(now_ns)
        known = self._answers.get(_digest(key))
        return known[1] if known is not None else None

    def remember(self, key: str, answer: WebhookAnswer, now_ns: int) -> None:
        """Keep the answer given to `key`; a key already remembered keeps its first answer."""
        self._expire(now_ns)
        self._answers.setdefault(_digest(key), (now_ns + self._window_ns, answer))
        if len(self._answers) > self._capacity:
            self._answers.popitem(last=False)

    def _expire(self, now_ns: int) -> None:
        # All entries live equally long, so the order of arrival is the order of expiry.
        while self._answers:
            digest, (expires_ns, _) = next(iter(self._answers.items()))
            if expires_ns > now_ns:
                return
            del self._answers[digest]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
