"""The jitter buffer as a list that is sorted whenever something changes."""

SLOTS = 32
MISORDER = 128
REMEMBERED = 64
NUMBERS = 2**32
NS_PER_MS = 1_000_000
CONCEAL_FRAMES = 3


class JitterBuffer:
    """Same methods and counters as `voicecall._codec.JitterBuffer`."""

    def __init__(self, jitter_ms: int) -> None:
        self._jitter_ns = jitter_ms * NS_PER_MS
        self._next: int | None = None
        self._waiting: list[tuple[int, bytes, int]] = []  # number, audio, arrival
        self._recent: list[int] = []
        self.delivered = self.reordered = self.duplicates = self.late = self.lost = 0
        self.restarts = 0

    @property
    def held(self) -> int:
        return len(self._waiting)

    def push(self, number: int, audio: bytes, now_ns: int) -> list[bytes | int]:
        if self._next is None:
            self._next = number % NUMBERS
        out: list[bytes | int] = []
        ahead = self._distance(number)
        if ahead < -MISORDER or ahead >= SLOTS:
            out += self._release(now_ns, give_up=True)
            self._next = number % NUMBERS
            self._recent = []
            self.restarts += 1
            ahead = 0
        if ahead == 0:
            out.append(audio)
            self._deliver()
        elif ahead < 0:
            self._drop(ahead)
        elif any(self._distance(other) == ahead for other, _, _ in self._waiting):
            self.duplicates += 1
        else:
            self._waiting.append((number, audio, now_ns))
        return out + self._release(now_ns)

    def expire(self, now_ns: int) -> list[bytes | int]:
        return self._release(now_ns)

    def _distance(self, number: int) -> int:
        """Serial arithmetic of RFC 1982: from the next number to this one, -2^31 to 2^31 - 1."""
        assert self._next is not None
        return (number - self._next + NUMBERS // 2) % NUMBERS - NUMBERS // 2

    def _drop(self, ahead: int) -> None:
        assert self._next is not None
        seen = (self._next + ahead) % NUMBERS in self._recent and ahead >= -REMEMBERED
        if seen:
            self.duplicates += 1
        else:
            self.late += 1

    def _deliver(self) -> None:
        assert self._next is not None
        self._recent = [*self._recent[-MISORDER:], self._next]
        self._next = (self._next + 1) % NUMBERS
        self.delivered += 1

    def _release(self, now_ns: int, *, give_up: bool = False) -> list[bytes | int]:
        out: list[bytes | int] = []
        while self._waiting:
            self._waiting.sort(key=lambda packet: self._distance(packet[0]))
            number, audio, _ = self._waiting[0]
            missing = self._distance(number)
            if missing == 0:
                self._waiting.pop(0)
                out.append(audio)
                self._deliver()
                self.reordered += 1
            elif give_up or now_ns >= self._jitter_ns + min(at for _, _, at in self._waiting):
                out.append(missing)
                self.lost += missing
                self._next = number % NUMBERS
            else:
                break
        return out


def conceal(last: list[int], hole: int, samples: int) -> list[float]:
    """The last frame over and over, its volume falling evenly to nothing in three frames."""
    if not last:
        return [0.0] * samples
    steps = CONCEAL_FRAMES * samples
    return [
        last[i % len(last)] * max(0.0, 1 - (hole * samples + i) / steps) for i in range(samples)
    ]
