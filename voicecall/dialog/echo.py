"""What of our own voice comes back on the line, and how to tell it from the caller.

Carriers cancel no echo: what the caller's telephone lets through from its loudspeaker into its
microphone comes back to us some 50 to 500 ms later, and a recogniser takes it for speech.
"""

from __future__ import annotations

import re
from collections import deque
from difflib import SequenceMatcher
from typing import Final

from voicecall.dialog.loudness import BLOCK_MS, SILENCE_DBFS

ASSUMED_GAIN_DB: Final = -15.0
"""How much of our voice is taken to come back until it is known; more is rare."""

_MAX_DELAY_BLOCKS = 500 // BLOCK_MS
# Softer speech of ours does not tell, since its echo drowns in the line's noise.
_MIN_SENT_DBFS = -40.0
# Of so much speech of ours the best evidence counts; then a telephone held otherwise is noticed.
_MEMORY_BLOCKS = 6000 // BLOCK_MS
_DOUBT_BLOCKS = 1000 // BLOCK_MS
# A line that gives back more is rare; a caller who answers at once, every time, is not.
_MAX_GAIN_DB = -9.0
# Softer echo is not taken for speech by any recogniser.
_AUDIBLE_DBFS = -55.0
# How fast it is forgotten that we were loud.
_FADE_DB = 0.05


class EchoFloor:
    """Learns how loud our own voice comes back.

    When we say something, its echo comes within half a second if at all. So whatever is loudest in
    that time is at least as loud as the echo: its distance from what was said is a bound, and the
    lowest of many bounds is close to the truth, since the caller does not speak all the time. The
    delay need not be known, and somebody who speaks over us only makes for poorer bounds.

    Args:
        assumed_gain_db: what holds until something is known.
    """

    def __init__(self, assumed_gain_db: float = ASSUMED_GAIN_DB) -> None:
        self._assumed_gain_db = assumed_gain_db
        self._sent: deque[float] = deque(maxlen=_MAX_DELAY_BLOCKS + 1)
        self._heard: deque[float] = deque(maxlen=_MAX_DELAY_BLOCKS + 1)
        # (its number, the bound), rising: the first is the lowest of those that count.
        self._bounds: deque[tuple[int, float]] = deque()
        self._count = 0
        self._peak_dbfs = SILENCE_DBFS

    @property
    def gain_db(self) -> float:
        """How much softer than it was sent our voice comes back, at most; negative."""
        if not self._bounds:
            return self._assumed_gain_db
        lowest_db = self._bounds[0][1]
        # Until a second of speech has been followed, the caller may have spoken all the time.
        return lowest_db if self._count >= _DOUBT_BLOCKS else min(lowest_db, self._assumed_gain_db)

    @property
    def expected_dbfs(self) -> float:
        """How loud our own voice may be in what is heard now."""
        loudest = max(self._sent, default=SILENCE_DBFS)
        return max(SILENCE_DBFS, loudest + self.gain_db)

    @property
    def audible(self) -> bool:
        """Whether what we said lately may have come back as something that can be understood."""
        return self._peak_dbfs + self.gain_db >= _AUDIBLE_DBFS

    def feed(self, sent_dbfs: float, heard_dbfs: float) -> None:
        """Take the next block.

        Args:
            sent_dbfs: how loud what was being played to the caller was.
            heard_dbfs: how loud what came from there was.
        """
        self._peak_dbfs = max(self._peak_dbfs - _FADE_DB, sent_dbfs)
        self._sent.append(sent_dbfs)
        self._heard.append(heard_dbfs)
        if len(self._sent) > _MAX_DELAY_BLOCKS and self._sent[0] >= _MIN_SENT_DBFS:
            self._learn(min(_MAX_GAIN_DB, max(self._heard) - self._sent[0]))

    def doubt(self) -> None:
        """Something was taken for the caller that was not: only what was learned last holds."""
        self._forget_until(self._count - _DOUBT_BLOCKS)

    def _learn(self, bound_db: float) -> None:
        self._count += 1
        while self._bounds and self._bounds[-1][1] >= bound_db:
            self._bounds.pop()
        self._bounds.append((self._count, bound_db))
        self._forget_until(self._count - _MEMORY_BLOCKS)

    def _forget_until(self, number: int) -> None:
        # The newest is kept: it is what is known.
        while len(self._bounds) > 1 and self._bounds[0][0] <= number:
            self._bounds.popleft()


_WORD = re.compile(r"[\w']+")


def without_echo(text: str, said: str, run: int) -> str:
    """`text` without the words that only repeat what was just said.

    Args:
        text: what was understood.
        said: what the bot has been saying meanwhile.
        run: how many words in a row have to be the same to count as repeated.
    """
    words = text.split()
    heard = [_bare(word) for word in words]
    matcher = SequenceMatcher(None, heard, _WORD.findall(said.lower()), autojunk=False)
    repeated: set[int] = set()
    for match in matcher.get_matching_blocks():
        if match.size >= run:
            repeated.update(range(match.a, match.a + match.size))
    return " ".join(word for at, word in enumerate(words) if at not in repeated)


def _bare(word: str) -> str:
    return "".join(_WORD.findall(word.lower()))
