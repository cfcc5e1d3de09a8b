"""What a carrier does with the audio it is sent: buffers it and plays it in real time.

One octet is one sample: mu-law at 8 kHz, whatever is spoken on the wire. Time is an argument,
and it is cut into samples: `line position` n is the moment `origin_ns` + n * 125 us. Audio that
arrives while nothing is playing starts at the next line position.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from voicecall.clock import NS_PER_MS, NS_PER_S

LINE_HZ = 8000
SAMPLE_NS = NS_PER_S // LINE_HZ
FRAME_MS = 20
FRAME_OCTETS = LINE_HZ * FRAME_MS // 1000
SILENCE = b"\xff"
"""Mu-law silence."""

_PREBUFFER_NS = 60 * NS_PER_MS
_SAME_UTTERANCE_NS = NS_PER_S
_MAX_MARKS = 4096
_MAX_GAPS = 1024
_MAX_LATENESSES = 16384


@dataclass(slots=True)
class PlayoutStats:
    """What has come from the other side, and how well in time.

    Attributes:
        messages: media messages received.
        octets: their audio.
        marks: mark messages received.
        clears: clear messages received.
        underruns: times the buffer ran dry inside an utterance.
        gaps_ms: how long the caller heard nothing at each underrun; the latest 1024.
        late: media messages that came after a player with 60 ms of pre-buffer had run dry.
        lateness_ms: of each media message, against the moment such a player needed it; negative is
            early. The latest 16384.
        cleared_ns: when each clear came; the latest 1024.
        refused_octets: audio beyond the buffer's capacity, thrown away.
        refused_marks: marks beyond 4096 waiting ones, thrown away.
        lost_marks: marks that a clear threw away, where the carrier does not return them.
        forgotten_octets: played audio that nobody took in time.
    """

    messages: int = 0
    octets: int = 0
    marks: int = 0
    clears: int = 0
    underruns: int = 0
    gaps_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_GAPS))
    late: int = 0
    lateness_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_LATENESSES))
    cleared_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_MAX_GAPS))
    refused_octets: int = 0
    refused_marks: int = 0
    lost_marks: int = 0
    forgotten_octets: int = 0

    @property
    def frames(self) -> int:
        """Whole frames of 20 ms received."""
        return self.octets // FRAME_OCTETS


@dataclass(frozen=True, slots=True)
class MarkEcho:
    """A mark whose moment has come; `due_ns` is that moment."""

    name: str
    due_ns: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Audio as it was played, without a break, from line position `position` on."""

    position: int
    audio: bytes


class PlayoutBuffer:
    """One stream's playout.

    Times must not run backwards from call to call.

    Args:
        origin_ns: the moment of line position 0.
        stats: where to count; shared by the successive streams of one call.
        capacity_ms: how much audio may wait; more is thrown away and counted.
        keep_ms: how much played audio waits for `take_played`; beyond it the oldest is forgotten
            and counted.
        marks_after_clear: whether a clear returns the marks that wait, or loses them.
    """

    def __init__(
        self,
        origin_ns: int,
        *,
        stats: PlayoutStats | None = None,
        capacity_ms: int = 600_000,
        keep_ms: int = 60_000,
        marks_after_clear: bool = True,
    ) -> None:
        self.stats = stats or PlayoutStats()
        self._origin_ns = origin_ns
        self._capacity_octets = capacity_ms * LINE_HZ // 1000
        self._keep_octets = keep_ms * LINE_HZ // 1000
        self._marks_after_clear = marks_after_clear
        self._waiting: deque[bytes] = deque()
        self._waiting_octets = 0
        # Line position behind the last sample that was played or waits.
        self._end = 0
        # Whether the sender has said, by a mark or a clear, that nothing follows seamlessly.
        self._finished = True
        self._marks: deque[tuple[int, str]] = deque()
        self._echoes: list[MarkEcho] = []
        self._played: deque[Stretch] = deque()
        self._played_octets = 0
        self._prebuffered_end_ns: int | None = None

    @property
    def waiting_ms(self) -> float:
        """How much audio waits to be played."""
        return self._waiting_octets * 1000 / LINE_HZ

    @property
    def next_mark_ns(self) -> int | None:
        """When the next mark falls due; None when no mark waits."""
        if self._echoes:
            return self._echoes[0].due_ns
        return self._moment_ns(self._marks[0][0]) if self._marks else None

    def receive(self, audio: bytes, now_ns: int) -> None:
        """Put the audio of one media message behind what waits."""
        self._play(now_ns)
        self.stats.messages += 1
        self.stats.octets += len(audio)
        room = self._capacity_octets - self._waiting_octets
        if len(audio) > room:
            self.stats.refused_octets += len(audio) - room
            audio = audio[:room]
        if audio:
            self._judge_lateness(len(audio), now_ns)
            if not self._waiting_octets:
                self._begin_run(now_ns)
            self._waiting.append(audio)
            self._waiting_octets += len(audio)
            self._end += len(audio)
            self._finished = False

    def mark(self, name: str, now_ns: int) -> None:
        """Put a mark behind what waits; with nothing waiting it is due at once."""
        self._play(now_ns)
        self.stats.marks += 1
        self._finished = True
        if not self._waiting_octets:
            self._echoes.append(MarkEcho(name, now_ns))
        elif len(self._marks) < _MAX_MARKS:
            self._marks.append((self._end, name))
        else:
            self.stats.refused_marks += 1

    def clear(self, now_ns: int) -> None:
        """Throw away what waits; every waiting mark is due at once, or lost."""
        self._play(now_ns)
        self.stats.clears += 1
        self.stats.cleared_ns.append(now_ns)
        self._end -= self._waiting_octets
        self._waiting.clear()
        self._waiting_octets = 0
        self._finished = True
        self._prebuffered_end_ns = None
        if self._marks_after_clear:
            self._echoes += [MarkEcho(name, now_ns) for _, name in self._marks]
        else:
            self.stats.lost_marks += len(self._marks)
        self._marks.clear()

    def play_until(self, now_ns: int) -> list[MarkEcho]:
        """Play up to `now_ns`.

        Returns:
            The marks that have fallen due since the last call, in order.
        """
        self._play(now_ns)
        echoes, self._echoes = self._echoes, []
        return echoes

    def take_played(self) -> list[Stretch]:
        """What has been played since the last call, in order; the caller owns it."""
        played = list(self._played)
        self._played.clear()
        self._played_octets = 0
        return played

    def line_position(self, now_ns: int) -> int:
        """How many samples fit between the origin and `now_ns`."""
        return (now_ns - self._origin_ns) // SAMPLE_NS

    def _moment_ns(self, position: int) -> int:
        return self._origin_ns + position * SAMPLE_NS

    def _begin_run(self, now_ns: int) -> None:
        start = -((self._origin_ns - now_ns) // SAMPLE_NS)
        gap_ns = (start - self._end) * SAMPLE_NS
        if not self._finished and 0 < gap_ns < _SAME_UTTERANCE_NS:
            self.stats.underruns += 1
            self.stats.gaps_ms.append(gap_ns / NS_PER_MS)
        self._end = start

    def _judge_lateness(self, octets: int, now_ns: int) -> None:
        needed_ns = self._prebuffered_end_ns
        same_ns = 0 if self._finished else _SAME_UTTERANCE_NS - 1
        if needed_ns is None or now_ns - needed_ns > same_ns:
            needed_ns = now_ns + _PREBUFFER_NS
        self.stats.lateness_ms.append((now_ns - needed_ns) / NS_PER_MS)
        if now_ns > needed_ns:
            self.stats.late += 1
            needed_ns = now_ns + _PREBUFFER_NS
        self._prebuffered_end_ns = needed_ns + octets * SAMPLE_NS

    def _play(self, now_ns: int) -> None:
        position = self.line_position(now_ns)
        start = self._end - self._waiting_octets
        octets = min(self._waiting_octets, position - start)
        if octets > 0:
            self._keep(Stretch(start, self._take_waiting(octets)))
        while self._marks and self._marks[0][0] <= position:
            due, name = self._marks.popleft()
            self._echoes.append(MarkEcho(name, self._moment_ns(due)))

    def _take_waiting(self, octets: int) -> bytes:
        self._waiting_octets -= octets
        taken: list[bytes] = []
        while octets:
            piece = self._waiting.popleft()
            if len(piece) > octets:
                self._waiting.appendleft(piece[octets:])
                piece = piece[:octets]
            taken.append(piece)
            octets -= len(piece)
        return b"".join(taken)

    def _keep(self, stretch: Stretch) -> None:
        self._played.append(stretch)
        self._played_octets += len(stretch.audio)
        while self._played_octets > self._keep_octets and len(self._played) > 1:
            oldest = len(self._played.popleft().audio)
            self._played_octets -= oldest
            self.stats.forgotten_octets += oldest
