"""The pacer frame by frame, over one long row of octets."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
MAX_ITEMS = 4096


class Pacer:
    """Same methods and counters as `voicecall._codec.Pacer`."""

    def __init__(
        self,
        octets_per_second: int,
        silence: int,
        frame_ms: int = 20,
        lead_ms: int = 160,
        group: int = 0,
        capacity_ms: int = 10000,
    ) -> None:
        self._rate = octets_per_second
        self._silence = bytes([silence])
        self._frame_ns = frame_ms * NS_PER_MS
        self._lead_ns = lead_ms * NS_PER_MS
        self._capacity = octets_per_second * capacity_ms // 1000
        self._waiting = b""
        self._ends: list[int] = []  # where the pieces end that are not sent completely
        self._marks: list[tuple[int, str]] = []
        self._open = False
        self._ready_ns = 0
        self._dry_noticed = False
        self.head_ns = 0
        self.frame_octets = octets_per_second * frame_ms // 1000
        # 60 ms are to stay at the carrier while it waits for the next message.
        self.group = group or min(5, max(1, (lead_ms - 60) // frame_ms))
        self.written_octets = self.sent_octets = self.frames_sent = 0
        self.late = self.worst_late_ns = self.starved = 0

    @property
    def queued_octets(self) -> int:
        return len(self._waiting)

    def write(self, audio: bytes, now_ns: int) -> bool:
        if not audio:
            return True
        if len(self._waiting) + len(audio) > self._capacity or len(self._ends) >= MAX_ITEMS:
            return False
        if not self._whole() and self.head_ns < now_ns:
            if self._open and not self._dry_noticed:
                self.starved += 1
            self._dry_noticed = True
        self._append(audio, now_ns)
        self._open = True
        return True

    def finish(self, now_ns: int) -> None:
        missing = -len(self._waiting) % self.frame_octets
        if missing:
            self._append(self._silence * missing, now_ns)
        self._open = False

    def mark(self, name: str) -> None:
        self._marks.append((self.written_octets, name))

    def clear(self, now_ns: int) -> None:
        self._waiting = b""
        self._ends = []
        self._marks = []
        self.sent_octets = self.written_octets
        self.head_ns = now_ns
        self._open = False
        self._dry_noticed = False

    def played_octets(self, now_ns: int) -> int:
        unplayed = max(0, self.head_ns - now_ns) * self._rate // NS_PER_S
        return max(0, self.sent_octets - unplayed)

    def pump(self, now_ns: int) -> list[bytes | str]:
        out: list[bytes | str] = []
        while True:
            if self._mark_due():
                out.append(self._marks.pop(0)[1])
                continue
            late_ns = now_ns - self.head_ns if self._ready_ns <= self.head_ns else 0
            made_up_for = 0 < late_ns <= self._frame_ns
            begin_ns = self.head_ns if made_up_for else max(self.head_ns, now_ns)
            if not self._whole() or begin_ns + self.group * self._frame_ns > now_ns + self._lead_ns:
                return out
            if late_ns > 0:
                self.late += 1
                self.worst_late_ns = max(self.worst_late_ns, late_ns)
            self.head_ns = begin_ns
            out.append(self._message())

    def _message(self) -> bytes:
        message = self._frame()
        while len(message) < self.group * self.frame_octets and self._whole():
            if self._marks and self._marks[0][0] <= self.sent_octets:
                break
            message += self._frame()
        return message

    def _frame(self) -> bytes:
        frame = self._waiting[: self.frame_octets]
        self._waiting = self._waiting[self.frame_octets :]
        self.sent_octets += len(frame)
        self._ends = [end for end in self._ends if end > self.sent_octets]
        self.frames_sent += 1
        self.head_ns += self._frame_ns
        self._dry_noticed = False
        return frame

    def _append(self, audio: bytes, now_ns: int) -> None:
        was_whole = self._whole()
        self._waiting += audio
        self.written_octets += len(audio)
        self._ends.append(self.written_octets)
        if self._whole() and not was_whole:
            self._ready_ns = now_ns

    def _whole(self) -> bool:
        return len(self._waiting) >= self.frame_octets

    def _mark_due(self) -> bool:
        reached = bool(self._marks) and self._marks[0][0] <= self.sent_octets
        return reached and (self._whole() or not self._open)
