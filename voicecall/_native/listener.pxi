# The picows side of a media socket; the only fragment that knows the WebSocket library.

cdef class PicowsOutlet(Outlet):
    """Writes a stream's messages into a picows transport without another copy."""
    cdef WSTransport _transport

    def __init__(self, WSTransport transport not None):
        self._transport = transport

    cdef int send(self, char* message, Py_ssize_t length) except -1:
        # The transport may call back while it sends, and the outlet may be let go of then.
        cdef WSTransport transport = self._transport
        transport.send_reuse_external_buffer(WSMsgType.TEXT, message, length)
        return 0


cdef class StreamListener(WSListener):
    """Feeds one picows socket into a `MediaStream`.

    Args:
        stream: what the socket carries.
        owner: has `on_connected(transport)`, `on_disconnected()` and `on_stalled()`, the last when
            the peer has left more unsent than the transport's high-water mark.
    """
    cdef MediaStream _stream
    cdef object _owner
    cdef bytearray _partial          # a message that comes in several frames; None between messages
    cdef bint _skipping              # ... one that was refused: its remaining frames are dropped

    def __init__(self, MediaStream stream not None, owner):
        self._stream = stream
        self._owner = owner

    cpdef on_ws_connected(self, WSTransport transport):
        self._stream.connect(PicowsOutlet(transport))
        self._owner.on_connected(transport)

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef WSMsgType kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin and self._partial is None and not self._skipping:
            self._stream.receive_text(frame.payload_ptr, frame.payload_size, monotonic_ns())
        elif kind == WSMsgType.CLOSE:
            # A close without a code reads as 0, which must not be sent back.
            transport.send_close(frame.get_close_code() or WSCloseCode.OK)
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._take_part(frame)

    cdef int _take_part(self, WSFrame frame) except -1:
        """Put a message together that does not come in one text frame, or refuse it."""
        cdef bytes message
        if frame.msg_type == WSMsgType.CONTINUATION and self._skipping:
            self._skipping = not frame.fin
            return 0
        if frame.msg_type == WSMsgType.TEXT and self._partial is None:
            self._partial = bytearray()
            self._skipping = False
        elif frame.msg_type != WSMsgType.CONTINUATION or self._partial is None:
            self._skip(frame)
            return 0
        if len(self._partial) + frame.payload_size > MESSAGE_MAX:
            self._skip(frame)
            return 0
        self._partial += frame.payload_ptr[:frame.payload_size]
        if frame.fin:
            message = bytes(self._partial)
            self._partial = None
            self._stream.receive(message, monotonic_ns())
        return 0

    cdef int _skip(self, WSFrame frame) except -1:
        self._partial = None
        self._skipping = not frame.fin
        self._stream.refuse()
        return 0

    cpdef on_ws_disconnected(self, WSTransport transport):
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.on_disconnected()

    cpdef pause_writing(self):
        if self._owner is not None:
            self._owner.on_stalled()

    cpdef resume_writing(self):
        pass


cdef inline int64_t monotonic_ns() noexcept nogil:
    """The clock of `time.monotonic_ns`."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec
