# Base64 (RFC 4648, section 4) between memory that callers own. The kernels are in base64.h.

from cpython.buffer cimport PyBuffer_Release
from libc.stdint cimport uint8_t

from voicecall.errors import CodecError


cdef extern from "base64.h" nogil:
    void base64_prepare()
    Py_ssize_t base64_encode(const uint8_t* src, Py_ssize_t n, char* dst)
    Py_ssize_t base64_encoded_length(Py_ssize_t n)
    Py_ssize_t base64_decode(const char* src, Py_ssize_t n, uint8_t* dst, Py_ssize_t room)
    Py_ssize_t base64_decoded_length(const char* src, Py_ssize_t n)


cdef enum:
    # What base64_decode_into may overwrite beyond n // 4 * 3 octets.
    BASE64_DECODE_SLACK_OCTETS = 32

base64_prepare()


cdef Py_ssize_t base64_encode_into(const uint8_t* src, Py_ssize_t n, char* dst) noexcept nogil:
    """Encode n octets, padded, into (n + 2) // 3 * 4 characters; returns that number."""
    return base64_encode(src, n, dst)


cdef Py_ssize_t base64_decode_into(const char* src, Py_ssize_t n, uint8_t* dst) noexcept nogil:
    """Decode n characters; returns the octets, or -1 when they are malformed.

    dst has room for n // 4 * 3 + BASE64_DECODE_SLACK_OCTETS; all of it may be overwritten.
    """
    return base64_decode(src, n, dst, n // 4 * 3 + BASE64_DECODE_SLACK_OCTETS)


cdef Py_ssize_t view_room(
    object dst, Py_ssize_t offset, Py_ssize_t needed, Py_buffer* view
) except -1:
    """Take a writable view with `needed` octets after `offset`; PyBuffer_Release ends it."""
    try:
        octets_room(dst, view)
    except (BufferError, TypeError) as error:
        raise CodecError("writable C-contiguous memory is needed") from error
    if offset < 0 or offset > view.len or needed > view.len - offset:
        PyBuffer_Release(view)
        raise CodecError("the result does not fit behind the offset")
    return needed


def encode_base64_into(src, dst, Py_ssize_t offset=0):
    """Write the padded Base64 of some octets into memory of the caller's.

    Args:
        src: bytes-like: n octets.
        dst: writable bytes-like with room for (n + 2) // 3 * 4 characters from `offset` on. It
            must not overlap `src`. Nothing else in it is touched.
        offset: where in `dst` to begin, in octets.

    Returns:
        The number of characters written.

    Raises:
        CodecError: there is too little room, or an argument is no such memory.

    Source: RFC 4648, section 4.
    """
    cdef Py_buffer octets
    cdef Py_buffer room
    view_octets(src, &octets)
    try:
        view_room(dst, offset, base64_encoded_length(octets.len), &room)
        try:
            return base64_encode(
                <const uint8_t*>octets.buf, octets.len, <char*>room.buf + offset
            )
        finally:
            PyBuffer_Release(&room)
    finally:
        PyBuffer_Release(&octets)


def decode_base64_into(src, dst, Py_ssize_t offset=0):
    """Write the octets that some Base64 stands for into memory of the caller's.

    Args:
        src: bytes-like: n characters of the standard alphabet, n a multiple of 4, padded, without
            white space. The bits that padding leaves unused are ignored.
        dst: writable bytes-like with room for the octets from `offset` on. It must not overlap
            `src`. Nothing else in it is touched.
        offset: where in `dst` to begin, in octets.

    Returns:
        The number of octets written.

    Raises:
        CodecError: `src` is malformed (what is then in the room is undefined), there is too little
            room, or an argument is no such memory.

    Source: RFC 4648, section 4.
    """
    cdef Py_buffer chars
    cdef Py_buffer room
    cdef Py_ssize_t length
    view_octets(src, &chars)
    try:
        length = base64_decoded_length(<const char*>chars.buf, chars.len)
        if length < 0:
            raise CodecError("the length of Base64 is a multiple of 4")
        view_room(dst, offset, length, &room)
        try:
            length = base64_decode(
                <const char*>chars.buf, chars.len, <uint8_t*>room.buf + offset, length
            )
        finally:
            PyBuffer_Release(&room)
        if length < 0:
            raise CodecError("a character or padding that Base64 does not have there")
        return length
    finally:
        PyBuffer_Release(&chars)
