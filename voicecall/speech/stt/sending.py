"""Audio on its way to a recogniser elsewhere: what waits, and when what was sent was spoken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from voicecall.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from voicecall.ports import AudioFormat

_MAX_STRETCHES = 64
# Networks jitter; a hole in the audio is longer.
_JITTER_NS = 20 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of the caller's audio, without a hole.

    Attributes:
        audio: coded; may be empty.
        until_ns: when its last sample was spoken, on the monotonic clock.
        ends_turn: the caller has finished with it.
    """

    audio: bytes
    until_ns: int
    ends_turn: bool = False


class Backlog:
    """Audio that waits for a connection.

    Overflow rule: beyond `limit_ms` the oldest is dropped and counted; that a turn ended with it is
    remembered.

    Args:
        audio: how it is coded.
        limit_ms: how much is kept.

    Attributes:
        dropped_octets: because there was too much.
        stale_octets: because it was too old.
    """

    def __init__(self, audio: AudioFormat, limit_ms: int) -> None:
        self._limit_octets = limit_ms * audio.octets_per_second // 1000
        self._pieces: deque[Piece] = deque()
        self._octets = 0
        self._ends = 0
        self.dropped_octets = 0
        self.stale_octets = 0

    @property
    def octets(self) -> int:
        """How much waits."""
        return self._octets

    @property
    def ends_turn(self) -> bool:
        """Whether a turn ends with something that waits."""
        return self._ends > 0

    def push(self, piece: Piece) -> None:
        """Add the newest."""
        self._pieces.append(piece)
        self._octets += len(piece.audio)
        self._ends += piece.ends_turn
        ended: Piece | None = None
        while self._octets > self._limit_octets:
            oldest = self._popleft()
            self.dropped_octets += len(oldest.audio)
            ended = oldest if oldest.ends_turn else ended
        if ended is not None:
            self.put_back(replace(ended, audio=b""))

    def put_back(self, piece: Piece) -> None:
        """Have `piece` sent before everything that waits."""
        self._pieces.appendleft(piece)
        self._octets += len(piece.audio)
        self._ends += piece.ends_turn

    def forget_before(self, ns: int) -> None:
        """Drop what was spoken before `ns`, and count it."""
        while self._pieces and self._pieces[0].until_ns <= ns:
            self.stale_octets += len(self._popleft().audio)

    def take(self) -> Piece | None:
        """Everything up to the next end of a turn, or up to now, as one piece; None for nothing."""
        if not self._pieces:
            return None
        audio = []
        while True:
            piece = self._popleft()
            audio.append(piece.audio)
            if piece.ends_turn or not self._pieces:
                return replace(piece, audio=b"".join(audio))

    def _popleft(self) -> Piece:
        piece = self._pieces.popleft()
        self._octets -= len(piece.audio)
        self._ends -= piece.ends_turn
        return piece


class Positions:
    """When the audio at a position in a session was spoken: recognisers date by position.

    Memory is bounded: of stretches without a hole the last 64 are known.

    Args:
        audio: how it is coded.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self._octets_per_second = audio.octets_per_second
        self._sent_octets = 0
        # (position of the first sample, when it was spoken), both in nanoseconds.
        self._stretches: deque[tuple[int, int]] = deque(maxlen=_MAX_STRETCHES)

    @property
    def sent_ns(self) -> int:
        """How much has been sent."""
        return self._sent_octets * NS_PER_S // self._octets_per_second

    def sent(self, piece: Piece) -> None:
        """`piece` is sent now."""
        duration_ns = len(piece.audio) * NS_PER_S // self._octets_per_second
        position_ns, spoken_ns = self.sent_ns, piece.until_ns - duration_ns
        expected_ns = self._spoken(position_ns)
        if expected_ns is None or abs(spoken_ns - expected_ns) > _JITTER_NS:
            self._stretches.append((position_ns, spoken_ns))
        self._sent_octets += len(piece.audio)

    def date(self, position_ms: float, now_ns: int) -> int:
        """When what is at `position_ms` was spoken; not later than `now_ns`."""
        spoken_ns = self._spoken(round(position_ms * NS_PER_MS))
        return now_ns if spoken_ns is None else min(now_ns, spoken_ns)

    def _spoken(self, position_ns: int) -> int | None:
        if not self._stretches:
            return None
        for begin_ns, spoken_ns in reversed(self._stretches):
            if begin_ns <= position_ns:
                return spoken_ns + position_ns - begin_ns
        begin_ns, spoken_ns = self._stretches[0]
        return spoken_ns + position_ns - begin_ns
