# Pacer: outgoing audio cut into frames and released a little ahead of real time.
#
# The carrier plays what it gets without a break, so the moment at which the next octet sent will start
# to play is known: `_head_ns`. Up to `group` frames travel in one message, since system calls are what
# a call costs, and a message leaves as soon as a whole group fits under the lead: the carrier's buffer
# swings between lead - group * frame and lead. Who is late by more than a frame begins anew; less is
# made up for.
#
# Positions are octets of line audio since the beginning, counted as they are written. A clear skips
# what was never sent, so a position means the same for ever.

cdef enum:
    PACER_MAX_ITEMS = 4096   # pieces of audio, and likewise marks, that may wait; more are refused
    GROUP_MAX = 10           # frames in one message
    CAPACITY_MAX_MS = 600000

cdef int64_t NO_MARK = INT64_MAX // 2  # a position that is never reached

cdef enum PacketKind:
    PACKET_NONE = 0
    PACKET_AUDIO = 1
    PACKET_MARK = 2


cdef class Pacer:
    """Schedules one leg's outgoing audio and marks. Every time is the caller's monotonic clock.

    Args:
        octets_per_second: of the line audio, e.g. 8000 for G.711.
        silence: the octet that stands for silence (0xFF mu-law, 0xD5 A-law, 0 linear).
        frame_ms: 10 to 60.
        lead_ms: how far ahead of real time to send, at least one frame.
        group: frames per message at most; 0 chooses as many as leave 60 ms of the lead standing,
            but not more than 5.
        capacity_ms: how much audio may wait, frame_ms to 600000; more is refused.

    Attributes:
        written_octets, sent_octets: positions up to which audio was queued and released.
        frames_sent: frames released so far.
        late: messages that were ready in time but left after the carrier had run dry.
        worst_late_ns: by how much, at most.
        starved: times the carrier ran dry inside an utterance because no audio was there.
    """
    cdef readonly Py_ssize_t frame_octets
    cdef readonly int group
    cdef uint8_t _silence
    cdef int64_t _frame_ns
    cdef int64_t _lead_ns
    cdef int64_t _octets_per_second
    cdef int64_t _capacity_octets
    cdef bytes _piece                # the audio at hand; None when there is none
    cdef Py_ssize_t _offset          # octets of it that have left already
    cdef object _pieces              # deque of the bytes behind it
    cdef object _marks               # deque of (position, name)
    cdef int64_t _mark_at            # the first one's position, or NO_MARK
    cdef int64_t _head_ns            # when the next octet sent will start to play
    cdef int64_t _ready_ns           # since when a frame has been ready
    cdef int64_t _late_ns            # how late the last released message was
    cdef bint _open                  # inside an utterance: running dry is a fault
    cdef readonly int64_t written_octets
    cdef readonly int64_t sent_octets
    cdef readonly int64_t frames_sent
    cdef readonly int64_t late
    cdef readonly int64_t worst_late_ns
    cdef readonly int64_t starved

    def __cinit__(
        self, octets_per_second: int, silence: int, frame_ms: int = 20, lead_ms: int = 160,
        group: int = 0, capacity_ms: int = 10000,
    ):
        if octets_per_second % 1000 or not 8000 <= octets_per_second <= 96000:
            raise ValueError("octets_per_second is a multiple of 1000 from 8000 to 96000")
        if not 10 <= frame_ms <= 60 or not frame_ms <= lead_ms <= 10000:
            raise ValueError("frame_ms is 10 to 60, lead_ms is frame_ms to 10000")
        if not 0 <= group <= GROUP_MAX or group * frame_ms > lead_ms:
            raise ValueError("group is 0 to %d frames and has to fit under lead_ms" % GROUP_MAX)
        if not frame_ms <= capacity_ms <= CAPACITY_MAX_MS:
            raise ValueError("capacity_ms is frame_ms to %d" % CAPACITY_MAX_MS)
        self._octets_per_second = octets_per_second
        self.frame_octets = octets_per_second // 1000 * frame_ms
        self._silence = silence
        self._frame_ns = frame_ms * 1000000
        self._lead_ns = lead_ms * 1000000
        self.group = group or max(1, min(5, (lead_ms - 60) // frame_ms))
        self._capacity_octets = octets_per_second * capacity_ms // 1000
        self._pieces = deque()
        self._marks = deque()
        self._mark_at = NO_MARK

    @property
    def queued_octets(self) -> int:
        """Audio that waits to be sent."""
        return self.written_octets - self.sent_octets

    cpdef bint write(self, bytes audio, int64_t now_ns) except -1:
        """Queue line audio of any length; False, and nothing queued, when there is no room."""
        cdef Py_ssize_t octets
        cdef int64_t queued = self.written_octets - self.sent_octets
        # A cpdef method lets None through where bytes are wanted.
        if audio is None:
            raise TypeError("audio is bytes")
        octets = PyBytes_GET_SIZE(audio)
        if octets == 0:
            return True
        if queued + octets > self._capacity_octets or len(self._pieces) >= PACER_MAX_ITEMS - 1:
            return False
        if queued < self.frame_octets:
            if self._open and self._ready_ns <= self._head_ns < now_ns:
                self.starved += 1
            self._ready_ns = now_ns
        self._open = True
        self._append(audio)
        return True

    cdef int _append(self, bytes audio) except -1:
        if self._piece is None:
            self._piece = audio
        else:
            self._pieces.append(audio)
        self.written_octets += PyBytes_GET_SIZE(audio)
        return 0

    cpdef int finish(self, int64_t now_ns) except -1:
        """No more audio belongs to what was written: its last frame is filled up with silence."""
        cdef Py_ssize_t queued = <Py_ssize_t>(self.written_octets - self.sent_octets)
        cdef Py_ssize_t part = queued % self.frame_octets
        cdef bytes padding
        if part:
            padding = PyBytes_FromStringAndSize(NULL, self.frame_octets - part)
            memset(PyBytes_AS_STRING(padding), self._silence, self.frame_octets - part)
            self._append(padding)
            if queued < self.frame_octets:
                self._ready_ns = now_ns
        self._open = False
        return 0

    cpdef int mark(self, str name) except -1:
        """Queue a mark behind all audio written so far, at the end of the frame it falls in.

        Raises:
            CodecError: the name needs escaping, or too many marks wait.
        """
        cdef bytes encoded = name.encode()
        check_mark_name(encoded)
        if len(self._marks) >= PACER_MAX_ITEMS:
            raise CodecError("too many marks are waiting")
        self._marks.append((self.written_octets, encoded))
        self._mark_at = min(self._mark_at, self.written_octets)
        return 0

    cdef bint has_room(self) noexcept:
        """Whether less than half of what may wait does."""
        return (
            2 * (self.written_octets - self.sent_octets) < self._capacity_octets
            and 2 * len(self._pieces) < PACER_MAX_ITEMS
        )

    cpdef int64_t played_octets(self, int64_t now_ns) noexcept:
        """Up to which position the carrier has played, were the network without delay."""
        cdef int64_t ahead_ns = self._head_ns - now_ns
        if ahead_ns <= 0:
            return self.sent_octets
        return max(0, self.sent_octets - ahead_ns * self._octets_per_second // 1000000000)

    cpdef int clear(self, int64_t now_ns) except -1:
        """Drop everything queued. The carrier, told separately, starts afresh too."""
        self._piece = None
        self._pieces.clear()
        self._marks.clear()
        self._mark_at = NO_MARK
        self._offset = 0
        self.sent_octets = self.written_octets
        self._head_ns = now_ns
        self._open = False
        return 0

    cdef int64_t due_ns(self) noexcept:
        """When the next message will be due, after `next_packet` had nothing; INT64_MAX for never.

        Writing, finishing and marking change it.
        """
        if self._mark_is_due():
            return 0
        if self._ready_frames() == 0:
            return INT64_MAX
        return self._head_ns - self._lead_ns + self.group * self._frame_ns

    cdef inline int64_t _ready_frames(self) noexcept:
        """Frames that may leave before the next mark; the frame that it falls in is one of them."""
        cdef int64_t until = min(self._mark_at + self.frame_octets - 1, self.written_octets)
        return max(0, until - self.sent_octets) // self.frame_octets

    cdef inline bint _mark_is_due(self) noexcept:
        # Inside an utterance a mark waits for the audio behind it, so that one at the very end of
        # what the carrier has always means that the utterance is complete.
        return self._mark_at <= self.sent_octets and (
            not self._open or self.written_octets - self.sent_octets >= self.frame_octets
        )

    cdef PyObject* _take_mark(self) except NULL:
        cdef bytes name = (<tuple>self._marks.popleft())[1]
        self._mark_at = (<tuple>self._marks[0])[0] if self._marks else NO_MARK
        Py_INCREF(name)
        return <PyObject*>name

    cdef int next_packet(
        self, int64_t now_ns, uint8_t* audio, Py_ssize_t* octets, PyObject** mark
    ) except -1:
        """Release one message's worth of audio, or a mark, or nothing. A PacketKind.

        Args:
            audio: room for `group` frames.
            octets: set to how much was put there.
            mark: set to the mark's name, a new reference to bytes.
        """
        cdef int64_t ready = self._ready_frames()
        cdef int64_t frames
        cdef int64_t head_ns
        if self._mark_is_due():
            mark[0] = self._take_mark()
            return PACKET_MARK
        if ready == 0:
            return PACKET_NONE
        self._late_ns = now_ns - self._head_ns if self._ready_ns <= self._head_ns < now_ns else 0
        # Carriers buffer at least a frame: so small a delay is made up for. Otherwise each would
        # add to those before, and audio sent without a lead fall behind for good.
        head_ns = self._head_ns
        if head_ns < now_ns and not 0 < self._late_ns <= self._frame_ns:
            head_ns = now_ns
        if self._lead_ns - (head_ns - now_ns) < self.group * self._frame_ns:
            self._late_ns = 0
            return PACKET_NONE
        if self._late_ns:
            self.late += 1
            self.worst_late_ns = max(self.worst_late_ns, self._late_ns)
        frames = min(ready, self.group)
        octets[0] = <Py_ssize_t>frames * self.frame_octets
        self._take(audio, octets[0])
        self._head_ns = head_ns + frames * self._frame_ns
        self.frames_sent += frames
        return PACKET_AUDIO

    cdef int _take(self, uint8_t* audio, Py_ssize_t octets) except -1:
        cdef Py_ssize_t count
        self.sent_octets += octets
        while octets:
            count = min(PyBytes_GET_SIZE(self._piece) - self._offset, octets)
            memcpy(audio, PyBytes_AS_STRING(self._piece) + self._offset, count)
            audio += count
            octets -= count
            self._offset += count
            if self._offset == PyBytes_GET_SIZE(self._piece):
                self._piece = self._pieces.popleft() if self._pieces else None
                self._offset = 0
        return 0

    def pump(self, now_ns: int) -> list:
        """Everything that leaves at `now_ns`: `bytes` of line audio, `str` names of marks."""
        cdef list out = []
        cdef bytearray scratch = bytearray(self.group * self.frame_octets)
        cdef Py_ssize_t octets = 0
        cdef PyObject* mark = NULL
        cdef int kind
        while True:
            kind = self.next_packet(now_ns, <uint8_t*>PyByteArray_AS_STRING(scratch), &octets, &mark)
            if kind == PACKET_NONE:
                return out
            if kind == PACKET_AUDIO:
                out.append(bytes(scratch[:octets]))
            else:
                out.append((<bytes>mark).decode())
                Py_DECREF(<object>mark)
