# Jitter buffer: a carrier's audio messages back in the order they were sent.
#
# What arrives in order goes on at once, untouched and uncopied. Only behind a gap are messages held,
# at most `jitter_ms`; then the gap is given up and reported, so that the hole can be concealed.
# Sequence arithmetic is serial (RFC 1982) over 32 bits, so that a wrap-around is nothing special; a
# jump further than the window can mean is a restart of the stream, which is how 16-bit counters wrap.

cdef enum:
    JITTER_SLOTS = 32        # messages that can be held: 640 ms of 20 ms messages
    JITTER_MISORDER = 128    # how far back a number is late; further back it is a restart
    CONCEAL_FRAMES = 3       # how many lost frames in a row are filled with sound

cdef enum Verdict:
    VERDICT_DELIVER = 0      # next in order: hand it on, then ask take_next()
    VERDICT_HELD = 1         # behind a gap: kept
    VERDICT_DROPPED = 2      # duplicate or late
    VERDICT_RESTART = 3      # a new numbering: take_next() with `give_up` first, then offer it again

cdef enum Release:
    RELEASE_NOTHING = 0
    RELEASE_PACKET = 1
    RELEASE_GAP = 2

cdef struct HeldPacket:
    uint8_t* audio           # owned; NULL when the slot is empty
    Py_ssize_t octets
    int64_t arrived_ns


cdef class JitterBuffer:
    """Puts one stream's audio messages in order.

    Args:
        jitter_ms: how long messages wait behind a gap, 0 to 1000.

    Attributes:
        delivered, reordered, duplicates, late, lost, restarts: messages counted since the start;
            `reordered` are delivered ones that had to wait, `lost` those whose gap was given up.
    """
    cdef int64_t _jitter_ns
    cdef uint32_t _next              # the number that would be in order
    cdef uint64_t _seen              # bit i: the message i+1 before _next was delivered
    cdef bint _started
    cdef int _held_count
    cdef HeldPacket* _held           # JITTER_SLOTS of them, indexed by number; made when first needed
    cdef readonly int64_t delivered
    cdef readonly int64_t reordered
    cdef readonly int64_t duplicates
    cdef readonly int64_t late
    cdef readonly int64_t lost
    cdef readonly int64_t restarts

    def __cinit__(self, jitter_ms: int = 60):
        if not 0 <= jitter_ms <= 1000:
            raise ValueError("jitter_ms is 0 to 1000")
        self._jitter_ns = jitter_ms * 1000000
        self._held = NULL
        self._held_count = 0
        self._started = False
        self._seen = 0

    def __dealloc__(self):
        self._discard()
        PyMem_Free(self._held)

    cdef void _discard(self) noexcept:
        cdef int i
        if self._held == NULL:
            return
        for i in range(JITTER_SLOTS):
            PyMem_Free(self._held[i].audio)
            self._held[i].audio = NULL
        self._held_count = 0

    cdef int offer(self, int64_t number, const uint8_t* audio, Py_ssize_t octets, int64_t now_ns) except -1:
        """Decide what becomes of one message; a held one is copied. A Verdict."""
        cdef int32_t ahead
        cdef HeldPacket* slot
        if not self._started:
            self._begin(number)
        ahead = <int32_t>(<uint32_t>number - self._next)
        if ahead == 0:
            if self._held_count and self._held[self._next % JITTER_SLOTS].audio != NULL:
                self.duplicates += 1
                return VERDICT_DROPPED
            self._advance()
            return VERDICT_DELIVER
        if ahead < 0:
            if ahead < -JITTER_MISORDER:
                return VERDICT_RESTART
            if ahead >= -64 and (self._seen >> (-ahead - 1)) & 1:
                self.duplicates += 1
            else:
                self.late += 1
            return VERDICT_DROPPED
        if ahead >= JITTER_SLOTS:
            return VERDICT_RESTART
        if self._held == NULL:
            self._held = <HeldPacket*>PyMem_Calloc(JITTER_SLOTS, sizeof(HeldPacket))
            if self._held == NULL:
                raise MemoryError
        slot = &self._held[<uint32_t>number % JITTER_SLOTS]
        if slot.audio != NULL:
            self.duplicates += 1
            return VERDICT_DROPPED
        slot.audio = <uint8_t*>PyMem_Malloc(octets if octets else 1)
        if slot.audio == NULL:
            raise MemoryError
        memcpy(slot.audio, audio, octets)
        slot.octets = octets
        slot.arrived_ns = now_ns
        self._held_count += 1
        return VERDICT_HELD

    cdef void _begin(self, int64_t number) noexcept:
        self._started = True
        self._next = <uint32_t>number
        self._seen = 0

    cdef void _advance(self) noexcept:
        self._next += 1
        self._seen = (self._seen << 1) | 1
        self.delivered += 1

    cdef void restart(self, int64_t number) noexcept:
        """Take `number` as the first of a new numbering; what is still held is dropped."""
        self._discard()
        self._begin(number)
        self.restarts += 1

    cdef Release take_next(self, int64_t now_ns, bint give_up, HeldPacket* packet, int* gap) noexcept:
        """What can leave now.

        RELEASE_PACKET: `packet` is next; its audio is the caller's to free. RELEASE_GAP: `gap`
        messages are given up, because the oldest held one has waited long enough or `give_up`.
        """
        cdef HeldPacket* slot
        cdef int missing
        if self._held_count == 0:
            return RELEASE_NOTHING
        slot = &self._held[self._next % JITTER_SLOTS]
        if slot.audio != NULL:
            packet[0] = slot[0]
            slot.audio = NULL
            self._held_count -= 1
            self._advance()
            self.reordered += 1
            return RELEASE_PACKET
        if not give_up and now_ns < self._deadline():
            return RELEASE_NOTHING
        missing = 1
        while self._held[(self._next + <uint32_t>missing) % JITTER_SLOTS].audio == NULL:
            missing += 1
        self._next += <uint32_t>missing
        self._seen = self._seen << missing if missing < 64 else 0
        self.lost += missing
        gap[0] = missing
        return RELEASE_GAP

    cdef int64_t _deadline(self) noexcept:
        """When the gap in front is given up; only meaningful while something is held."""
        cdef int64_t oldest = INT64_MAX
        cdef int i
        for i in range(JITTER_SLOTS):
            if self._held[i].audio != NULL and self._held[i].arrived_ns < oldest:
                oldest = self._held[i].arrived_ns
        return oldest + self._jitter_ns

    @property
    def held(self) -> int:
        """How many messages wait behind a gap now."""
        return self._held_count

    def push(self, number: int, audio: bytes, now_ns: int) -> list:
        """Give it one message.

        Args:
            number: the carrier's running number of audio messages.
            audio: its decoded octets.
            now_ns: monotonic time of arrival.

        Returns:
            What leaves now, in order: `bytes` for a message's audio, an `int` n for n messages
            that are given up as lost.
        """
        cdef list out = []
        cdef int verdict = self.offer(
            number, <const uint8_t*>PyBytes_AS_STRING(audio), PyBytes_GET_SIZE(audio), now_ns
        )
        if verdict == VERDICT_RESTART:
            self._collect(now_ns, True, out)
            self.restart(number)
            verdict = self.offer(
                number, <const uint8_t*>PyBytes_AS_STRING(audio), PyBytes_GET_SIZE(audio), now_ns
            )
        if verdict == VERDICT_DELIVER:
            out.append(audio)
        self._collect(now_ns, False, out)
        return out

    def expire(self, now_ns: int) -> list:
        """What leaves because of the time; as `push` returns it."""
        cdef list out = []
        self._collect(now_ns, False, out)
        return out

    cdef int _collect(self, int64_t now_ns, bint give_up, list out) except -1:
        cdef HeldPacket packet
        cdef int gap
        cdef Release release
        while True:
            release = self.take_next(now_ns, give_up, &packet, &gap)
            if release == RELEASE_NOTHING:
                return 0
            if release == RELEASE_GAP:
                out.append(gap)
                continue
            try:
                out.append(PyBytes_FromStringAndSize(<char*>packet.audio, packet.octets))
            finally:
                PyMem_Free(packet.audio)


cdef void conceal_into(
    const int16_t* last, Py_ssize_t last_samples, int hole, int16_t* target, Py_ssize_t samples
) noexcept nogil:
    """Fill a hole of `samples` with the last frame heard, fading out over three frames, then silence.

    `hole` counts the lost frames in a row from 0. After 60 ms a repeated frame is worse than silence;
    ITU-T G.711 Appendix I mutes there too. The gain moves within the frame, so there are no steps.
    """
    cdef float gain = 1.0 - hole / <float>CONCEAL_FRAMES
    cdef float step = 1.0 / (<float>CONCEAL_FRAMES * samples) if samples else 0.0
    cdef Py_ssize_t i
    if hole >= CONCEAL_FRAMES or last_samples == 0:
        memset(target, 0, samples * sizeof(int16_t))
        return
    for i in range(samples):
        target[i] = <int16_t>(last[i % last_samples] * gain)
        gain -= step


def conceal(last: bytes, hole: int, samples: int) -> bytes:
    """The `hole`-th frame (from 0) of a loss after the PCM16 frame `last`, `samples` long.

    Raises:
        CodecError: `last` is no PCM16, or `hole` or `samples` is negative.
    """
    if len(last) % 2:
        raise CodecError("PCM16 has 2*n octets")
    if hole < 0 or samples < 0:
        raise CodecError("hole and samples are not negative")
    cdef bytes out = PyBytes_FromStringAndSize(NULL, 2 * samples)
    conceal_into(
        <const int16_t*>PyBytes_AS_STRING(last), len(last) // 2, hole,
        <int16_t*>PyBytes_AS_STRING(out), samples,
    )
    return out
