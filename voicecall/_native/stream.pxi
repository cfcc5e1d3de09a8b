# One media socket's two directions, without the socket.
#
# In:  message -> framing -> base64 -> jitter -> line codec -> sink.
# Out: pacer -> base64 -> framing -> outlet.
# Nothing here makes a Python object for an audio message unless a sink in Python listens.

cdef enum:
    FAULTS_MAX = 20                  # unusable messages in a row that end a stream
    DELAY_BUCKETS = 10


cdef class Workspace:
    """Scratch memory shared by all streams of one event loop; never live across a callback."""
    cdef char[WS_HEADER_ROOM + OUTGOING_MAX] outgoing
    cdef uint8_t[OUTGOING_MAX] audio
    cdef uint8_t[PAYLOAD_MAX + 64] payload
    cdef int16_t[PAYLOAD_MAX + 64] pcm
    cdef int64_t[DELAY_BUCKETS] _late_counts
    cdef int64_t _late_sum_ns
    cdef int64_t[DELAY_BUCKETS] _held_counts
    cdef int64_t _held_sum_ns

    cdef inline void note_late(self, int64_t delay_ns) noexcept:
        """Audio left `delay_ns` after the carrier ran dry; 0 when it was in time."""
        self._late_counts[delay_bucket(delay_ns)] += 1
        self._late_sum_ns += delay_ns

    cdef inline void note_held(self, int64_t delay_ns) noexcept:
        """A caller's message was handed on `delay_ns` after it came."""
        self._held_counts[delay_bucket(delay_ns)] += 1
        self._held_sum_ns += delay_ns

    def distributions(self):
        """Delays so far, of all streams of this event loop.

        Returns:
            `(bounds_s, late, held)`: upper bounds of the buckets in seconds, without the last; then
            `(counts, sum_ns)` of how late audio left and of how long callers' audio was held here.
        """
        return (
            [(1 << i) / 1000.0 for i in range(DELAY_BUCKETS - 1)],
            ([self._late_counts[i] for i in range(DELAY_BUCKETS)], self._late_sum_ns),
            ([self._held_counts[i] for i in range(DELAY_BUCKETS)], self._held_sum_ns),
        )


cdef inline int delay_bucket(int64_t delay_ns) noexcept nogil:
    """Buckets end at 1, 2, 4 ... 256 ms."""
    cdef int bucket = 0
    while bucket < DELAY_BUCKETS - 1 and delay_ns > <int64_t>1000000 << bucket:
        bucket += 1
    return bucket


cdef class Outlet:
    """Where a stream's messages go.

    Messages passed to `send` have WS_HEADER_ROOM octets of scratch in front of them.
    """
    cdef int send(self, char* message, Py_ssize_t length) except -1:
        raise TypeError("an outlet has to define where messages go")


cdef class CallableOutlet(Outlet):
    """Hands every outgoing message to `function(message: bytes)`."""
    cdef object _function

    def __cinit__(self, function):
        self._function = function

    cdef int send(self, char* message, Py_ssize_t length) except -1:
        self._function(PyBytes_FromStringAndSize(message, length))
        return 0


cdef class MediaStream:
    """One media socket's audio, both ways, independent of the kind of socket.

    Args:
        workspace: scratch memory of this event loop.
        handler: told of everything that is not audio; it has
            `on_message(message: dict)` for every other message (CodecError counts it as a fault),
            `on_faults()` when FAULTS_MAX messages in a row were unusable,
            `on_room()` when audio was refused by `write` and there is room again,
            `on_failure(error)` when a sink or the outlet raised.
        jitter_ms: see `JitterBuffer`.

    Attributes:
        messages, faults: messages received, and unusable ones of them.
        media_in, octets_in: audio messages of the caller and the octets handed on.
        concealed: lost frames that were filled in.
        media_out, octets_out: audio messages and their audio sent.
        last_media_ns: when the last audio of the caller came.
    """
    cdef Workspace _workspace
    cdef Outlet _outlet
    cdef object _handler
    cdef object _sink
    cdef bint _sink_coded
    cdef bint _wants_room
    cdef WireFormat _wire
    cdef Wording _wording            # of the caller's messages
    cdef int _encoding
    cdef bint _swaps_in              # the caller's samples have their high octets first
    cdef bint _swaps_out             # so have ours
    cdef int _faults_in_row
    cdef bint _handing_on            # the sink is at work
    cdef int _hole                   # frames of the present hole that are filled in
    cdef Py_ssize_t _message_samples  # of the last message; 0 before the first
    cdef Py_ssize_t _last_samples
    cdef int16_t[LAST_FRAME_SAMPLES] _last
    cdef public bint decode_always
    cdef readonly JitterBuffer jitter
    cdef readonly Pacer pacer
    cdef readonly int64_t messages
    cdef readonly int64_t faults
    cdef readonly int64_t media_in
    cdef readonly int64_t octets_in
    cdef readonly int64_t concealed
    cdef readonly int64_t media_out
    cdef readonly int64_t octets_out
    cdef readonly int64_t last_media_ns
    cdef object _ticker              # what pumps it; None when nothing does
    cdef Py_ssize_t _index           # where the ticker keeps it; -1
    cdef int64_t* _due_ns            # there: when it next has to be pumped; NULL

    def __cinit__(self, Workspace workspace not None, handler, jitter_ms: int = 60):
        self._workspace = workspace
        self._handler = handler
        self.jitter = JitterBuffer(jitter_ms)
        self._index = -1

    def __dealloc__(self):
        forget_wording(&self._wording)

    def connect(self, Outlet outlet not None):
        """Give the stream somewhere to send to."""
        self._outlet = outlet

    def begin(
        self, str encoding not None, WireFormat wire not None, Pacer pacer not None,
        bint swaps_in=False, bint swaps_out=False,
    ):
        """The stream's `start` has come: audio may flow.

        Args:
            encoding: of the caller's audio: `ulaw`, `alaw` or `pcm16`.
            wire: wording of outgoing messages.
            pacer: schedules outgoing audio; one taken over from an earlier socket goes on as it is.
            swaps_in: the caller's audio is big-endian; for `pcm16` only. On this side of the stream
                all linear audio is little-endian.
            swaps_out: outgoing audio has to be big-endian; it is linear, then.

        Raises:
            CodecError: unknown encoding, or messages would be too long.
        """
        cdef Py_ssize_t octets = pacer.group * pacer.frame_octets
        if (octets + 2) // 3 * 4 + WORDING_MAX > OUTGOING_MAX:
            raise CodecError("%d octets of audio do not fit one message" % octets)
        self._encoding = line_encoding(encoding)
        self._swaps_in = swaps_in and self._encoding == ENCODING_PCM16
        self._swaps_out = swaps_out
        self._wire = wire
        self.pacer = pacer
        self._due_at(0)

    def listen(self, sink, coded: bool = False):
        """Hand the caller's audio to `sink(audio: bytes)`, in order and with losses filled in.

        Args:
            sink: called once a message; None to stop. It may write, clear and close.
            coded: give the line's own code instead of PCM16.
        """
        self._sink = sink
        self._sink_coded = coded

    def close(self):
        """Break all ties; the stream is dead afterwards."""
        self._outlet = None
        self._sink = None
        self._handler = None

    # --- in ---

    def receive(self, bytes message not None, int64_t now_ns):
        """Take one text message as it came from the socket."""
        self.receive_text(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), now_ns)

    def refuse(self):
        """Count a message that is unusable as such: binary, or too long to be kept."""
        self.messages += 1
        self._fault()

    cdef int receive_text(self, const char* message, Py_ssize_t length, int64_t now_ns) except -1:
        cdef MediaPacket packet
        cdef Py_ssize_t octets
        cdef Scan scan
        self.messages += 1
        if length > MESSAGE_MAX:
            self._fault()
            return 0
        if fits_wording(&self._wording, message, length, &packet):
            scan = SCAN_MEDIA
        else:
            scan = scan_media(message, length, &packet)
            if scan == SCAN_MEDIA:
                learn_wording(&self._wording, message, length, &packet)
        if scan == SCAN_OTHER_TRACK:
            self._faults_in_row = 0
            return 0
        if scan == SCAN_MEDIA:
            octets = base64_decode_into(packet.payload, packet.payload_chars, self._workspace.payload)
            if octets >= 0:
                self._take_audio(
                    packet.chunk if packet.chunk >= 0 else packet.sequence, octets, now_ns
                )
                return 0
        self._receive_rare(PyBytes_FromStringAndSize(message, length), now_ns)
        return 0

    cdef int _receive_rare(self, bytes message, int64_t now_ns) except -1:
        cdef object parsed
        try:
            parsed = orjson.loads(message)
            if not isinstance(parsed, dict) or not isinstance(parsed.get("event"), str):
                raise CodecError("a message is an object with an event")
            if parsed["event"] == "media":
                self._receive_rare_media(parsed, now_ns)
                return 0
            if self._handler is not None:
                self._handler.on_message(parsed)
        except (CodecError, orjson.JSONDecodeError):
            self._fault()
            return 0
        self._faults_in_row = 0
        return 0

    cdef int _receive_rare_media(self, dict message, int64_t now_ns) except -1:
        cdef bytes audio
        number, audio = read_rare_media(message)
        if audio is None:
            self._faults_in_row = 0
            return 0
        if len(audio) > PAYLOAD_MAX:
            raise CodecError("audio message too long")
        memcpy(self._workspace.payload, PyBytes_AS_STRING(audio), PyBytes_GET_SIZE(audio))
        self._take_audio(number, PyBytes_GET_SIZE(audio), now_ns)
        return 0

    cdef int _fault(self) except -1:
        self.faults += 1
        self._faults_in_row += 1
        if self._faults_in_row == FAULTS_MAX and self._handler is not None:
            self._handler.on_faults()
        return 0

    cdef int _take_audio(self, int64_t number, Py_ssize_t octets, int64_t now_ns) except -1:
        """The workspace's payload is one message's audio."""
        cdef int verdict
        cdef bytes audio
        if self._wire is None or (self._encoding == ENCODING_PCM16 and octets % 2):
            self._fault()
            return 0
        if self._swaps_in:
            swap_samples(self._workspace.payload, octets, self._workspace.payload)
        self._faults_in_row = 0
        self.media_in += 1
        self.last_media_ns = now_ns
        if number < 0:
            return self._deliver(self._workspace.payload, octets)
        verdict = self.jitter.offer(number, self._workspace.payload, octets, now_ns)
        if verdict == VERDICT_RESTART:
            # What is released first may call back, and the workspace does not outlive that.
            audio = PyBytes_FromStringAndSize(<const char*>self._workspace.payload, octets)
            self._release_held(now_ns, True)
            self.jitter.restart(number)
            memcpy(self._workspace.payload, PyBytes_AS_STRING(audio), octets)
            verdict = self.jitter.offer(number, self._workspace.payload, octets, now_ns)
        if verdict == VERDICT_DELIVER:
            self._workspace.note_held(0)
            self._deliver(self._workspace.payload, octets)
        if self.jitter._held_count:
            self._release_held(now_ns, False)
            self._due_at(0)
        return 0

    cdef int _release_held(self, int64_t now_ns, bint give_up) except -1:
        cdef HeldPacket packet
        cdef int gap
        cdef Release release
        while True:
            release = self.jitter.take_next(now_ns, give_up, &packet, &gap)
            if release == RELEASE_NOTHING:
                return 0
            if release == RELEASE_GAP:
                self._conceal(gap)
                continue
            self._workspace.note_held(max(0, now_ns - packet.arrived_ns))
            try:
                self._deliver(packet.audio, packet.octets)
            finally:
                PyMem_Free(packet.audio)

    cdef int _deliver(self, const uint8_t* audio, Py_ssize_t octets) except -1:
        cdef Py_ssize_t samples = octets // 2 if self._encoding == ENCODING_PCM16 else octets
        cdef Py_ssize_t kept
        cdef int16_t* pcm
        cdef bytes heard
        self.octets_in += octets
        self._hole = 0
        if self._sink is None:
            if self.decode_always:
                line_decode(self._encoding, audio, octets, self._workspace.pcm)
            return 0
        self._message_samples = samples
        self._last_samples = min(samples, LAST_FRAME_SAMPLES)
        if self._sink_coded:
            kept = self._last_samples * (octets // samples) if samples else 0
            line_decode(self._encoding, audio + octets - kept, kept, self._last)
            return self._hand_on(PyBytes_FromStringAndSize(<const char*>audio, octets))
        heard = PyBytes_FromStringAndSize(NULL, 2 * samples)
        pcm = <int16_t*>PyBytes_AS_STRING(heard)
        line_decode(self._encoding, audio, octets, pcm)
        memcpy(self._last, pcm + samples - self._last_samples, 2 * self._last_samples)
        return self._hand_on(heard)

    cdef int _conceal(self, int frames) except -1:
        """Fill a hole of `frames` messages; they are taken to be as long as the last one."""
        cdef int i
        self.concealed += frames
        if self._message_samples == 0:
            return 0
        for i in range(frames):
            # The sink may stop listening at any of them.
            if self._sink is None:
                return 0
            self._hand_on(self._filling())
            self._hole += 1
        return 0

    cdef bytes _filling(self):
        """The next frame of a hole, as the sink wants it."""
        cdef Py_ssize_t samples = self._message_samples
        cdef bytes pcm = PyBytes_FromStringAndSize(NULL, 2 * samples)
        cdef bytes coded
        conceal_into(
            self._last, self._last_samples, self._hole, <int16_t*>PyBytes_AS_STRING(pcm), samples
        )
        if not self._sink_coded or self._encoding == ENCODING_PCM16:
            return pcm
        coded = PyBytes_FromStringAndSize(NULL, samples)
        line_encode(
            self._encoding, <const int16_t*>PyBytes_AS_STRING(pcm), samples,
            <uint8_t*>PyBytes_AS_STRING(coded),
        )
        return coded

    cdef int _hand_on(self, bytes heard) except -1:
        self._handing_on = True
        try:
            self._sink(heard)
        except Exception as error:
            # One call's broken listener must not take the socket or other calls with it.
            self._sink = None
            if self._handler is not None:
                self._handler.on_failure(error)
        finally:
            self._handing_on = False
        return 0

    # --- out ---

    def write(self, bytes audio not None, int64_t now_ns) -> bool:
        """Queue line audio and send what is due; False, and nothing queued, without room.

        After a refusal `on_room` is called once half of the queue has left.
        """
        if self.pacer is None:
            return False
        if not self.pacer.write(audio, now_ns):
            self._wants_room = True
            self._due_at(0)
            return False
        self.pump(now_ns)
        return True

    def finish(self, int64_t now_ns, str mark=None):
        """End an utterance: pad its last frame and, if named, put a mark behind it."""
        if self.pacer is None:
            return
        self.pacer.finish(now_ns)
        if mark is not None:
            self.pacer.mark(mark)
        self.pump(now_ns)

    def clear(self, int64_t now_ns):
        """Drop everything queued, here and at the carrier, in this very moment."""
        if self.pacer is None:
            return
        self.pacer.clear(now_ns)
        self._wants_room = False
        self.send(self._wire.clear)

    def send(self, bytes message not None):
        """Send one ready-made text message of at most OUTGOING_MAX octets, unpaced."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(message)
        if length > OUTGOING_MAX:
            raise CodecError("message of %d octets is too long" % length)
        cdef Outlet outlet = self._outlet
        if outlet is not None:
            memcpy(self._workspace.outgoing + WS_HEADER_ROOM, PyBytes_AS_STRING(message), length)
            outlet.send(self._workspace.outgoing + WS_HEADER_ROOM, length)

    def send_audio(self, bytes audio not None):
        """Send line audio at once, past the pacer: for echoes and tests of the line."""
        if len(audio) > MESSAGE_SCRATCH_OCTETS:
            raise CodecError("at most %d octets at once" % MESSAGE_SCRATCH_OCTETS)
        if self._wire is not None:
            self._send_audio(<const uint8_t*>PyBytes_AS_STRING(audio), PyBytes_GET_SIZE(audio))

    cdef int _send_audio(self, const uint8_t* audio, Py_ssize_t octets) except -1:
        cdef char* message = self._workspace.outgoing + WS_HEADER_ROOM
        # A reference of our own: what is called there may close the stream.
        cdef Outlet outlet = self._outlet
        self.media_out += 1
        self.octets_out += octets
        if self._swaps_out:
            swap_samples(audio, octets, self._workspace.audio)
            audio = self._workspace.audio
        if outlet is not None:
            outlet.send(message, self._wire.media_into(audio, octets, message))
        return 0

    cpdef int pump(self, int64_t now_ns) except -1:
        """Send what is due, and give up on what has waited too long in the jitter buffer.

        A ticker pumps when it thinks that something is due: whoever changes the pacer of a stream
        that is served by one has to pump afterwards.
        """
        # Not from within the sink, which would hear later audio before it has done with this.
        if self.jitter._held_count and not self._handing_on:
            self._release_held(now_ns, False)
        if self.pacer is not None:
            self._send_due(now_ns)
        self._due_at(self._next_due_ns())
        return 0

    cdef int _send_due(self, int64_t now_ns) except -1:
        cdef PyObject* mark = NULL
        cdef Py_ssize_t octets = 0
        cdef int kind
        # Whoever is called may close the stream; what is left then stays for its successor.
        while self._outlet is not None:
            kind = self.pacer.next_packet(now_ns, self._workspace.audio, &octets, &mark)
            if kind == PACKET_NONE:
                break
            if kind == PACKET_AUDIO:
                self._workspace.note_late(self.pacer._late_ns)
                self._send_audio(self._workspace.audio, octets)
            else:
                try:
                    self._send_mark(<bytes>mark)
                finally:
                    Py_DECREF(<object>mark)
        if self._wants_room and self.pacer.has_room():
            self._wants_room = False
            if self._handler is not None:
                self._handler.on_room()
        return 0

    cdef int64_t _next_due_ns(self) noexcept:
        if self.jitter._held_count:
            return 0
        if self.pacer is None or self._outlet is None:
            return INT64_MAX
        return self.pacer.due_ns()

    cdef inline void _due_at(self, int64_t due_ns) noexcept:
        if self._due_ns != NULL:
            self._due_ns[0] = due_ns

    cdef int _send_mark(self, bytes name) except -1:
        cdef char* message = self._workspace.outgoing + WS_HEADER_ROOM
        cdef Outlet outlet = self._outlet
        if outlet is not None:
            outlet.send(message, self._wire.mark_into(name, message))
        return 0


def read_rare_media(message: dict):
    """The audio of a media message in a form the scanner does not know.

    Returns:
        `(number, audio)`, -1 without a number; audio is None when it is not the caller's.

    Raises:
        CodecError: it has no audio, or a number that is none.
    """
    media = message.get("media")
    if not isinstance(media, dict) or not isinstance(media.get("payload"), str):
        raise CodecError("a media message has media.payload")
    if media.get("track", "inbound") not in ("inbound", "inbound_track"):
        return -1, None
    number = read_rare_count(media.get("chunk"))
    if number < 0:
        number = read_rare_count(message.get("sequenceNumber", message.get("sequence_number")))
    read_rare_count(media.get("timestamp"))
    return number, decode_payload(media["payload"])


cdef bytes decode_payload(str payload):
    """By the same decoder as the fast path, so that both accept the same."""
    cdef bytes chars
    cdef bytearray audio
    cdef Py_ssize_t octets
    if not payload.isascii():
        raise CodecError("media.payload is not base64")
    chars = payload.encode()
    audio = bytearray(base64_room(len(chars)))
    octets = base64_decode_into(
        PyBytes_AS_STRING(chars), len(chars), <uint8_t*>PyByteArray_AS_STRING(audio)
    )
    if octets < 0:
        raise CodecError("media.payload is not base64")
    return bytes(audio[:octets])


def read_rare_count(value) -> int:
    """A non-negative integer, maybe written as a string of digits; -1 for None."""
    if value is None:
        return -1
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10 ** MAX_DIGITS:
        return value
    raise CodecError("not a count: %r" % (value,))
