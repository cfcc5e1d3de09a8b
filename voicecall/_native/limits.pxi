# Bounds of the media plane's memory; every buffer below is one of these long.

cdef enum:
    MESSAGE_MAX = 65536              # octets of one received message; more is a fault
    PAYLOAD_MAX = 49216              # octets in the base64 of such a message, and vector slack
    MESSAGE_SCRATCH_OCTETS = 8192    # audio handled in one call from Python
    OUTGOING_MAX = 32768             # octets of one sent message
    WORDING_MAX = 1024               # octets around the audio of a sent message
    MARK_NAME_MAX = 128
    WS_HEADER_ROOM = 14              # what a WebSocket library writes in front of a message
    LAST_FRAME_SAMPLES = 320         # the longest frame that losses are filled in from


cdef inline Py_ssize_t base64_room(Py_ssize_t chars) noexcept nogil:
    """Octets that the decoder may write for `chars` characters, whole vectors included."""
    return chars // 4 * 3 + 32
