"""Who was audible on the line when: measured where the caller's ear is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from voicecall.audio import to_pcm16
from voicecall.clock import NS_PER_MS

if TYPE_CHECKING:
    from voicecall.simulator.stream import LineAudio

LOUD_DBFS = -42.0
SILENT_DBFS = -96.0
# Shorter pauses belong to the speech around them.
PAUSE_NS = 300 * NS_PER_MS
MAX_SPANS = 10_000


class LineTiming:
    """Levels of both sides now, and the spans of time in which the bot was audible.

    Attributes:
        caller_dbfs: level of the last frame the caller said.
        bot_dbfs: level of the last frame the caller heard.
        elapsed_ms: since the first frame.
    """

    def __init__(self) -> None:
        self.caller_dbfs = SILENT_DBFS
        self.bot_dbfs = SILENT_DBFS
        self.elapsed_ms = 0.0
        self._origin_ns: int | None = None
        self._spans: list[tuple[int, int]] = []

    def feed(self, line: LineAudio) -> None:
        """Take another 20 ms."""
        if self._origin_ns is None:
            self._origin_ns = line.spoken_ns
        self.elapsed_ms = (line.spoken_ns - self._origin_ns) / NS_PER_MS
        self.caller_dbfs = level_dbfs(to_pcm16(line.spoken, "ulaw"))
        self.bot_dbfs = level_dbfs(to_pcm16(line.heard, "ulaw"))
        if self.bot_dbfs >= LOUD_DBFS:
            self._note(line.heard_ns, line.heard_ns + len(line.heard) * 125_000)

    def answer_after_ms(self, ended_ns: int) -> float | None:
        """From `ended_ns` to the next sound of the bot; None when there is none."""
        later = [begin_ns for begin_ns, _ in self._spans if begin_ns >= ended_ns]
        return (later[0] - ended_ns) / NS_PER_MS if later else None

    def silent_after_ms(self, began_ns: int, ended_ns: int) -> float | None:
        """From the begin of an interruption to the last the bot was heard during it.

        Args:
            began_ns: the caller's first sound.
            ended_ns: the caller's last sound.

        Returns:
            None when the bot did not stop before the caller's last sound, or never talked.
        """
        heard = [end for begin, end in self._spans if begin < ended_ns and end > began_ns]
        if not heard or heard[-1] >= ended_ns:
            return None
        return (heard[-1] - began_ns) / NS_PER_MS

    def _note(self, begin_ns: int, end_ns: int) -> None:
        if self._spans and begin_ns - self._spans[-1][1] < PAUSE_NS:
            self._spans[-1] = (self._spans[-1][0], end_ns)
        elif len(self._spans) < MAX_SPANS:
            self._spans.append((begin_ns, end_ns))


def level_dbfs(pcm: bytes) -> float:
    """The level of PCM16 audio relative to a full-scale square wave, at least -96."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    if not samples.size:
        return SILENT_DBFS
    rms = float(np.sqrt(np.mean(np.square(samples))))
    return max(SILENT_DBFS, 20 * np.log10(rms / 32768)) if rms else SILENT_DBFS
