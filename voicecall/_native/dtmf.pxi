# Key tones: making them and recognising them. The signal processing is in dtmf.h.

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memset

from voicecall.errors import CodecError


cdef extern from "dtmf.h" nogil:
    enum:
        DTMF_MIN_RATE_HZ
        DTMF_MAX_RATE_HZ
    ctypedef struct dtmf_detector:
        pass
    const char* dtmf_keypad
    void dtmf_init(dtmf_detector* self, int rate_hz)
    Py_ssize_t dtmf_feed(dtmf_detector* self, const pcm16_t* pcm, Py_ssize_t n, char* digit)
    void dtmf_tone(int key, int rate_hz, Py_ssize_t n, pcm16_t* dst)


cdef enum:
    # A sequence is one instruction to a carrier, which allows 32 keys or so; ten seconds a tone.
    DTMF_MAX_KEYS = 128
    DTMF_MAX_TONE_MS = 10_000

_DTMF_PAUSE_MS = {"w": 500, "W": 1000}


cdef int check_dtmf_rate(int rate_hz) except -1:
    if not DTMF_MIN_RATE_HZ <= rate_hz <= DTMF_MAX_RATE_HZ:
        raise CodecError("key tones have a sample rate of 8000 to 48000 Hz")
    return 0


cdef bytes dtmf_silence(int rate_hz, int pause_ms):
    return bytes(2 * (rate_hz * pause_ms // 1000))


cdef bytes dtmf_key(str key, int rate_hz, int tone_ms):
    position = dtmf_keypad.find(key.encode("ascii", "replace"))
    if position < 0:
        raise CodecError("a key is one of 0-9 A-D * # or a pause, w or W")
    cdef Py_ssize_t samples = <Py_ssize_t>rate_hz * tone_ms // 1000
    pcm = PyBytes_FromStringAndSize(NULL, 2 * samples)
    dtmf_tone(position, rate_hz, samples, <pcm16_t*>PyBytes_AS_STRING(pcm))
    return pcm


def dtmf_tones(str digits, int rate_hz=8000, int tone_ms=100, int gap_ms=100):
    """Synthesise a sequence of keys.

    Args:
        digits: up to 128 of `0`-`9`, `A`-`D`, `*`, `#`; `w` is a pause of 500 ms, `W` of 1000 ms.
        rate_hz: 8000 to 48 000.
        tone_ms: length of each tone, 1 to 10 000; receivers need 40.
        gap_ms: silence after each tone, 0 to 10 000; receivers need 40.

    Returns:
        bytes: little-endian int16 samples. The row's tone has -11 dBm0, the column's -9 dBm0.

    Raises:
        CodecError: an unknown key, too many of them, or a number out of range.

    Source: ITU-T Q.23.
    """
    cdef str key
    check_dtmf_rate(rate_hz)
    if len(digits) > DTMF_MAX_KEYS:
        raise CodecError("a sequence has at most 128 keys")
    if not (1 <= tone_ms <= DTMF_MAX_TONE_MS and 0 <= gap_ms <= DTMF_MAX_TONE_MS):
        raise CodecError("a tone is 1 to 10000 ms, a gap 0 to 10000 ms")
    pieces = []
    for key in digits:
        if key in _DTMF_PAUSE_MS:
            pieces.append(dtmf_silence(rate_hz, _DTMF_PAUSE_MS[key]))
        else:
            pieces.append(dtmf_key(key, rate_hz, tone_ms))
            pieces.append(dtmf_silence(rate_hz, gap_ms))
    return b"".join(pieces)


@cython.final
cdef class DtmfDetector:
    """Recognise the keys that somebody presses, in the audio of one stream.

    A key is recognised after 40 ms at the latest, once for each press; less than 20 ms is none. At
    least 40 ms have to lie between two presses of a key; 10 ms without tone do not split one.

    Args:
        rate_hz: samples a second, 8000 to 48 000.

    Raises:
        CodecError: the rate is out of range.

    Source: Goertzel filters; limits after ITU-T Q.24, annex A.
    """

    cdef readonly int rate_hz
    cdef dtmf_detector _detector

    def __cinit__(self, int rate_hz=8000):
        check_dtmf_rate(rate_hz)
        self.rate_hz = rate_hz
        dtmf_init(&self._detector, rate_hz)

    def feed(self, pcm):
        """Take the next piece of the stream.

        Args:
            pcm: bytes-like, even length 2*n: n little-endian int16 samples, of any number.

        Returns:
            str: the keys recognised within this piece, in order; nearly always empty.

        Raises:
            CodecError: the length is odd, or `pcm` is not contiguous octets.
        """
        cdef Py_buffer view
        cdef Py_ssize_t taken = 0
        cdef char digit = 0
        cdef str digits = ""
        view_pcm16(pcm, &view)
        try:
            while taken < view.len // 2:
                taken += dtmf_feed(
                    &self._detector, <const pcm16_t*>view.buf + taken, view.len // 2 - taken, &digit
                )
                if digit:
                    digits += chr(digit)
        finally:
            PyBuffer_Release(&view)
        return digits
