# Sample rate conversion of a stream: libsoxr does the filtering, resample.h the number formats.

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from numpy import empty, float32
from soxr import ResampleStream

from voicecall.errors import CodecError


cdef extern from "resample.h" nogil:
    void pcm16_to_float(const pcm16_t* src, Py_ssize_t n, float* dst)
    void pcm16_from_float(const float* src, Py_ssize_t n, pcm16_t* dst)


cdef enum:
    RESAMPLER_MIN_HZ = 1_000
    RESAMPLER_MAX_HZ = 384_000


cdef bytes copy_of_pcm16(object pcm):
    cdef Py_buffer octets
    view_pcm16(pcm, &octets)
    try:
        return PyBytes_FromStringAndSize(<const char*>octets.buf, octets.len)
    finally:
        PyBuffer_Release(&octets)


cdef object floats_of_pcm16(object pcm):
    """An array of the same samples as float32, not scaled."""
    cdef Py_buffer octets
    cdef Py_buffer room
    view_pcm16(pcm, &octets)
    try:
        samples = empty(octets.len // 2, float32)
        octets_room(samples, &room)
        pcm16_to_float(<const pcm16_t*>octets.buf, octets.len // 2, <float*>room.buf)
        PyBuffer_Release(&room)
    finally:
        PyBuffer_Release(&octets)
    return samples


cdef bytes pcm16_of_floats(object samples):
    """Rounded and clipped samples of a contiguous float32 array."""
    cdef Py_buffer floats
    octets_view(samples, &floats)
    try:
        pcm = PyBytes_FromStringAndSize(NULL, floats.len // 2)
        pcm16_from_float(
            <const float*>floats.buf, floats.len // 4, <pcm16_t*>PyBytes_AS_STRING(pcm)
        )
    finally:
        PyBuffer_Release(&floats)
    return pcm


@cython.final
cdef class Resampler:
    """Convert one stream of mono PCM from one sample rate to another, piece by piece.

    The pieces' boundaries do not show: however a stream is cut, the joined output is the same, and
    as long as the whole stream's. Frequencies that the lower rate cannot carry are down by more
    than 100 dB; the passband is flat to 3400 Hz of 8000. Between equal rates audio passes through.

    Output comes in steps and runs behind the input by 15 to 30 ms, until the last piece brings all
    of the rest; the sound keeps its place in the stream to half a millisecond.

    Args:
        in_hz: samples a second of the input, 1000 to 384 000.
        out_hz: samples a second of the output, in the same range.

    Raises:
        CodecError: a rate is out of range.

    Source: libsoxr's variable-rate engine at a fixed ratio. Its constant-rate engines work on
    blocks that would hold back 70 to 120 ms of a call.
    """

    cdef readonly int in_hz
    cdef readonly int out_hz
    cdef object _stream

    def __cinit__(self, int in_hz, int out_hz):
        for rate_hz in (in_hz, out_hz):
            if not RESAMPLER_MIN_HZ <= rate_hz <= RESAMPLER_MAX_HZ:
                raise CodecError("a sample rate is 1000 to 384000 Hz")
        self.in_hz = in_hz
        self.out_hz = out_hz
        self._stream = None
        if in_hz != out_hz:
            self._stream = ResampleStream(in_hz, out_hz, 1, dtype="float32", vr=True)

    def process(self, pcm, last=False):
        """Convert the next piece of the stream.

        Args:
            pcm: bytes-like, even length 2*n: n little-endian int16 samples at `in_hz`, or none.
            last: the stream ends with this piece; the next one begins a new stream.

        Returns:
            bytes: the int16 samples at `out_hz` that are ready, possibly none.

        Raises:
            CodecError: the length is odd, or `pcm` is not contiguous octets.
        """
        if self._stream is None:
            return copy_of_pcm16(pcm)
        converted = pcm16_of_floats(self._stream.resample_chunk(floats_of_pcm16(pcm), last))
        if last:
            self.reset()
        return converted

    def reset(self):
        """Forget the stream so far, with what has not come out of it yet."""
        if self._stream is not None:
            self._stream.clear()
