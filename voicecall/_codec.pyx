"""The compiled media core: one extension, cut into one fragment per concept, in reading order."""

from collections import deque

import orjson

from voicecall.errors import CodecError

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport (
    INT64_MAX, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t,
)
from libc.string cimport memchr, memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

include "_native/limits.pxi"
include "_native/g711.pxi"
include "_native/base64.pxi"
include "_native/line.pxi"
include "_native/resample.pxi"
include "_native/dtmf.pxi"
include "_native/jitter.pxi"
include "_native/pacer.pxi"
include "_native/framing.pxi"
include "_native/wording.pxi"
include "_native/stream.pxi"
include "_native/ticker.pxi"
include "_native/websocket.pxi"
include "_native/socket.pxi"
