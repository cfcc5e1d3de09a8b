"""The native buffers and their twins driven side by side, step by step, with virtual time.

Each driver compares every answer and counter, and checks what has to hold whatever happens. The
property tests and the fuzz targets feed them.
"""

from typing import Any

from tests.native.reference.jitter import NUMBERS
from tests.native.reference.jitter import JitterBuffer as SlowJitterBuffer
from tests.native.reference.pacer import Pacer as SlowPacer
from tests.native.reference.stream import MediaStream as SlowMediaStream
from voicecall._codec import (
    CallableOutlet,
    JitterBuffer,
    MediaStream,
    Pacer,
    WireFormat,
    Workspace,
)
from voicecall.errors import CodecError
from voicecall.ports import Encoding

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

JITTER_COUNTERS = ("delivered", "reordered", "duplicates", "late", "lost", "restarts", "held")
PACER_COUNTERS = (
    "frame_octets",
    "group",
    "queued_octets",
    "written_octets",
    "sent_octets",
    "frames_sent",
    "late",
    "worst_late_ns",
    "starved",
)


class JitterDriver:
    """Pushes messages whose audio tells which push it was.

    `heard` holds those indices, and negative numbers of lost messages, of the present numbering.
    """

    def __init__(self, jitter_ms: int, now_ns: int = NS_PER_S) -> None:
        self.now_ns = now_ns
        self.native = JitterBuffer(jitter_ms)
        self._slow = SlowJitterBuffer(jitter_ms)
        self._jitter_ns = jitter_ms * NS_PER_MS
        self._numbers: list[int] = []  # by push
        self._arrivals_ns: list[int] = []
        self._delivered: set[int] = set()
        self._position: int | None = None  # the number that was delivered or given up last

    def advance_ms(self, ms: float) -> None:
        self.now_ns += round(ms * NS_PER_MS)

    def push(self, number: int) -> list[bytes | int]:
        audio = len(self._numbers).to_bytes(4, "little")
        self._numbers.append(number)
        self._arrivals_ns.append(self.now_ns)
        restarts = self.native.restarts
        out = self.native.push(number, audio, self.now_ns)
        assert out == self._slow.push(number, audio, self.now_ns)
        self._account(out, restarted=self.native.restarts > restarts)
        return out

    def expire(self) -> list[bytes | int]:
        out = self.native.expire(self.now_ns)
        assert out == self._slow.expire(self.now_ns)
        self._account(out, restarted=False)
        return out

    def numbers(self, out: list[bytes | int]) -> list[int | None]:
        """The numbers of the messages in `out`; None for a gap."""
        return [None if isinstance(item, int) else self._numbers[push_of(item)] for item in out]

    def _account(self, out: list[bytes | int], *, restarted: bool) -> None:
        for counter in JITTER_COUNTERS:
            assert getattr(self.native, counter) == getattr(self._slow, counter), counter
        for item in out:
            if isinstance(item, int):
                assert item > 0
                self._advance(item)
            else:
                self._hear(push_of(item), restarted=restarted)
        native = self.native
        dropped = native.duplicates + native.late
        assert native.delivered + dropped + native.held == len(self._numbers)
        assert native.held < 32

    def _hear(self, push: int, *, restarted: bool) -> None:
        assert push not in self._delivered, "delivered twice"
        self._delivered.add(push)
        number = self._numbers[push] % NUMBERS
        # The message that makes a new numbering is the last one pushed.
        if self._position is None or (restarted and push == len(self._numbers) - 1):
            self._position = number
        else:
            self._advance(1)
            assert number == self._position, "out of order"
        assert self.now_ns >= self._arrivals_ns[push]

    def _advance(self, messages: int) -> None:
        assert self._position is not None
        self._position = (self._position + messages) % NUMBERS

    def assert_nothing_overstayed(self) -> None:
        """Right after `expire`: whatever is still held has come less than jitter_ms ago."""
        recent = [at for at in self._arrivals_ns if self.now_ns - at < self._jitter_ns]
        assert self.native.held <= len(recent)


def push_of(audio: bytes) -> int:
    return int.from_bytes(audio, "little")


class PacerDriver:
    """Writes octets that tell their position, so that what comes out can be placed.

    Every `pump` is checked against what the carrier has to play by then.
    """

    def __init__(
        self,
        octets_per_second: int = 8000,
        silence: int = 0xFF,
        frame_ms: int = 20,
        lead_ms: int = 160,
        group: int = 0,
        capacity_ms: int = 10000,
    ) -> None:
        settings = (octets_per_second, silence, frame_ms, lead_ms, group, capacity_ms)
        self.now_ns = NS_PER_S
        self.native = Pacer(*settings)
        self._slow = SlowPacer(*settings)
        self.lead_ms = lead_ms
        self._capacity = octets_per_second * capacity_ms // 1000
        self.rate = octets_per_second
        self._silence = silence
        self._marks: dict[str, int] = {}
        self._expected = b""  # what has to come out next
        self.sent = b""
        self.marks_out: list[tuple[str, int]] = []

    @property
    def head_ns(self) -> int:
        """When the carrier runs dry."""
        return self._slow.head_ns

    @property
    def ahead_ns(self) -> int:
        return max(0, self.head_ns - self.now_ns)

    def advance_ms(self, ms: float) -> None:
        before = self.native.played_octets(self.now_ns)
        self.now_ns += round(ms * NS_PER_MS)
        played = self.native.played_octets(self.now_ns)
        assert before <= played <= self.native.sent_octets
        assert played == self._slow.played_octets(self.now_ns)

    def write(self, octets: int) -> bool:
        start = self.native.written_octets
        audio = bytes((start + i) * 7 % 251 for i in range(octets))
        room = self.native.queued_octets + octets <= self._capacity
        taken = self.native.write(audio, self.now_ns)
        assert taken == self._slow.write(audio, self.now_ns)
        assert room or not octets or not taken
        if taken:
            self._expected += audio
        self._compare()
        return taken

    def finish(self) -> None:
        before = self.native.written_octets
        self.native.finish(self.now_ns)
        self._slow.finish(self.now_ns)
        padding = self.native.written_octets - before
        assert 0 <= padding < self.native.frame_octets
        assert self.native.queued_octets % self.native.frame_octets == 0
        self._expected += bytes([self._silence]) * padding
        self._compare()

    def mark(self) -> str:
        name = f"m{len(self._marks)}"
        self._marks[name] = self.native.written_octets
        self.native.mark(name)
        self._slow.mark(name)
        return name

    def clear(self) -> None:
        self.native.clear(self.now_ns)
        self._slow.clear(self.now_ns)
        self._expected = b""
        assert self.native.queued_octets == 0
        assert self.native.sent_octets == self.native.written_octets
        self._compare()

    def pump(self) -> list[bytes | str]:
        out = self.native.pump(self.now_ns)
        assert out == self._slow.pump(self.now_ns)
        frame = self.native.frame_octets
        position = self.native.sent_octets - sum(len(i) for i in out if isinstance(i, bytes))
        for item in out:
            if isinstance(item, str):
                # In the frame it falls in: neither before the position nor a frame behind it.
                assert 0 <= position - self._marks[item] < frame
                self.marks_out.append((item, position))
                continue
            assert item
            assert len(item) % frame == 0
            assert len(item) <= frame * self.native.group
            assert self._expected.startswith(item)
            self._expected = self._expected[len(item) :]
            position += len(item)
            self.sent += item
        assert self.ahead_ns <= self.lead_ms * NS_PER_MS, "too far ahead"
        assert self.native.pump(self.now_ns) == [], "a second pump at the same time"
        self._compare()
        return out

    def _compare(self) -> None:
        for counter in PACER_COUNTERS:
            assert getattr(self.native, counter) == getattr(self._slow, counter), counter
        assert self.native.queued_octets == len(self._expected)


WIRE = WireFormat(
    b'{"event":"media","streamSid":"MZ0","media":{"payload":"',
    b'"}}',
    b'{"event":"mark","streamSid":"MZ0","mark":{"name":"',
    b'"}}',
    b'{"event":"clear","streamSid":"MZ0"}',
)
STREAM_COUNTERS = (
    "messages",
    "faults",
    "media_in",
    "octets_in",
    "concealed",
    "media_out",
    "octets_out",
)


class StreamDriver:
    """A whole stream, with a handler that takes every `event` but those beginning with `bad`."""

    def __init__(
        self,
        encoding: Encoding | None,
        jitter_ms: int = 60,
        *,
        coded: bool,
        swaps: tuple[bool, bool] = (False, False),
    ) -> None:
        self.now_ns = NS_PER_S
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self._alarms = 0
        self._marks = 0
        self.native = MediaStream(Workspace(), self, jitter_ms)
        self._slow = SlowMediaStream(self.on_message, jitter_ms)
        self.native.connect(CallableOutlet(self.sent.append))
        self.native.listen(self.heard.append, coded)
        self._slow.listen(coded=coded)
        if encoding is not None:
            line = (16000, 0) if encoding == "pcm16" else (8000, 0xFF)
            swaps_in, swaps_out = swaps
            self.native.begin(encoding, WIRE, Pacer(*line), swaps_in, swaps_out)
            self._slow.begin(
                encoding, WIRE, SlowPacer(*line), swaps_in=swaps_in, swaps_out=swaps_out
            )

    def on_message(self, message: dict[str, Any]) -> None:
        if message["event"].startswith("bad"):
            raise CodecError("bad")

    def on_faults(self) -> None:
        self._alarms += 1

    def on_room(self) -> None:
        """Asked for only after a refusal, which the twin is compared on."""

    def on_failure(self, error: Exception) -> None:
        raise error

    def advance_ms(self, ms: float) -> None:
        self.now_ns += round(ms * NS_PER_MS)

    def receive(self, message: bytes) -> None:
        self.native.receive(message, self.now_ns)
        self._slow.receive(message, self.now_ns)
        self._compare()

    def write(self, audio: bytes) -> None:
        assert self.native.write(audio, self.now_ns) == self._slow.write(audio, self.now_ns)
        self._compare()

    def finish(self) -> None:
        self._marks += 1
        self.native.finish(self.now_ns, f"m{self._marks}")
        self._slow.finish(self.now_ns, f"m{self._marks}")
        self._compare()

    def clear(self) -> None:
        self.native.clear(self.now_ns)
        self._slow.clear(self.now_ns)
        self._compare()

    def pump(self) -> None:
        self.native.pump(self.now_ns)
        self._slow.pump(self.now_ns)
        self._compare()

    def _compare(self) -> None:
        assert self.sent == self._slow.sent
        assert self.heard == self._slow.heard
        assert self._alarms == self._slow.fault_alarms
        for counter in STREAM_COUNTERS:
            assert getattr(self.native, counter) == getattr(self._slow, counter), counter
        for kept in (self.sent, self.heard, self._slow.sent, self._slow.heard):
            kept.clear()
