"""What the simulated caller hears: played audio as one unbroken line, and whether it is speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from voicecall.clock import NS_PER_MS
from voicecall.simulator.playout import SILENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voicecall.simulator.playout import Stretch

_LOUD_RMS = 180.0
"""About -45 dBFS: well under speech on a telephone, well over the noise of an idle line."""
_PAUSE_NS = 700 * NS_PER_MS
"""A pause between two sentences; who is silent for longer has stopped talking."""


class Earpiece:
    """Joins stretches of playout to a continuous line, silence filling the time between them."""

    def __init__(self) -> None:
        self.position = 0

    def render(self, stretches: Iterable[Stretch], until: int) -> bytes:
        """The line from where the last call ended up to line position `until`.

        Args:
            stretches: what was played in that time, in order.
            until: not before the end of the last stretch.

        Returns:
            Mu-law, one octet for each line position.
        """
        line = bytearray()
        begin = self.position
        for stretch in stretches:
            line += SILENCE * (stretch.position - begin - len(line))
            line += stretch.audio
        line += SILENCE * (until - begin - len(line))
        self.position = begin + len(line)
        return bytes(line)


class TalkMeter:
    """Tells from the level how long the other side has been talking, or silent.

    Args:
        now_ns: since when silence counts.
    """

    def __init__(self, now_ns: int) -> None:
        self._quiet_since_ns = now_ns
        self._talking_since_ns: int | None = None
        self.loud_until_ns: int | None = None

    def feed(self, pcm: bytes, end_ns: int) -> None:
        """Take the next PCM16 audio, whose last sample was at `end_ns`."""
        if self._is_loud(pcm):
            if self._talking_since_ns is None:
                self._talking_since_ns = end_ns
            self.loud_until_ns = self._quiet_since_ns = end_ns
        elif end_ns - self._quiet_since_ns > _PAUSE_NS:
            self._talking_since_ns = None

    def begin_turn(self) -> None:
        """Count talking anew: the next sound begins it."""
        self._talking_since_ns = None

    def quiet_ms(self, now_ns: int) -> float:
        """How long nothing has been heard."""
        return (now_ns - self._quiet_since_ns) / NS_PER_MS

    def talking_ms(self, now_ns: int) -> float:
        """How long the other side has been talking, pauses of up to 700 ms included; 0 if not."""
        since_ns = self._talking_since_ns
        return 0.0 if since_ns is None else (now_ns - since_ns) / NS_PER_MS

    @staticmethod
    def _is_loud(pcm: bytes) -> bool:
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
        return samples.size > 0 and float(np.sqrt(np.mean(np.square(samples)))) >= _LOUD_RMS
