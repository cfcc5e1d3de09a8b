# Media sockets: TCP connections of WebSocket clients, many of them behind one descriptor.
#
# A call costs what its system calls cost. So all sockets hang in an epoll set of their own, which the
# event loop watches as one descriptor; a message takes one `recv` into memory that all share and one
# edge of epoll, and nothing of it passes through Python. Only what has not come whole is kept.
#
# From CROWD sockets on, waking up for every message would cost as much as reading it, this process
# and, on one machine, the peer: then a timer wakes the loop, as network cards do under load.

cdef enum:
    CROWD = 64                       # sockets from which on the timer wakes; half of it ends that
    BEAT_NS = 1000000                # ... and how often: what a message may wait
    EVENTS_MAX = 512                 # sockets served before the event loop gets its turn
    INBOX_ROOM = 65536               # octets read from a socket at once
    HEAD_MAX = 16384                 # octets of an HTTP request's head
    FRAME_MAX = 1048576              # octets of a frame; one over MESSAGE_MAX is skipped unseen
    UNSENT_MAX = 1048576             # octets a peer may leave unread

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    # Not an enum: EPOLLET does not fit an int.
    const uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll_fd, epoll_event* events, int count, int timeout_ms)

cdef extern from "<sys/timerfd.h>" nogil:
    cdef struct itimerspec:
        timespec it_interval
        timespec it_value
    enum:
        TFD_CLOEXEC, TFD_NONBLOCK
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR
    ssize_t recv(int fd, void* octets, size_t room, int flags)
    ssize_t c_send "send"(int fd, const void* octets, size_t length, int flags)
    int shutdown(int fd, int how)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    ssize_t c_read "read"(int fd, void* octets, size_t room)

cdef extern from "<string.h>" nogil:
    void* memmem(const void* octets, size_t length, const void* wanted, size_t wanted_length)

cdef extern from *:
    """
    #define prefetch(address) __builtin_prefetch(address)
    """
    void prefetch(const void* address) noexcept nogil

cdef enum SocketState:
    SOCKET_REQUEST = 0               # the upgrade's head is still coming
    SOCKET_OPEN = 1
    SOCKET_CLOSING = 2               # a close frame was sent: only the peer's is of interest
    SOCKET_DEAF = 3                  # nothing that comes is of interest any more
    SOCKET_GONE = 4


cdef class SocketPoller:
    """The media sockets of one event loop. Have the loop call `poll` when `fileno()` is readable.

    Raises:
        OSError: the system gives no epoll set.
    """
    cdef int _gate                   # what the loop watches: the timer, and the sockets or not
    cdef int _fd
    cdef int _timer
    cdef bint _crowded
    cdef set _sockets
    cdef list _gone                  # sockets that ended while others are served: still referred to
    cdef bint _polling
    cdef uint8_t* _inbox

    def __cinit__(self):
        self._gate = self._fd = self._timer = -1
        self._sockets = set()
        self._gone = []
        # In front of what comes lies what has not come whole: at most a frame but for one octet.
        self._inbox = <uint8_t*>PyMem_Malloc(WS_HEADER_ROOM + MESSAGE_MAX + INBOX_ROOM)
        if self._inbox == NULL:
            raise MemoryError
        self._gate = epoll_create1(EPOLL_CLOEXEC)
        self._fd = epoll_create1(EPOLL_CLOEXEC)
        self._timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
        if (
            self._gate < 0 or self._fd < 0 or self._timer < 0
            or self._admit(EPOLL_CTL_ADD, self._fd, EPOLLIN) < 0
            or self._admit(EPOLL_CTL_ADD, self._timer, EPOLLIN) < 0
        ):
            raise OSError(errno, "cannot watch sockets")

    def __dealloc__(self):
        self._close_all()
        PyMem_Free(self._inbox)

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def crowded(self) -> bool:
        """Whether a timer wakes the loop and not the sockets."""
        return self._crowded

    def fileno(self) -> int:
        """The descriptor to watch for reading; -1 when closed."""
        return self._gate

    def add(self, fd: int, owner) -> MediaSocket:
        """Serve a connected socket, which does not block and belongs to the poller from now on.

        Args:
            fd: the socket's descriptor.
            owner: is told what happens; it has
                `on_request(head: bytes)` with the HTTP head, cut off behind 16 KiB, which it answers
                there and then by `open` or `refuse`,
                `on_violation(code: int)` when the peer breaks the protocol; it has to `close`,
                `on_stalled()` when the peer leaves more than 1 MiB unread; nothing is sent any more,
                `on_failure(error)` when the stream or the owner raised, which ends this connection
                and no other; it must not raise itself,
                `on_disconnected()` once, at the end.

        Raises:
            OSError: it cannot be watched; it is closed.
        """
        cdef MediaSocket served = MediaSocket.__new__(MediaSocket)
        served._poller = self
        served._owner = owner
        served._fd = fd
        # Edges: one look at a socket for each time something has come, where levels take two.
        if served._watch(EPOLL_CTL_ADD) < 0:
            error = OSError(errno, "epoll_ctl")
            c_close(fd)
            served._fd = -1
            raise error
        self._sockets.add(served)
        self._choose_waking()
        return served

    def poll(self) -> int:
        """Serve the sockets on which something has happened, without waiting; how many.

        Not from within what it calls: then it serves none.
        """
        cdef epoll_event[EVENTS_MAX] events
        cdef int i, count
        cdef uint64_t beats
        cdef MediaSocket served
        if self._polling:
            return 0
        if self._crowded:
            c_read(self._timer, &beats, sizeof(beats))
        count = epoll_wait(self._fd, events, EVENTS_MAX, 0)
        self._polling = True
        try:
            for i in range(count):
                if i + 1 < count:
                    prefetch(events[i + 1].data.ptr)
                    prefetch(<char*>events[i + 1].data.ptr + 64)
                served = <MediaSocket>events[i].data.ptr
                try:
                    served._serve(events[i].events)
                except Exception as error:
                    served._fail(error)
        finally:
            self._polling = False
            self._gone.clear()
        return max(count, 0)

    def close(self):
        """End all sockets at once, and the poller."""
        for served in tuple(self._sockets):
            (<MediaSocket>served).abort()
        self._close_all()

    cdef void _close_all(self) noexcept:
        for fd in (self._gate, self._fd, self._timer):
            if fd >= 0:
                c_close(fd)
        self._gate = self._fd = self._timer = -1

    cdef int _admit(self, int operation, int fd, uint32_t events) noexcept:
        """Let `events` of `fd` wake the loop."""
        cdef epoll_event event
        event.events = events
        event.data.ptr = NULL
        return epoll_ctl(self._gate, operation, fd, &event)

    cdef void _choose_waking(self) noexcept:
        cdef itimerspec beat
        cdef bint crowded = len(self._sockets) >= (CROWD // 2 if self._crowded else CROWD)
        if crowded == self._crowded:
            return
        self._crowded = crowded
        memset(&beat, 0, sizeof(beat))
        if crowded:
            beat.it_interval.tv_nsec = beat.it_value.tv_nsec = BEAT_NS
        timerfd_settime(self._timer, 0, &beat, NULL)
        # Taken out altogether: even a muted one costs each message a second callback in the kernel.
        self._admit(EPOLL_CTL_DEL if crowded else EPOLL_CTL_ADD, self._fd, EPOLLIN)


cdef class MediaSocket(Outlet):
    """One connection, from its upgrade to its end. Made by `SocketPoller.add`."""
    cdef SocketPoller _poller
    cdef MediaStream _stream
    cdef object _owner
    cdef int _fd
    cdef SocketState _state
    cdef bint _ends_when_sent
    cdef bint _stalled
    cdef uint8_t* _rest              # of what has not come whole
    cdef Py_ssize_t _rest_octets
    cdef uint64_t _skip              # octets still to come of a frame that is not looked at
    cdef bytearray _unsent           # None while nothing is
    cdef bytearray _partial          # a message that comes in several frames; None between messages
    cdef bint _skipping              # ... one that was refused: its remaining frames are dropped

    def __cinit__(self):
        self._fd = -1

    def __dealloc__(self):
        if self._fd >= 0:
            c_close(self._fd)
        PyMem_Free(self._rest)

    # --- from the owner ---

    def open(self, response: bytes, MediaStream stream not None):
        """Agree to the upgrade: send the HTTP response and feed messages to `stream`."""
        if self._state == SOCKET_REQUEST:
            self._state = SOCKET_OPEN
            self._stream = stream
            stream.connect(self)
            self._transmit(response, len(response))

    def refuse(self, response: bytes):
        """Refuse the upgrade. The owner gives the peer a moment to read, then calls `abort`."""
        if self._state == SOCKET_REQUEST:
            self._state = SOCKET_DEAF
            self._transmit(response, len(response))
            shutdown(self._fd, SHUT_WR)

    def close(self, code: int, reason: bytes = b""):
        """Send a close frame, and end when the peer's comes; the owner limits that time by `abort`.

        Args:
            code: RFC 6455, section 7.4.
            reason: UTF-8, of which 123 octets are sent.
        """
        if self._state == SOCKET_OPEN:
            self._state = SOCKET_CLOSING
            self._send_control(OP_CLOSE, code.to_bytes(2, "big") + reason[:CONTROL_MAX - 2])

    def abort(self):
        """End the connection now."""
        self._end()

    # --- in ---

    cdef int _watch(self, int operation) noexcept:
        cdef epoll_event event
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
        event.data.ptr = <void*>self
        return epoll_ctl(self._poller._fd, operation, self._fd, &event)

    cdef int _serve(self, uint32_t events) except -1:
        if self._unsent is not None and events & EPOLLOUT:
            self._flush()
        if self._fd >= 0 and events & ~EPOLLOUT:
            self._read(events)
        return 0

    cdef int _read(self, uint32_t events) except -1:
        cdef uint8_t* inbox = self._poller._inbox
        cdef Py_ssize_t available = self._rest_octets
        cdef Py_ssize_t used
        cdef ssize_t got
        if available:
            memcpy(inbox, self._rest, available)
        got = recv(self._fd, inbox + available, INBOX_ROOM, MSG_DONTWAIT)
        if got <= 0:
            if got < 0 and errno == EAGAIN:
                return 0
            return self._end()
        available += got
        used = self._consume(inbox, available)
        if self._fd < 0:
            return 0
        self._keep(inbox + used, available - used)
        # There may be more, or the end, which no edge will tell: look again in the next turn.
        if got == INBOX_ROOM or events & ~(EPOLLIN | EPOLLOUT):
            self._watch(EPOLL_CTL_MOD)
        return 0

    cdef int _keep(self, const uint8_t* octets, Py_ssize_t count) except -1:
        cdef uint8_t* rest = NULL
        if count == 0 and self._rest == NULL:
            return 0
        if count:
            rest = <uint8_t*>PyMem_Malloc(count)
            if rest == NULL:
                raise MemoryError
            memcpy(rest, octets, count)
        PyMem_Free(self._rest)
        self._rest = rest
        self._rest_octets = count
        return 0

    cdef Py_ssize_t _consume(self, uint8_t* inbox, Py_ssize_t available) except -1:
        """Deal with whatever has come whole; how many octets that was."""
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t step
        if self._state == SOCKET_REQUEST:
            at = self._take_request(inbox, available)
        while at < available and self._state in (SOCKET_OPEN, SOCKET_CLOSING):
            if self._skip:
                step = <Py_ssize_t>min(self._skip, <uint64_t>(available - at))
                self._skip -= step
            else:
                step = self._take_frame(inbox + at, available - at)
                if step == 0:
                    return at
            at += step
        return available if self._state == SOCKET_DEAF else at

    cdef Py_ssize_t _take_request(self, const uint8_t* inbox, Py_ssize_t available) except -1:
        cdef const uint8_t* end = <const uint8_t*>memmem(inbox, available, <const char*>b"\r\n\r\n", 4)
        cdef Py_ssize_t octets = end - inbox + 4 if end != NULL else 0
        if octets == 0 and available <= HEAD_MAX:
            return 0
        # One that is too long is cut off, which makes it no request.
        octets = min(octets or available, <Py_ssize_t>HEAD_MAX)
        self._owner.on_request(PyBytes_FromStringAndSize(<const char*>inbox, octets))
        if self._state == SOCKET_REQUEST:
            raise TypeError("an owner has to open or refuse what is requested")
        return octets

    cdef Py_ssize_t _take_frame(self, uint8_t* octets, Py_ssize_t available) except -1:
        """Deal with the frame that begins here; its length, or 0 when it has not come whole."""
        cdef FrameHead head
        cdef HeadResult result = read_frame_head(octets, available, &head)
        if result == HEAD_PARTIAL:
            return 0
        if result == HEAD_WRONG or head.payload_octets > FRAME_MAX:
            self._violated(CLOSE_PROTOCOL_ERROR if result == HEAD_WRONG else CLOSE_TOO_BIG)
            return available
        if head.payload_octets > MESSAGE_MAX:
            self._skip = head.payload_octets
            if self._state == SOCKET_OPEN:
                self._refuse_frame(&head)
            return head.octets
        if <uint64_t>(available - head.octets) < head.payload_octets:
            return 0
        websocket_unmask(octets + head.octets, head.payload_octets, head.key)
        self._on_frame(&head, <char*>octets + head.octets, <Py_ssize_t>head.payload_octets)
        return head.octets + <Py_ssize_t>head.payload_octets

    cdef int _on_frame(self, FrameHead* head, char* payload, Py_ssize_t length) except -1:
        cdef int code
        if head.opcode == OP_CLOSE:
            if self._state == SOCKET_OPEN:
                code = answer_to_close(<const uint8_t*>payload, length)
                self._send_control(OP_CLOSE, code.to_bytes(2, "big"))
            self._end_when_sent()
        elif self._state != SOCKET_OPEN:
            return 0
        elif head.opcode == OP_TEXT and head.final and self._partial is None and not self._skipping:
            self._stream.receive_text(payload, length, monotonic_ns())
        elif head.opcode == OP_PING:
            if not self._stalled:
                self._send_control(OP_PONG, payload[:length])
        elif head.opcode != OP_PONG:
            self._take_part(head, payload, length)
        return 0

    cdef int _take_part(self, FrameHead* head, const char* payload, Py_ssize_t length) except -1:
        """Put a message together that does not come in one text frame, or refuse it."""
        cdef bytes message
        if head.opcode == OP_CONTINUATION and self._skipping:
            self._skipping = not head.final
            return 0
        if head.opcode == OP_TEXT and self._partial is None:
            self._partial = bytearray()
            self._skipping = False
        elif head.opcode != OP_CONTINUATION or self._partial is None:
            return self._refuse_frame(head)
        if len(self._partial) + length > MESSAGE_MAX:
            return self._refuse_frame(head)
        self._partial += payload[:length]
        if head.final:
            message = bytes(self._partial)
            self._partial = None
            self._stream.receive(message, monotonic_ns())
        return 0

    cdef int _refuse_frame(self, FrameHead* head) except -1:
        if head.opcode == OP_CONTINUATION and self._skipping:
            self._skipping = not head.final
            return 0
        self._partial = None
        self._skipping = not head.final
        self._stream.refuse()
        return 0

    cdef int _violated(self, int code) except -1:
        """What comes from here on cannot be understood any more."""
        if self._state == SOCKET_OPEN:
            self._owner.on_violation(code)
        if self._fd >= 0:
            self._state = SOCKET_DEAF
        return 0

    # --- out ---

    cdef int send(self, char* message, Py_ssize_t length) except -1:
        cdef char* frame
        if self._state == SOCKET_OPEN and not self._stalled:
            frame = write_frame_head(message, length, OP_TEXT)
            self._transmit(frame, message + length - frame)
        return 0

    cdef int _send_control(self, Opcode opcode, bytes payload) except -1:
        cdef char[WS_HEADER_ROOM + CONTROL_MAX] scratch
        cdef char* message = scratch + WS_HEADER_ROOM
        cdef Py_ssize_t length = PyBytes_GET_SIZE(payload)
        memcpy(message, PyBytes_AS_STRING(payload), length)
        cdef char* frame = write_frame_head(message, length, opcode)
        return self._transmit(frame, message + length - frame)

    cdef int _transmit(self, const char* octets, Py_ssize_t length) except -1:
        """Send, or keep what the peer's window has no room for.

        A broken connection is not ended here, in the middle of somebody's write: an edge tells of it.
        """
        cdef ssize_t sent = 0
        if self._fd < 0:
            return 0
        if self._unsent is None:
            sent = c_send(self._fd, octets, length, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == length or (sent < 0 and errno != EAGAIN):
                return 0
            self._unsent = bytearray()
            sent = max(<ssize_t>0, sent)
        self._unsent += octets[sent:length]
        if len(self._unsent) > UNSENT_MAX and not self._stalled:
            self._stalled = True
            self._owner.on_stalled()
        return 0

    cdef int _flush(self) except -1:
        cdef ssize_t sent = c_send(
            self._fd, PyByteArray_AS_STRING(self._unsent), len(self._unsent),
            MSG_DONTWAIT | MSG_NOSIGNAL,
        )
        if sent < 0:
            return 0
        if sent < len(self._unsent):
            del self._unsent[:sent]
            return 0
        self._unsent = None
        if self._ends_when_sent:
            self._end()
        return 0

    # --- end ---

    cdef int _end_when_sent(self) except -1:
        self._state = SOCKET_DEAF
        self._ends_when_sent = True
        if self._unsent is None:
            self._end()
        return 0

    cdef void _fail(self, error) noexcept:
        """The stream or the owner raised: this connection is given up, and no other."""
        try:
            if self._owner is not None:
                self._owner.on_failure(error)
        finally:
            self._end()

    cdef int _end(self) except -1:
        cdef SocketPoller poller = self._poller
        if self._fd < 0:
            return 0
        # A child process may hold the connection for a moment, and epoll with it: so by name.
        self._watch(EPOLL_CTL_DEL)
        c_close(self._fd)
        self._fd = -1
        self._state = SOCKET_GONE
        self._unsent = self._partial = None
        if poller._polling:
            poller._gone.append(self)
        poller._sockets.discard(self)
        poller._choose_waking()
        owner, self._owner = self._owner, None
        try:
            owner.on_disconnected()
        except Exception as error:
            owner.on_failure(error)
        return 0


cdef inline int64_t monotonic_ns() noexcept nogil:
    """The clock of `time.monotonic_ns`."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec
