# Sample rate conversion of a stream. The arithmetic is in resample.h.

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from functools import lru_cache
from math import gcd

from voicecall.errors import CodecError


cdef extern from "resample.h" nogil:
    ctypedef struct resample_filter_t:
        int32_t taps

    ctypedef struct resample_place_t:
        const int16_t* sample
        int32_t phase

    int32_t resample_taps(int32_t phases, int32_t advance)
    void resample_design(
        resample_filter_t* filter, int32_t phases, int32_t advance, double* ideal, int16_t* tap
    )
    Py_ssize_t resample_outputs(const resample_filter_t* filter, int32_t phase, Py_ssize_t samples)
    void resample_run(
        const resample_filter_t* filter, resample_place_t* place, int16_t* dst, Py_ssize_t n
    )


cdef enum:
    RESAMPLER_MIN_HZ = 1_000
    RESAMPLER_MAX_HZ = 384_000
    # Of all phases together. The customary rates need two thirds of it at most; what has no ratio
    # of small numbers would need up to a hundred times as many.
    RESAMPLER_MAX_TAPS = 1 << 17
    RESAMPLER_FILTERS_KEPT = 16


cdef g711_encoder encoder_of(str encoding) except? NULL:
    """What codes samples for the line; NULL where they stay linear."""
    if encoding == "ulaw":
        return ulaw_encode_into
    if encoding == "alaw":
        return alaw_encode_into
    if encoding == "pcm16":
        return NULL
    raise CodecError("an encoding is ulaw, alaw or pcm16")


@cython.final
cdef class _ResampleFilter:
    """The taps for one ratio of rates in lowest terms; they never change, so streams share them."""

    cdef resample_filter_t design
    cdef int16_t* _tap

    def __cinit__(self, int32_t phases, int32_t advance):
        cdef int64_t count = <int64_t>phases * resample_taps(phases, advance)
        self._tap = NULL
        if count > RESAMPLER_MAX_TAPS:
            raise CodecError("the sample rates have no ratio of small numbers")
        cdef double* ideal = <double*>PyMem_Malloc(count * sizeof(double))
        self._tap = <int16_t*>PyMem_Malloc(count * sizeof(int16_t))
        if ideal == NULL or self._tap == NULL:
            PyMem_Free(ideal)
            raise MemoryError
        resample_design(&self.design, phases, advance, ideal, self._tap)
        PyMem_Free(ideal)

    def __dealloc__(self):
        PyMem_Free(self._tap)


cdef object _filter_for = lru_cache(RESAMPLER_FILTERS_KEPT)(_ResampleFilter)


@cython.final
cdef class Resampler:
    """Convert one stream of mono PCM from one sample rate to another, piece by piece.

    The pieces' boundaries do not show: however a stream is cut, the joined output is the same, and
    as long as the whole stream's. With b the lower of the rates, the sound is flat to 0.425 b
    within 0.003 dB, and what lies above 0.575 b is down by 70 dB: 3400 and 4600 of 8000 Hz.
    Between equal rates the samples pass through.

    Output runs behind the input by 16 samples of the lower rate, 2 ms at 8000 Hz, until the last
    piece brings all of the rest; the sound keeps its place in the stream.

    Args:
        in_hz: samples a second of the input, 1000 to 384 000.
        out_hz: samples a second of the output, in the same range.
        encoding: how the output is coded: `pcm16`, `ulaw` or `alaw`.

    Raises:
        CodecError: a rate is out of range, or the two are no small multiples of a common one, as
            8000 and 8001 are not; all customary rates are. Or the encoding is not known.

    Source: Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983, section 3.3.
    """

    cdef readonly int in_hz
    cdef readonly int out_hz
    cdef _ResampleFilter _filter
    cdef int16_t* _history   # the latest samples, from the first on that the next output weighs
    cdef Py_ssize_t _held    # how many, always less than the filter has taps
    cdef int32_t _phase      # of the next output
    cdef g711_encoder _encode  # NULL for linear output

    def __cinit__(self, int in_hz, int out_hz, str encoding="pcm16"):
        # Declared, since where a module has pairs of truth values, too, Cython 3.3.1 takes pairs of
        # integers for such.
        cdef int rate_hz
        self._history = NULL
        self._encode = encoder_of(encoding)
        for rate_hz in (in_hz, out_hz):
            if not RESAMPLER_MIN_HZ <= rate_hz <= RESAMPLER_MAX_HZ:
                raise CodecError("a sample rate is 1000 to 384000 Hz")
        self.in_hz = in_hz
        self.out_hz = out_hz
        if in_hz == out_hz:
            return
        common_hz = gcd(in_hz, out_hz)
        self._filter = _filter_for(out_hz // common_hz, in_hz // common_hz)
        self._history = <int16_t*>PyMem_Malloc(self._filter.design.taps * sizeof(int16_t))
        if self._history == NULL:
            raise MemoryError
        self.reset()

    def __dealloc__(self):
        PyMem_Free(self._history)

    def process(self, pcm, last=False):
        """Convert the next piece of the stream.

        Args:
            pcm: bytes-like, even length 2*n: n little-endian int16 samples at `in_hz`, or none.
            last: the stream ends with this piece; the next one begins a new stream.

        Returns:
            bytes: the samples at `out_hz` that are ready, possibly none, two octets each as int16
            or one as G.711. Where nothing is to be done, `pcm` itself.

        Raises:
            CodecError: the length is odd, or `pcm` is not contiguous octets.
        """
        cdef Py_buffer octets
        view_pcm16(pcm, &octets)
        try:
            if self._filter is not None:
                return self._converted(octets.buf, octets.len // 2, last)
            if self._encode == NULL and PyBytes_CheckExact(pcm):
                return pcm
            return self._coded(<const int16_t*>octets.buf, octets.len // 2)
        finally:
            PyBuffer_Release(&octets)

    def reset(self):
        """Forget the stream so far, with what has not come out of it yet."""
        if self._filter is None:
            return
        # Silence before the stream, so that its first sample is in the middle of the first window.
        self._held = self._filter.design.taps // 2 - 1
        self._phase = 0
        memset(self._history, 0, self._held * sizeof(int16_t))

    cdef bytes _coded(self, const int16_t* samples, Py_ssize_t n):
        cdef bytes coded
        if self._encode == NULL:
            return PyBytes_FromStringAndSize(<const char*>samples, n * sizeof(int16_t))
        coded = PyBytes_FromStringAndSize(NULL, n)
        self._encode(samples, n, <uint8_t*>PyBytes_AS_STRING(coded))
        return coded

    cdef bytes _converted(self, const void* pcm, Py_ssize_t samples, bint last):
        cdef const resample_filter_t* design = &self._filter.design
        # Silence behind the stream brings its last sample to the middle.
        cdef Py_ssize_t silence = design.taps // 2 if last else 0
        cdef Py_ssize_t total = self._held + samples + silence
        cdef Py_ssize_t outputs = resample_outputs(design, self._phase, total)
        cdef int16_t* window = <int16_t*>PyMem_Malloc((total + outputs) * sizeof(int16_t))
        cdef resample_place_t place = resample_place_t(window, self._phase)
        if window == NULL:
            raise MemoryError
        try:
            memcpy(window, self._history, self._held * sizeof(int16_t))
            if samples:
                memcpy(window + self._held, pcm, samples * sizeof(int16_t))
            memset(window + self._held + samples, 0, silence * sizeof(int16_t))
            resample_run(design, &place, window + total, outputs)
            if last:
                self.reset()
            else:
                self._held = total - (place.sample - window)
                self._phase = place.phase
                memcpy(self._history, place.sample, self._held * sizeof(int16_t))
            return self._coded(window + total, outputs)
        finally:
            PyMem_Free(window)
