# Carriers' media messages: found in the JSON without building a dict, written without building one.
#
# The scanner accepts a strict subset of JSON: one object whose values are ASCII strings, unsigned
# integers, literals, and one nested "media" object of the same kind. What is looked at may not have
# escapes; what is skipped may have the two-character ones, since Plivo repeats the call's custom
# parameters, maybe JSON in a string, in every message. All three carriers send exactly that for audio,
# in whatever key order and white space. Whatever else comes is "surprising": the caller then gives the
# message to orjson, so nothing is ever guessed.

cdef enum Scan:
    SCAN_SURPRISE = 0   # not in the subset, or not about audio: needs orjson
    SCAN_MEDIA = 1      # the caller's audio
    SCAN_OTHER_TRACK = 2  # audio, but not the caller's

cdef enum Field:
    FIELD_EVENT = 1
    FIELD_SEQUENCE = 2
    FIELD_MEDIA = 4
    FIELD_TRACK = 8
    FIELD_CHUNK = 16
    FIELD_TIMESTAMP = 32
    FIELD_PAYLOAD = 64

cdef struct Text:
    const char* at
    Py_ssize_t length

cdef struct MediaPacket:
    int64_t sequence        # per message of the stream; -1 when absent
    int64_t chunk           # per audio message; -1 when absent
    int64_t timestamp       # milliseconds; -1 when absent
    Text sequence_text      # the digits of each, inside the message; NULL when absent
    Text chunk_text
    Text timestamp_text
    const char* payload     # base64 characters, inside the message
    Py_ssize_t payload_chars

cdef struct Cursor:
    const char* at
    const char* end

# JSON numbers of at most 18 digits fit an int64 whatever they are.
cdef enum:
    MAX_DIGITS = 18


cdef inline void skip_space(Cursor* cursor) noexcept nogil:
    while cursor.at < cursor.end and (
        cursor.at[0] == c' ' or cursor.at[0] == c'\n' or cursor.at[0] == c'\t' or cursor.at[0] == c'\r'
    ):
        cursor.at += 1


cdef inline bint take(Cursor* cursor, char expected) noexcept nogil:
    skip_space(cursor)
    if cursor.at < cursor.end and cursor.at[0] == expected:
        cursor.at += 1
        return True
    return False


cdef inline bint take_plain_string(Cursor* cursor, Text* text) noexcept nogil:
    """A string of printable ASCII without escapes; its opening quote has been taken."""
    cdef const char* at = cursor.at
    while at < cursor.end and at[0] != c'"':
        if <uint8_t>at[0] < 0x20 or <uint8_t>at[0] >= 0x80 or at[0] == c'\\':
            return False
        at += 1
    if at == cursor.end:
        return False
    text.at = cursor.at
    text.length = at - cursor.at
    cursor.at = at + 1
    return True


cdef inline bint skip_string(Cursor* cursor) noexcept nogil:
    """A string of printable ASCII, escapes other than \\u allowed; its opening quote has been taken."""
    cdef const char* at = cursor.at
    while at < cursor.end and at[0] != c'"':
        if <uint8_t>at[0] < 0x20 or <uint8_t>at[0] >= 0x80:
            return False
        if at[0] == c'\\':
            at += 1
            if at == cursor.end or memchr(b'"\\/bfnrt', at[0], 8) == NULL:
                return False
        at += 1
    if at == cursor.end:
        return False
    cursor.at = at + 1
    return True


cdef inline bint take_payload(Cursor* cursor, Text* text) noexcept nogil:
    """A string whose characters the base64 decoder will check; its opening quote has been taken."""
    cdef const char* closing = <const char*>memchr(cursor.at, c'"', cursor.end - cursor.at)
    if closing == NULL:
        return False
    text.at = cursor.at
    text.length = closing - cursor.at
    cursor.at = closing + 1
    return True


cdef inline bint take_digits(Cursor* cursor, int64_t* value) noexcept nogil:
    """One to 18 decimal digits."""
    cdef const char* first = cursor.at
    cdef int64_t number = 0
    while cursor.at < cursor.end and c'0' <= cursor.at[0] <= c'9':
        if cursor.at - first == MAX_DIGITS:
            return False
        number = number * 10 + (cursor.at[0] - c'0')
        cursor.at += 1
    value[0] = number
    return cursor.at != first


cdef inline bint take_count(Cursor* cursor, int64_t* value, Text* digits) noexcept nogil:
    """An unsigned integer, written as a JSON number or as a string of digits."""
    cdef bint quoted = take(cursor, c'"')
    digits.at = cursor.at
    if not take_digits(cursor, value):
        return False
    digits.length = cursor.at - digits.at
    if cursor.at == cursor.end:
        return False
    if quoted:
        cursor.at += 1
        return (cursor.at - 1)[0] == c'"'
    # JSON has no leading zeros, and what follows must not make it a fraction or an exponent.
    if digits.at[0] == c'0' and digits.length > 1:
        return False
    return cursor.at[0] != c'.' and cursor.at[0] != c'e' and cursor.at[0] != c'E'


cdef inline bint take_literal(Cursor* cursor, const char* literal, Py_ssize_t length) noexcept nogil:
    if cursor.end - cursor.at < length or memcmp(cursor.at, literal, length) != 0:
        return False
    cursor.at += length
    return True


cdef inline bint skip_scalar(Cursor* cursor) noexcept nogil:
    """A value nobody asked for: a string, an unsigned integer, true, false or null."""
    cdef int64_t number
    cdef Text digits
    skip_space(cursor)
    if cursor.at == cursor.end:
        return False
    if cursor.at[0] == c'"':
        cursor.at += 1
        return skip_string(cursor)
    if cursor.at[0] == c't':
        return take_literal(cursor, b"true", 4)
    if cursor.at[0] == c'f':
        return take_literal(cursor, b"false", 5)
    if cursor.at[0] == c'n':
        return take_literal(cursor, b"null", 4)
    return take_count(cursor, &number, &digits)


cdef inline bint same(Text* text, const char* expected, Py_ssize_t length) noexcept nogil:
    return text.length == length and memcmp(text.at, expected, length) == 0


cdef inline bint first_time(int* seen, int field) noexcept nogil:
    """JSON lets keys repeat and the last one win; such a message is left to orjson."""
    if seen[0] & field:
        return False
    seen[0] |= field
    return True


cdef inline bint take_key(Cursor* cursor, Text* key) noexcept nogil:
    return take(cursor, c'"') and take_plain_string(cursor, key) and take(cursor, c':')


cdef bint scan_media_object(
    Cursor* cursor, MediaPacket* packet, Text* track, int* seen
) noexcept nogil:
    cdef Text key
    cdef Text payload
    if not take(cursor, c'{'):
        return False
    while True:
        if not take_key(cursor, &key):
            return False
        if same(&key, b"payload", 7):
            if not (first_time(seen, FIELD_PAYLOAD) and take(cursor, c'"')):
                return False
            if not take_payload(cursor, &payload):
                return False
            packet.payload = payload.at
            packet.payload_chars = payload.length
        elif same(&key, b"track", 5):
            if not (first_time(seen, FIELD_TRACK) and take(cursor, c'"')):
                return False
            if not take_plain_string(cursor, track):
                return False
        elif same(&key, b"chunk", 5):
            if not first_time(seen, FIELD_CHUNK):
                return False
            if not take_count(cursor, &packet.chunk, &packet.chunk_text):
                return False
        elif same(&key, b"timestamp", 9):
            if not first_time(seen, FIELD_TIMESTAMP):
                return False
            if not take_count(cursor, &packet.timestamp, &packet.timestamp_text):
                return False
        elif not skip_scalar(cursor):
            return False
        if not take(cursor, c','):
            return take(cursor, c'}')


cdef Scan scan_media(const char* message, Py_ssize_t length, MediaPacket* packet) noexcept nogil:
    """Find the caller's audio in one message.

    Fills `packet` when the answer is SCAN_MEDIA; its payload points into `message`.
    """
    cdef Cursor cursor
    cdef Text key
    cdef Text event
    cdef Text track
    cdef int seen = 0
    cursor.at = message
    cursor.end = message + length
    packet.sequence = -1
    packet.chunk = -1
    packet.timestamp = -1
    packet.sequence_text.at = packet.chunk_text.at = packet.timestamp_text.at = NULL
    track.at = NULL
    track.length = 0
    if not take(&cursor, c'{'):
        return SCAN_SURPRISE
    while True:
        if not take_key(&cursor, &key):
            return SCAN_SURPRISE
        if same(&key, b"media", 5):
            if not (first_time(&seen, FIELD_MEDIA) and scan_media_object(&cursor, packet, &track, &seen)):
                return SCAN_SURPRISE
        elif same(&key, b"event", 5):
            if not (first_time(&seen, FIELD_EVENT) and take(&cursor, c'"')):
                return SCAN_SURPRISE
            if not take_plain_string(&cursor, &event):
                return SCAN_SURPRISE
            if not same(&event, b"media", 5):
                return SCAN_SURPRISE
        elif same(&key, b"sequenceNumber", 14) or same(&key, b"sequence_number", 15):
            if not first_time(&seen, FIELD_SEQUENCE):
                return SCAN_SURPRISE
            if not take_count(&cursor, &packet.sequence, &packet.sequence_text):
                return SCAN_SURPRISE
        elif not skip_scalar(&cursor):
            return SCAN_SURPRISE
        if not take(&cursor, c','):
            break
    if not take(&cursor, c'}'):
        return SCAN_SURPRISE
    skip_space(&cursor)
    if cursor.at != cursor.end or (seen & FIELD_EVENT) == 0 or (seen & FIELD_PAYLOAD) == 0:
        return SCAN_SURPRISE
    if track.at == NULL or same(&track, b"inbound", 7) or same(&track, b"inbound_track", 13):
        return SCAN_MEDIA
    # No base64 decoder will look at this payload, so what has been taken on trust is checked here.
    cursor.at = packet.payload
    if not take_plain_string(&cursor, &track):
        return SCAN_SURPRISE
    return SCAN_OTHER_TRACK


def parse_media(message: bytes):
    """Read one audio message of any of the three carriers' dialects.

    Args:
        message: a whole WebSocket text message, UTF-8.

    Returns:
        `(sequence, chunk, timestamp_ms, audio)` with -1 for a number the message does not have and
        `audio` the decoded octets, coded as the stream's `start` said; or None when the message is
        not the caller's audio in the plain form that carriers send, and a JSON parser has to see it.
    """
    cdef MediaPacket packet
    cdef Py_ssize_t octets
    cdef uint8_t* target
    if scan_media(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &packet) != SCAN_MEDIA:
        return None
    target = <uint8_t*>PyMem_Malloc(base64_room(packet.payload_chars))
    if target == NULL:
        raise MemoryError
    try:
        octets = base64_decode_into(packet.payload, packet.payload_chars, target)
        if octets < 0:
            return None
        return (
            packet.sequence, packet.chunk, packet.timestamp,
            PyBytes_FromStringAndSize(<char*>target, octets),
        )
    finally:
        PyMem_Free(target)


def media_to_pcm16(message: bytes, encoding: str = "ulaw"):
    """Read one audio message straight to linear PCM.

    Args:
        message: as for `parse_media`.
        encoding: `ulaw`, `alaw` or `pcm16` (little-endian on the wire).

    Returns:
        PCM16 little-endian, or None as `parse_media` does, and for more than 8 KiB of audio.

    Raises:
        CodecError: `encoding` is none of the three.
    """
    cdef MediaPacket packet
    cdef Py_ssize_t octets
    cdef bytes pcm
    cdef uint8_t[MESSAGE_SCRATCH_OCTETS] scratch
    cdef int code = line_encoding(encoding)
    if scan_media(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &packet) != SCAN_MEDIA:
        return None
    if base64_room(packet.payload_chars) > MESSAGE_SCRATCH_OCTETS:
        return None
    octets = base64_decode_into(packet.payload, packet.payload_chars, scratch)
    if octets < 0 or (code == ENCODING_PCM16 and octets % 2):
        return None
    pcm = PyBytes_FromStringAndSize(NULL, octets if code == ENCODING_PCM16 else 2 * octets)
    line_decode(code, scratch, octets, <int16_t*>PyBytes_AS_STRING(pcm))
    return pcm


cdef class WireFormat:
    """How one stream's outgoing messages are worded: everything but the audio, prebuilt.

    Args:
        media_head, media_tail: what stands before and after the base64 audio of a media message.
        mark_head, mark_tail: what stands before and after the name of a mark message.
        clear: the whole clear message.

    All are UTF-8. Together they may be at most 1024 octets, so that messages fit the send buffer.
    """
    cdef readonly bytes media_head
    cdef readonly bytes media_tail
    cdef readonly bytes mark_head
    cdef readonly bytes mark_tail
    cdef readonly bytes clear

    def __cinit__(
        self, bytes media_head, bytes media_tail, bytes mark_head, bytes mark_tail, bytes clear
    ):
        if (
            len(media_head) + len(media_tail) > WORDING_MAX
            or len(mark_head) + len(mark_tail) > WORDING_MAX
            or len(clear) > WORDING_MAX
        ):
            raise CodecError("message wording longer than %d octets" % WORDING_MAX)
        self.media_head = media_head
        self.media_tail = media_tail
        self.mark_head = mark_head
        self.mark_tail = mark_tail
        self.clear = clear

    cdef Py_ssize_t media_into(self, const uint8_t* audio, Py_ssize_t octets, char* target) noexcept:
        """Write one media message; `target` has room for wording and base64. Its length."""
        cdef Py_ssize_t head = PyBytes_GET_SIZE(self.media_head)
        cdef Py_ssize_t tail = PyBytes_GET_SIZE(self.media_tail)
        cdef Py_ssize_t chars
        memcpy(target, PyBytes_AS_STRING(self.media_head), head)
        chars = base64_encode_into(audio, octets, target + head)
        memcpy(target + head + chars, PyBytes_AS_STRING(self.media_tail), tail)
        return head + chars + tail

    cdef Py_ssize_t mark_into(self, bytes name, char* target) noexcept:
        """Write one mark message; `name` needs no escaping and is at most MARK_NAME_MAX long."""
        cdef Py_ssize_t head = PyBytes_GET_SIZE(self.mark_head)
        cdef Py_ssize_t tail = PyBytes_GET_SIZE(self.mark_tail)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(name)
        memcpy(target, PyBytes_AS_STRING(self.mark_head), head)
        memcpy(target + head, PyBytes_AS_STRING(name), length)
        memcpy(target + head + length, PyBytes_AS_STRING(self.mark_tail), tail)
        return head + length + tail

    def media(self, audio: bytes) -> bytes:
        """The media message that carries `audio`, coded as the stream wants it."""
        cdef Py_ssize_t octets = len(audio)
        cdef Py_ssize_t length = len(self.media_head) + (octets + 2) // 3 * 4 + len(self.media_tail)
        cdef bytes message = PyBytes_FromStringAndSize(NULL, length)
        self.media_into(<const uint8_t*>PyBytes_AS_STRING(audio), octets, PyBytes_AS_STRING(message))
        return message

    def media_from_pcm16(self, pcm: bytes, encoding: str = "ulaw") -> bytes:
        """The media message that carries `pcm` (PCM16 little-endian) in `encoding`.

        Raises:
            CodecError: an odd number of octets, more than 8 KiB of them, or an unknown encoding.
        """
        cdef uint8_t[MESSAGE_SCRATCH_OCTETS] scratch
        cdef int code = line_encoding(encoding)
        cdef Py_ssize_t octets = len(pcm)
        cdef Py_ssize_t length
        cdef bytes message
        if octets % 2 or octets > MESSAGE_SCRATCH_OCTETS:
            raise CodecError("PCM16 for one message is 2*n octets and at most %d" % MESSAGE_SCRATCH_OCTETS)
        octets = line_encode(code, <const int16_t*>PyBytes_AS_STRING(pcm), octets // 2, scratch)
        length = len(self.media_head) + (octets + 2) // 3 * 4 + len(self.media_tail)
        message = PyBytes_FromStringAndSize(NULL, length)
        self.media_into(scratch, octets, PyBytes_AS_STRING(message))
        return message

    def mark(self, name: bytes) -> bytes:
        """The mark message for `name`; it must not need JSON escapes."""
        check_mark_name(name)
        return self.mark_head + name + self.mark_tail


cdef int check_mark_name(bytes name) except -1:
    cdef Py_ssize_t i
    cdef uint8_t octet
    if not 0 < len(name) <= MARK_NAME_MAX:
        raise CodecError("a mark's name has 1 to %d octets" % MARK_NAME_MAX)
    for i in range(len(name)):
        octet = <uint8_t>name[i]
        if octet < 0x20 or octet >= 0x7F or octet == c'"' or octet == c'\\':
            raise CodecError("a mark's name is plain ASCII without quotes")
    return 0
