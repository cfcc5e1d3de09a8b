# WebSocket frames as a server reads and writes them (RFC 6455, section 5).

cdef extern from "websocket.h":
    void websocket_unmask(uint8_t* payload, size_t octets, const uint8_t* key) noexcept nogil

cdef enum Opcode:
    OP_CONTINUATION = 0x0
    OP_TEXT = 0x1
    OP_BINARY = 0x2
    OP_CLOSE = 0x8
    OP_PING = 0x9
    OP_PONG = 0xA

cdef enum:
    CONTROL_MAX = 125                # octets of a control frame's payload
    CLOSE_NORMAL = 1000
    CLOSE_PROTOCOL_ERROR = 1002
    CLOSE_TOO_BIG = 1009

cdef enum HeadResult:
    HEAD_WHOLE = 0
    HEAD_PARTIAL = 1                 # more octets are needed
    HEAD_WRONG = 2                   # no client may send this


cdef struct FrameHead:
    int opcode
    bint final
    Py_ssize_t octets                # of the head itself
    uint64_t payload_octets
    const uint8_t* key


cdef HeadResult read_frame_head(
    const uint8_t* octets, Py_ssize_t available, FrameHead* head
) noexcept nogil:
    """Read the head of a client's frame; `head` holds for as long as `octets` do."""
    cdef int i
    cdef int count = 0
    if available < 2:
        return HEAD_PARTIAL
    head.final = octets[0] >> 7
    head.opcode = octets[0] & 15
    head.payload_octets = octets[1] & 127
    # No extension was agreed on, and clients have to mask.
    if octets[0] & 0x70 or not octets[1] & 0x80:
        return HEAD_WRONG
    if head.opcode >= OP_CLOSE:
        if head.opcode > OP_PONG or not head.final or head.payload_octets > CONTROL_MAX:
            return HEAD_WRONG
    elif head.opcode > OP_BINARY:
        return HEAD_WRONG
    if head.payload_octets == 126:
        count = 2
    elif head.payload_octets == 127:
        count = 8
    if available < 2 + count + 4:
        return HEAD_PARTIAL
    if count:
        head.payload_octets = 0
        for i in range(count):
            head.payload_octets = head.payload_octets << 8 | octets[2 + i]
        if head.payload_octets >> 63:
            return HEAD_WRONG
    head.key = octets + 2 + count
    head.octets = 2 + count + 4
    return HEAD_WHOLE


cdef int answer_to_close(const uint8_t* payload, Py_ssize_t length) noexcept nogil:
    """The code that answers a close frame: its own, if one may be sent (RFC 6455, section 7.4)."""
    cdef int code
    if length == 0:
        return CLOSE_NORMAL
    code = payload[0] << 8 | payload[1] if length > 1 else 0
    if not 1000 <= code < 5000 or code in (1004, 1005, 1006, 1015):
        return CLOSE_PROTOCOL_ERROR
    return code


cdef inline char* write_frame_head(char* payload, Py_ssize_t length, Opcode opcode) noexcept nogil:
    """Put a whole frame's head in front of its payload, into WS_HEADER_ROOM; where it begins."""
    cdef uint8_t* at = <uint8_t*>payload
    cdef int i
    if length < 126:
        at -= 2
        at[1] = <uint8_t>length
    elif length < 65536:
        at -= 4
        at[1] = 126
        at[2] = <uint8_t>(length >> 8)
        at[3] = <uint8_t>length
    else:
        at -= 10
        at[1] = 127
        for i in range(8):
            at[2 + i] = <uint8_t>(<uint64_t>length >> (56 - 8 * i))
    at[0] = 0x80 | opcode
    return <char*>at
