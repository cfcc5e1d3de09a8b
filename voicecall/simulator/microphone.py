"""What the simulated caller says, on its way to the line."""

from __future__ import annotations

from collections import deque

from voicecall.errors import CodecError
from voicecall.simulator.playout import FRAME_OCTETS, LINE_HZ, SILENCE

MAX_WAITING_MS = 600_000
"""Longer speeches are refused."""

_MAX_WAITING_OCTETS = MAX_WAITING_MS * LINE_HZ // 1000
_SILENT_FRAME = SILENCE * FRAME_OCTETS


class Microphone:
    """Mu-law speech cut into frames of 20 ms; silence when nobody talks.

    Positions count octets of speech since the beginning, the padding of last frames included.
    """

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self.written = 0
        self.sent = 0

    @property
    def talking(self) -> bool:
        """Whether speech waits."""
        return bool(self._frames)

    def speak(self, audio: bytes) -> int:
        """Add one utterance.

        Args:
            audio: mu-law of any length; its last frame is filled up with silence.

        Returns:
            The position at its end; it has been said once `sent` is there.

        Raises:
            CodecError: more than ten minutes would wait.
        """
        if self.written - self.sent + len(audio) > _MAX_WAITING_OCTETS:
            raise CodecError("more than ten minutes of speech would wait")
        for start in range(0, len(audio), FRAME_OCTETS):
            self._frames.append(audio[start : start + FRAME_OCTETS].ljust(FRAME_OCTETS, SILENCE))
            self.written += FRAME_OCTETS
        return self.written

    def next_frame(self) -> bytes:
        """The next 20 ms for the line."""
        if not self._frames:
            return _SILENT_FRAME
        self.sent += FRAME_OCTETS
        return self._frames.popleft()

    def stop(self) -> None:
        """Fall silent in the middle of what is being said."""
        self._frames.clear()
        self.sent = self.written
