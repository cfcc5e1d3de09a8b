# G.711: mu-law and A-law, to and from 16-bit linear PCM. The arithmetic is in g711.h.

from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, uint8_t

from voicecall.errors import CodecError


cdef extern from "simd.h" nogil:
    bint simd_set(bint wanted)


cdef extern from "octets.h":
    int octets_view(object data, Py_buffer* view) except -1
    int octets_room(object data, Py_buffer* view) except -1


cdef extern from "g711.h" nogil:
    ctypedef int16_t pcm16_t
    void g711_ulaw_encode(const pcm16_t* src, Py_ssize_t n, uint8_t* dst)
    void g711_ulaw_decode(const uint8_t* src, Py_ssize_t n, pcm16_t* dst)
    void g711_alaw_encode(const pcm16_t* src, Py_ssize_t n, uint8_t* dst)
    void g711_alaw_decode(const uint8_t* src, Py_ssize_t n, pcm16_t* dst)


ctypedef void (*g711_encoder)(const int16_t* src, Py_ssize_t n, uint8_t* dst) noexcept nogil
ctypedef void (*g711_decoder)(const uint8_t* src, Py_ssize_t n, int16_t* dst) noexcept nogil

simd_set(True)


# Leaves: n samples from src to dst, which do not overlap; neither needs any alignment.

cdef void ulaw_encode_into(const int16_t* src, Py_ssize_t n, uint8_t* dst) noexcept nogil:
    g711_ulaw_encode(<const pcm16_t*>src, n, dst)


cdef void ulaw_decode_into(const uint8_t* src, Py_ssize_t n, int16_t* dst) noexcept nogil:
    g711_ulaw_decode(src, n, <pcm16_t*>dst)


cdef void alaw_encode_into(const int16_t* src, Py_ssize_t n, uint8_t* dst) noexcept nogil:
    g711_alaw_encode(<const pcm16_t*>src, n, dst)


cdef void alaw_decode_into(const uint8_t* src, Py_ssize_t n, int16_t* dst) noexcept nogil:
    g711_alaw_decode(src, n, <pcm16_t*>dst)


cdef int view_octets(object data, Py_buffer* view) except -1:
    """Take a view of any C-contiguous bytes-like object; PyBuffer_Release ends it."""
    try:
        return octets_view(data, view)
    except (BufferError, TypeError) as error:
        raise CodecError("a C-contiguous bytes-like object is needed") from error


cdef int view_pcm16(object pcm, Py_buffer* view) except -1:
    """Take a view of whole 16-bit samples; PyBuffer_Release ends it."""
    view_octets(pcm, view)
    if view.len % 2:
        PyBuffer_Release(view)
        raise CodecError("16-bit PCM has an even number of octets")
    return 0


cdef inline bytes g711_encoded(object pcm, g711_encoder encode):
    cdef Py_buffer view
    view_pcm16(pcm, &view)
    try:
        codes = PyBytes_FromStringAndSize(NULL, view.len // 2)
        encode(<const int16_t*>view.buf, view.len // 2, <uint8_t*>PyBytes_AS_STRING(codes))
    finally:
        PyBuffer_Release(&view)
    return codes


cdef inline bytes g711_decoded(object codes, g711_decoder decode):
    cdef Py_buffer view
    view_octets(codes, &view)
    try:
        pcm = PyBytes_FromStringAndSize(NULL, view.len * 2)
        decode(<const uint8_t*>view.buf, view.len, <int16_t*>PyBytes_AS_STRING(pcm))
    finally:
        PyBuffer_Release(&view)
    return pcm


def ulaw_encode(pcm, /):
    """Compress linear PCM to mu-law.

    Args:
        pcm: bytes-like, even length 2*n: n little-endian int16 samples, 8000 Hz mono.

    Returns:
        bytes of length n.

    Raises:
        CodecError: the length is odd, or `pcm` is not contiguous octets.

    Source: ITU-T G.711 (11/88), table 2; bit-exact with ITU-T G.191 `ulaw_compress`.
    """
    return g711_encoded(pcm, ulaw_encode_into)


def ulaw_decode(codes, /):
    """Expand mu-law to linear PCM.

    Args:
        codes: bytes-like: n mu-law codes, 8000 Hz mono.

    Returns:
        bytes of length 2*n: little-endian int16 samples, at most 32124 either side of zero.

    Raises:
        CodecError: `codes` is not contiguous octets.

    Source: ITU-T G.711 (11/88), table 2; bit-exact with ITU-T G.191 `ulaw_expand`.
    """
    return g711_decoded(codes, ulaw_decode_into)


def alaw_encode(pcm, /):
    """Compress linear PCM to A-law.

    Args:
        pcm: bytes-like, even length 2*n: n little-endian int16 samples, 8000 Hz mono.

    Returns:
        bytes of length n, with the even bits inverted as on the line.

    Raises:
        CodecError: the length is odd, or `pcm` is not contiguous octets.

    Source: ITU-T G.711 (11/88), table 1; bit-exact with ITU-T G.191 `alaw_compress`.
    """
    return g711_encoded(pcm, alaw_encode_into)


def alaw_decode(codes, /):
    """Expand A-law to linear PCM.

    Args:
        codes: bytes-like: n A-law codes as on the line, 8000 Hz mono.

    Returns:
        bytes of length 2*n: little-endian int16 samples, at most 32256 either side of zero.

    Raises:
        CodecError: `codes` is not contiguous octets.

    Source: ITU-T G.711 (11/88), table 1; bit-exact with ITU-T G.191 `alaw_expand`.
    """
    return g711_decoded(codes, alaw_decode_into)


def _set_simd(wanted, /):
    """Choose between the vector and the portable loops, for tests; returns the choice in force."""
    return simd_set(wanted)
