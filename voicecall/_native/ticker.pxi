# Ticker: one pass over all legs, so that no leg needs a timer of its own.
#
# A leg has something to do ten times a second and is looked at two hundred times. So when each is due
# stands in one array, and legs that are not due are not even touched.

cdef class Ticker:
    """Pumps every stream of one event loop when it is due.

    Attributes:
        ticks: passes so far.
    """
    cdef list _streams
    cdef int64_t* _due_ns            # of each, in the same order
    cdef Py_ssize_t _room
    cdef readonly int64_t ticks

    def __cinit__(self):
        self._streams = []

    def __dealloc__(self):
        PyMem_Free(self._due_ns)

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, MediaStream stream not None):
        """Serve `stream` from now on; one that is served already, here or elsewhere, stays there."""
        cdef Py_ssize_t count = len(self._streams)
        if stream._index >= 0:
            return
        if count == self._room:
            self._grow()
        self._streams.append(stream)
        self._place(stream, count, 0)

    def discard(self, MediaStream stream not None):
        """Serve `stream` no longer; one that is not served here stays as it is."""
        cdef Py_ssize_t index = stream._index
        cdef MediaStream last
        if not 0 <= index < len(self._streams) or self._streams[index] is not stream:
            return
        last = self._streams.pop()
        if last is not stream:
            self._streams[index] = last
            self._place(last, index, self._due_ns[last._index])
        stream._index = -1
        stream._due_ns = NULL
        stream._ticker = None

    def tick(self, int64_t now_ns) -> int:
        """Serve the streams that are due; how many. A stream that fails is told, not raised."""
        # A stream may leave while it is served, which moves another one: so from the end.
        cdef Py_ssize_t i = len(self._streams)
        cdef int served = 0
        cdef MediaStream stream
        self.ticks += 1
        while i > 0:
            i -= 1
            if i >= len(self._streams) or self._due_ns[i] > now_ns:
                continue
            served += 1
            stream = self._streams[i]
            try:
                stream.pump(now_ns)
            except Exception as error:
                if stream._handler is not None:
                    stream._handler.on_failure(error)
        return served

    cdef int _place(self, MediaStream stream, Py_ssize_t index, int64_t due_ns) except -1:
        stream._ticker = self
        stream._index = index
        stream._due_ns = self._due_ns + index
        stream._due_ns[0] = due_ns
        return 0

    cdef int _grow(self) except -1:
        cdef Py_ssize_t room = max(64, 2 * self._room)
        cdef int64_t* due_ns = <int64_t*>PyMem_Realloc(self._due_ns, room * sizeof(int64_t))
        cdef MediaStream stream
        if due_ns == NULL:
            raise MemoryError
        self._due_ns = due_ns
        self._room = room
        for stream in self._streams:
            stream._due_ns = due_ns + stream._index
        return 0
