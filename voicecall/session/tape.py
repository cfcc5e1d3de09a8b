"""What is being said, between the voice that makes it and the path that plays it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from voicecall.dialog.loudness import BLOCK_MS, SILENCE_DBFS, Loudness

if TYPE_CHECKING:
    from voicecall.ports import AudioFormat

AHEAD_MS: Final = 5000
"""How much may be ready before it is played."""

_PIECE_MS = 1000
# So much of what was heard is kept, to step back to.
_KEPT_BLOCKS = 1000 // BLOCK_MS
# Speech is taken up again in a pause, if there was one so shortly before, else a little earlier.
_PAUSE_WITHIN_BLOCKS = 600 // BLOCK_MS
_STEP_BACK_BLOCKS = 200 // BLOCK_MS
_PAUSE_BELOW_DB = 25.0


class Tape:
    """The audio of one thing being said, which can be stopped and taken up again. Has one reader.

    Positions are octets since the beginning.

    Overflow rule: whoever makes audio waits while 5 s of it are unread, as while it is stopped.
    What was read is kept until it was heard, which the path's own queue bounds.

    Args:
        audio: how it is coded.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self._audio = audio
        self._block_octets = audio.octets_per_second * BLOCK_MS // 1000
        self._ahead_octets = audio.octets_per_second * AHEAD_MS // 1000
        self._piece_octets = audio.octets_per_second * _PIECE_MS // 1000
        self._loudness = Loudness(audio)
        self._kept = bytearray()
        self._levels: list[float] = []
        # Where what is kept begins; a whole number of blocks.
        self._start = 0
        self._read = 0
        self._complete = False
        self._stopped = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def end(self) -> int:
        """How much there is up to now."""
        return self._start + len(self._kept)

    @property
    def complete(self) -> bool:
        """Whether no more is made."""
        return self._complete

    @property
    def stopped(self) -> bool:
        """Whether it is stopped."""
        return self._stopped

    async def put(self, audio: bytes) -> None:
        """Add audio at the end; returns when there is room for more."""
        self._kept += audio
        self._levels += self._loudness.feed(audio)
        self._changed.set()
        while self.end - self._read > self._ahead_octets:
            self._room.clear()
            await self._room.wait()

    def finish(self) -> None:
        """No more audio is made."""
        self._complete = True
        self._changed.set()

    async def get(self) -> bytes | None:
        """Wait for the next audio, at most a second of it; None at the end."""
        while self._stopped or (self._read == self.end and not self._complete):
            self._changed.clear()
            await self._changed.wait()
        at = self._read - self._start
        audio = bytes(self._kept[at : at + self._piece_octets])
        self._read += len(audio)
        self._room.set()
        return audio or None

    def stop(self) -> None:
        """Give nothing out."""
        self._stopped = True

    def resume(self, heard: int) -> int:
        """Give out again what comes after `heard`, beginning a little earlier.

        Args:
            heard: where hearing stopped.

        Returns:
            Where it begins.
        """
        self._stopped = False
        # What is over has not to be repeated; hearing is counted in whole milliseconds.
        over = heard + self._block_octets > self.end
        self._read = self.end if over else self._taken_up(heard)
        self._changed.set()
        return self._read

    def forget(self, heard: int) -> None:
        """What was heard need not be kept, except for what may be stepped back to."""
        blocks = (heard - self._start) // self._block_octets - _KEPT_BLOCKS
        # Not at every piece, since what stays is moved.
        if blocks > _KEPT_BLOCKS:
            del self._kept[: blocks * self._block_octets]
            del self._levels[:blocks]
            self._start += blocks * self._block_octets

    def levels(self, until: int, count: int) -> list[float]:
        """The levels of the `count` blocks before position `until`, or as many as there are."""
        end = max(0, (until - self._start) // self._block_octets)
        return self._levels[max(0, end - count) : end]

    def _taken_up(self, heard: int) -> int:
        """Where to begin again, so that no word is missed."""
        end = max(0, (heard - self._start) // self._block_octets)
        back = max(0, end - _STEP_BACK_BLOCKS)
        first = max(0, end - _PAUSE_WITHIN_BLOCKS)
        lately = self._levels[max(0, end - _KEPT_BLOCKS) : end]
        soft_dbfs = max(lately, default=SILENCE_DBFS) - _PAUSE_BELOW_DB
        pauses = (at for at in range(end - 1, first - 1, -1) if self._levels[at] <= soft_dbfs)
        return self._start + next(pauses, back) * self._block_octets
