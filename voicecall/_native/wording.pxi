# Media messages that are worded like the one before.
#
# A carrier words all media messages of a stream alike: only the numbers and the payload differ. So what
# the scanner has read once is kept as literals with holes between them, and what fits it needs no second
# scan. A message that fits differs from one that was scanned in nothing but holes that the scanner would
# have read in the same way, so it never says anything else; one that does not fit is scanned.

cdef enum:
    HOLES_MAX = 4
    LITERALS_MAX = 1024              # longer wordings are scanned each time

cdef enum HoleKind:
    HOLE_PAYLOAD = 0
    HOLE_SEQUENCE = 1
    HOLE_CHUNK = 2
    HOLE_TIMESTAMP = 3

cdef struct Hole:
    HoleKind kind
    Py_ssize_t literal               # octets that stand between it and the hole before
    bint bare                        # a number without quotes, which has no leading zeros

cdef struct Wording:
    int holes                        # 0 when nothing has been learned
    Hole[HOLES_MAX] hole
    Py_ssize_t tail                  # octets behind the last hole
    Py_ssize_t payload_chars         # of the message before
    char* literals


cdef int learn_wording(
    Wording* wording, const char* message, Py_ssize_t length, const MediaPacket* packet
) except -1:
    """Take a scanned message as the pattern for the next ones."""
    cdef Text[HOLES_MAX] texts
    cdef HoleKind[HOLES_MAX] kinds
    cdef const char* at = message
    cdef Py_ssize_t literals
    cdef char* kept
    cdef int i
    cdef int count = sort_holes(packet, texts, kinds)
    forget_wording(wording)
    literals = length
    for i in range(count):
        literals -= texts[i].length
    if literals > LITERALS_MAX:
        return 0
    kept = wording.literals = <char*>PyMem_Malloc(literals)
    if kept == NULL:
        raise MemoryError
    for i in range(count):
        wording.hole[i].kind = kinds[i]
        wording.hole[i].literal = texts[i].at - at
        wording.hole[i].bare = (texts[i].at - 1)[0] != c'"'
        memcpy(kept, at, texts[i].at - at)
        kept += texts[i].at - at
        at = texts[i].at + texts[i].length
    wording.tail = message + length - at
    memcpy(kept, at, wording.tail)
    wording.payload_chars = packet.payload_chars
    wording.holes = count
    return 0


cdef void forget_wording(Wording* wording) noexcept:
    PyMem_Free(wording.literals)
    wording.literals = NULL
    wording.holes = 0


cdef int sort_holes(const MediaPacket* packet, Text* texts, HoleKind* kinds) noexcept nogil:
    """What differs from message to message, in the order in which it stands there; how many."""
    cdef Text[HOLES_MAX] found
    cdef int kind, at
    cdef int count = 0
    found[<int>HOLE_PAYLOAD].at = packet.payload
    found[<int>HOLE_PAYLOAD].length = packet.payload_chars
    found[<int>HOLE_SEQUENCE] = packet.sequence_text
    found[<int>HOLE_CHUNK] = packet.chunk_text
    found[<int>HOLE_TIMESTAMP] = packet.timestamp_text
    for kind in range(HOLES_MAX):
        if found[kind].at == NULL:
            continue
        at = count
        while at > 0 and texts[at - 1].at > found[kind].at:
            texts[at] = texts[at - 1]
            kinds[at] = kinds[at - 1]
            at -= 1
        texts[at] = found[kind]
        kinds[at] = <HoleKind>kind
        count += 1
    return count


cdef bint fits_wording(
    Wording* wording, const char* message, Py_ssize_t length, MediaPacket* packet
) noexcept nogil:
    """Read a message that is worded like the learned one; False when it is not, or nothing is."""
    cdef const char* literal = wording.literals
    cdef Cursor cursor
    cdef Hole* hole
    cdef int i
    if wording.holes == 0:
        return False
    cursor.at = message
    cursor.end = message + length
    packet.sequence = packet.chunk = packet.timestamp = -1
    for i in range(wording.holes):
        hole = &wording.hole[i]
        if not take_literal(&cursor, literal, hole.literal):
            return False
        literal += hole.literal
        if hole.kind == HOLE_PAYLOAD:
            if not take_known_payload(&cursor, wording, packet):
                return False
        elif not take_known_number(&cursor, hole, packet):
            return False
    return cursor.end - cursor.at == wording.tail and memcmp(cursor.at, literal, wording.tail) == 0


cdef inline bint take_known_payload(
    Cursor* cursor, Wording* wording, MediaPacket* packet
) noexcept nogil:
    """The payload up to its closing quote, which most often is where it was the last time.

    A quote before that is no base64, which the decoder finds; the message is then parsed as JSON.
    """
    cdef const char* closing = cursor.at + wording.payload_chars
    if closing >= cursor.end or closing[0] != c'"':
        closing = <const char*>memchr(cursor.at, c'"', cursor.end - cursor.at)
        if closing == NULL:
            return False
        wording.payload_chars = closing - cursor.at
    packet.payload = cursor.at
    packet.payload_chars = closing - cursor.at
    cursor.at = closing
    return True


cdef inline bint take_known_number(Cursor* cursor, Hole* hole, MediaPacket* packet) noexcept nogil:
    cdef const char* first = cursor.at
    cdef int64_t number
    if not take_digits(cursor, &number):
        return False
    if hole.bare and first[0] == c'0' and cursor.at - first > 1:
        return False
    if hole.kind == HOLE_SEQUENCE:
        packet.sequence = number
    elif hole.kind == HOLE_CHUNK:
        packet.chunk = number
    else:
        packet.timestamp = number
    return True
