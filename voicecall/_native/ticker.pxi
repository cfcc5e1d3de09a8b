# Ticker: one pass over all legs that are due, so that no leg needs a timer of its own.

cdef class Ticker:
    """Drives every stream of one event loop; streams are spread evenly over the period.

    Args:
        period_ms: how often each stream is served.
        tick_ms: how often `tick` is meant to be called; it divides the period.
    """
    cdef list _slots                 # one list of streams for each tick of the period
    cdef int _turn
    cdef readonly int period_ms
    cdef readonly int tick_ms
    cdef readonly int64_t ticks

    def __cinit__(self, period_ms: int = 20, tick_ms: int = 5):
        if not 0 < tick_ms <= period_ms or period_ms % tick_ms:
            raise ValueError("tick_ms has to divide period_ms")
        self.period_ms = period_ms
        self.tick_ms = tick_ms
        self._slots = [[] for _ in range(period_ms // tick_ms)]

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots)

    @property
    def slots(self) -> int:
        """Ticks that make one period."""
        return len(self._slots)

    def add(self, MediaStream stream not None):
        """Serve `stream` from now on, in the tick that serves the fewest."""
        cdef int best = 0
        cdef int i
        if stream._slot >= 0:
            return
        for i in range(1, len(self._slots)):
            if len(self._slots[i]) < len(self._slots[best]):
                best = i
        stream._slot = best
        stream._index = len(self._slots[best])
        self._slots[best].append(stream)

    def discard(self, MediaStream stream not None):
        """Serve `stream` no longer; one that is not served here stays as it is."""
        cdef list slot
        cdef MediaStream last
        if not 0 <= stream._slot < len(self._slots):
            return
        slot = self._slots[stream._slot]
        if stream._index >= len(slot) or slot[stream._index] is not stream:
            return
        last = slot.pop()
        if last is not stream:
            slot[stream._index] = last
            last._index = stream._index
        stream._slot = -1

    def tick(self, int64_t now_ns) -> int:
        """Serve the streams whose turn it is; how many. A stream that fails is told, not raised."""
        # A stream may leave while it is served, which moves another one: so from the end.
        cdef list slot = self._slots[self._turn]
        cdef Py_ssize_t served = len(slot)
        cdef Py_ssize_t i = served
        cdef MediaStream stream
        self._turn = (self._turn + 1) % len(self._slots)
        self.ticks += 1
        while i > 0:
            i -= 1
            if i >= len(slot):
                continue
            stream = slot[i]
            try:
                stream.pump(now_ns)
            except Exception as error:
                if stream._handler is not None:
                    stream._handler.on_failure(error)
        return served
