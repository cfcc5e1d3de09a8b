# Line codecs by name: what a stream's audio is coded in, and linear PCM on our side.

cdef enum:
    ENCODING_ULAW = 0
    ENCODING_ALAW = 1
    ENCODING_PCM16 = 2


cdef int line_encoding(str name) except -1:
    if name == "ulaw":
        return ENCODING_ULAW
    if name == "alaw":
        return ENCODING_ALAW
    if name == "pcm16":
        return ENCODING_PCM16
    raise CodecError("unknown line encoding %r: it is ulaw, alaw or pcm16" % name)


cdef inline Py_ssize_t line_decode(
    int encoding, const uint8_t* audio, Py_ssize_t octets, int16_t* pcm
) noexcept nogil:
    """Line audio to linear; the number of samples. `octets` is even for pcm16."""
    if encoding == ENCODING_ULAW:
        ulaw_decode_into(audio, octets, pcm)
        return octets
    if encoding == ENCODING_ALAW:
        alaw_decode_into(audio, octets, pcm)
        return octets
    memcpy(pcm, audio, octets // 2 * 2)
    return octets // 2


cdef inline Py_ssize_t line_encode(
    int encoding, const int16_t* pcm, Py_ssize_t samples, uint8_t* audio
) noexcept nogil:
    """Linear to line audio; the number of octets."""
    if encoding == ENCODING_ULAW:
        ulaw_encode_into(pcm, samples, audio)
        return samples
    if encoding == ENCODING_ALAW:
        alaw_encode_into(pcm, samples, audio)
        return samples
    memcpy(audio, pcm, 2 * samples)
    return 2 * samples


cdef inline void swap_samples(
    const uint8_t* audio, Py_ssize_t octets, uint8_t* swapped
) noexcept nogil:
    """16-bit samples with their octets the other way round; `swapped` may be `audio` itself.

    Half a sample at the end stays as it is.
    """
    cdef Py_ssize_t i
    cdef uint8_t first
    for i in range(0, octets - 1, 2):
        first = audio[i]
        swapped[i] = audio[i + 1]
        swapped[i + 1] = first
    if octets % 2:
        swapped[octets - 1] = audio[octets - 1]
