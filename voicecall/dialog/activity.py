"""How long the caller has been loud while the bot speaks: above echo, noise and far voices."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING

from voicecall.dialog.echo import EchoFloor
from voicecall.dialog.loudness import BLOCK_MS, SILENCE_DBFS

if TYPE_CHECKING:
    from collections.abc import Sequence

_NS_PER_MS = 1_000_000
_BLOCK_NS = BLOCK_MS * _NS_PER_MS

# How far back anybody asks.
_KEPT_BLOCKS = 4000 // BLOCK_MS
# A line is never softer than this; what is no louder is nobody.
_QUIET_DBFS = -60.0
# The line's noise is the softest tenth of a second of the last three.
_NOISE_BLOCKS = 5
_NOISE_PERIODS = 30
# Until then it may be speech that was going on before.
_MIN_NOISE_PERIODS = 10


class Activity:
    """Follows one call's levels, 20 ms at a time. Reads no clock.

    Args:
        min_level_dbfs: what is softer than this is nobody.
        margin_db: how far the caller has to stand out of echo and noise.
    """

    def __init__(self, min_level_dbfs: float = -45.0, margin_db: float = 6.0) -> None:
        self._min_level_dbfs = min_level_dbfs
        self._margin_db = margin_db
        self._noise: deque[float] = deque(maxlen=_NOISE_PERIODS)
        self._period: list[float] = []
        self._noise_dbfs = SILENCE_DBFS
        # When each block ended, whether it was loud, and whether it was no echo at least.
        self._blocks: deque[tuple[int, bool, bool]] = deque(maxlen=_KEPT_BLOCKS)
        self.echo = EchoFloor()
        """What is known of the line's echo."""

    @property
    def own_dbfs(self) -> float:
        """How loud something has to be now to be no echo, nor noise."""
        return max(self.echo.expected_dbfs, self._noise_dbfs, _QUIET_DBFS) + self._margin_db

    def feed(self, sent_dbfs: Sequence[float], heard_dbfs: Sequence[float], now_ns: int) -> None:
        """Take the newest blocks, the last of which ends now.

        Args:
            sent_dbfs: how loud what was being played to the caller was meanwhile; what is missing
                at the beginning was silence.
            heard_dbfs: how loud what came from there was.
            now_ns: the monotonic time.
        """
        missing = len(heard_dbfs) - len(sent_dbfs)
        end_ns = now_ns - len(heard_dbfs) * _BLOCK_NS
        for sent, heard in zip(
            (*repeat(SILENCE_DBFS, missing), *sent_dbfs), heard_dbfs, strict=True
        ):
            end_ns += _BLOCK_NS
            self.echo.feed(sent, heard)
            self._note_noise(heard)
            own = heard >= self.own_dbfs
            self._blocks.append((end_ns, own and heard >= self._min_level_dbfs, own))

    def loud_ms(self, since_ns: int) -> int:
        """For how long in total the caller has been loud since then, as far as it is kept: 4 s."""
        return BLOCK_MS * sum(loud for end_ns, loud, _ in self._blocks if end_ns > since_ns)

    def own_ms(self, since_ns: int) -> int:
        """For how long in total something was heard since then that was no echo, soft or loud."""
        return BLOCK_MS * sum(own for end_ns, _, own in self._blocks if end_ns > since_ns)

    def quiet_ms(self, now_ns: int, since_ns: int) -> int:
        """For how long the caller has not been loud now; counted from `since_ns` at the longest."""
        for end_ns, loud, _ in reversed(self._blocks):
            if end_ns <= since_ns:
                break
            if loud:
                return (now_ns - end_ns) // _NS_PER_MS
        return (now_ns - since_ns) // _NS_PER_MS

    def _note_noise(self, heard_dbfs: float) -> None:
        self._period.append(heard_dbfs)
        if len(self._period) == _NOISE_BLOCKS:
            self._noise.append(sum(self._period) / _NOISE_BLOCKS)
            self._period.clear()
            if len(self._noise) >= _MIN_NOISE_PERIODS:
                self._noise_dbfs = min(self._noise)
