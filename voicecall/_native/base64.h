/* Base64 (RFC 4648, section 4) at vector speed.
 *
 * The AVX2 kernels follow Wojciech Mula and Daniel Lemire, "Faster Base64 Encoding and Decoding
 * using AVX2 Instructions" (ACM TWEB 12, 2018): multiplications move the six-bit groups, byte
 * shuffles on the nibbles translate and validate. What a kernel leaves over is done by repeating
 * one that overlaps the work already done, so at most one group per call goes through the scalar
 * code. Neither kernel reads outside the source.
 */
#ifndef VOICECALL_BASE64_H
#define VOICECALL_BASE64_H

#include "simd.h"

#ifdef VOICECALL_X86
#include <immintrin.h>
#endif

#define BASE64_MALFORMED ((ptrdiff_t)-1)
/* What one AVX2 step takes and gives. */
#define BASE64_VECTOR_OCTETS 24
#define BASE64_VECTOR_CHARS 32
#define BASE64_NO_DIGIT 0x80

static const char base64_alphabet[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#if defined(__GNUC__) && __GNUC__ >= 15
    __attribute__((nonstring))
#endif
    ;

/* The value of each character; BASE64_NO_DIGIT for those outside the alphabet. Filled at load. */
static uint8_t base64_digit[256];

static inline void base64_prepare(void)
{
    for (int i = 0; i < 256; i++)
        base64_digit[i] = BASE64_NO_DIGIT;
    for (int i = 0; i < 64; i++)
        base64_digit[(uint8_t)base64_alphabet[i]] = (uint8_t)i;
}

/* ---- encoding ---- */

VOICECALL_INLINE void base64_encode_group(const uint8_t *src, char *dst)
{
    uint32_t bits = (uint32_t)src[0] << 16 | (uint32_t)src[1] << 8 | src[2];
    dst[0] = base64_alphabet[bits >> 18];
    dst[1] = base64_alphabet[bits >> 12 & 63];
    dst[2] = base64_alphabet[bits >> 6 & 63];
    dst[3] = base64_alphabet[bits & 63];
}

#ifdef VOICECALL_X86

/* 24 octets to 32 characters. */
VOICECALL_AVX2 VOICECALL_INLINE void base64_encode_vector(const uint8_t *src, char *dst)
{
    /* Twelve octets a lane; the upper lane is read early so that nothing past the 24 is touched. */
    const __m256i spread = _mm256_setr_epi8(
        1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10,
        5, 4, 6, 5, 8, 7, 9, 8, 11, 10, 12, 11, 14, 13, 15, 14);
    /* Distance from a digit to its character, at 0 for 26-51, 1-10 for 52-61, 11 for 62, 12 for
     * 63 and 13 for 0-25. */
    const __m256i shift = _mm256_setr_epi8(
        71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0,
        71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 65, 0, 0);

    __m128i lower = _mm_loadu_si128((const __m128i *)src);
    __m128i upper = _mm_loadu_si128((const __m128i *)(src + 8));
    __m256i octets = _mm256_inserti128_si256(_mm256_castsi128_si256(lower), upper, 1);
    octets = _mm256_shuffle_epi8(octets, spread);

    __m256i even = _mm256_mulhi_epu16(
        _mm256_and_si256(octets, _mm256_set1_epi32(0x0FC0FC00)), _mm256_set1_epi32(0x04000040));
    __m256i odd = _mm256_mullo_epi16(
        _mm256_and_si256(octets, _mm256_set1_epi32(0x003F03F0)), _mm256_set1_epi32(0x01000010));
    __m256i digits = _mm256_or_si256(even, odd);

    __m256i range = _mm256_subs_epu8(digits, _mm256_set1_epi8(51));
    __m256i capital = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), digits);
    range = _mm256_or_si256(range, _mm256_and_si256(capital, _mm256_set1_epi8(13)));
    __m256i chars = _mm256_add_epi8(digits, _mm256_shuffle_epi8(shift, range));
    _mm256_storeu_si256((__m256i *)dst, chars);
}

/* Encode all whole groups of src[0:n] (n a multiple of 3, at least 24). */
VOICECALL_AVX2 static void base64_encode_groups_avx2(const uint8_t *src, ptrdiff_t n, char *dst)
{
    ptrdiff_t last = n - BASE64_VECTOR_OCTETS;
    for (ptrdiff_t i = 0; i < last; i += BASE64_VECTOR_OCTETS)
        base64_encode_vector(src + i, dst + i / 3 * 4);
    base64_encode_vector(src + last, dst + last / 3 * 4);
}

#endif

static inline void base64_encode_groups(const uint8_t *src, ptrdiff_t n, char *dst)
{
#ifdef VOICECALL_X86
    if (voicecall_simd && n >= BASE64_VECTOR_OCTETS) {
        base64_encode_groups_avx2(src, n, dst);
        return;
    }
#endif
    for (ptrdiff_t i = 0; i < n; i += 3, dst += 4)
        base64_encode_group(src + i, dst);
}

/* Characters that n octets become. */
static inline ptrdiff_t base64_encoded_length(ptrdiff_t n)
{
    return n / 3 * 4 + (n % 3 ? 4 : 0);
}

/* Encode src[0:n], padded, into base64_encoded_length(n) characters; returns their number. */
static inline ptrdiff_t base64_encode(const uint8_t *src, ptrdiff_t n, char *dst)
{
    ptrdiff_t rest = n % 3;
    ptrdiff_t whole = n - rest;
    ptrdiff_t written = whole / 3 * 4;

    base64_encode_groups(src, whole, dst);
    if (rest) {
        const uint8_t group[3] = {src[whole], rest == 2 ? src[whole + 1] : 0, 0};
        base64_encode_group(group, dst + written);
        if (rest == 1)
            dst[written + 2] = '=';
        dst[written + 3] = '=';
        written += 4;
    }
    return written;
}

/* ---- decoding ---- */

/* Four characters to 24 bits; bit 31 is set when any of them is no digit. */
VOICECALL_INLINE uint32_t base64_decode_group(const char *src)
{
    uint32_t a = base64_digit[(uint8_t)src[0]], b = base64_digit[(uint8_t)src[1]];
    uint32_t c = base64_digit[(uint8_t)src[2]], d = base64_digit[(uint8_t)src[3]];
    uint32_t wrong = (a | b | c | d) & BASE64_NO_DIGIT;
    return wrong << 24 | a << 18 | b << 12 | c << 6 | d;
}

/* Unpadded groups src[0:n]; returns whether all characters are digits. */
static inline bool base64_decode_groups_scalar(const char *src, ptrdiff_t n, uint8_t *dst)
{
    uint32_t wrong = 0;
    for (ptrdiff_t i = 0; i < n; i += 4, dst += 3) {
        uint32_t bits = base64_decode_group(src + i);
        wrong |= bits;
        dst[0] = (uint8_t)(bits >> 16);
        dst[1] = (uint8_t)(bits >> 8);
        dst[2] = (uint8_t)bits;
    }
    return !(wrong >> 31);
}

#ifdef VOICECALL_X86

/* 32 characters to 24 octets, stored as 32; sets bits in *wrong when some are no digits. */
VOICECALL_AVX2 VOICECALL_INLINE void base64_decode_vector(
    const char *src, uint8_t *dst, __m256i *wrong)
{
    /* One bit for each kind of upper nibble; a lower nibble carries the bits of the kinds it is
     * not allowed with. Nibbles 0, 1, 8-15 begin no digit at all: bit 4, in every lower entry. */
    const __m256i upper_kind = _mm256_setr_epi8(
        0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10,
        0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
    const __m256i lower_forbids = _mm256_setr_epi8(
        0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A,
        0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A);
    /* Distance from a character to its digit, by upper nibble; '/' is one entry below '+'. */
    const __m256i shift = _mm256_setr_epi8(
        0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i gather = _mm256_setr_epi8(
        2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1,
        2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
    const __m256i nibble = _mm256_set1_epi8(0x0F);

    __m256i chars = _mm256_loadu_si256((const __m256i *)src);
    __m256i upper = _mm256_and_si256(_mm256_srli_epi32(chars, 4), nibble);
    __m256i lower = _mm256_and_si256(chars, nibble);
    __m256i clash = _mm256_and_si256(
        _mm256_shuffle_epi8(upper_kind, upper), _mm256_shuffle_epi8(lower_forbids, lower));
    *wrong = _mm256_or_si256(*wrong, clash);

    __m256i slash = _mm256_cmpeq_epi8(chars, _mm256_set1_epi8('/'));
    __m256i digits =
        _mm256_add_epi8(chars, _mm256_shuffle_epi8(shift, _mm256_add_epi8(upper, slash)));

    __m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi32(0x01400140));
    __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
    groups = _mm256_shuffle_epi8(groups, gather);
    groups = _mm256_permutevar8x32_epi32(groups, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)dst, groups);
}

/* As base64_decode_groups_scalar, for n >= 32 and room for n / 4 * 3 + 8 octets. */
VOICECALL_AVX2 static bool base64_decode_groups_avx2(const char *src, ptrdiff_t n, uint8_t *dst)
{
    __m256i wrong = _mm256_setzero_si256();
    ptrdiff_t last = n - BASE64_VECTOR_CHARS;
    for (ptrdiff_t i = 0; i < last; i += BASE64_VECTOR_CHARS)
        base64_decode_vector(src + i, dst + i / 4 * 3, &wrong);
    base64_decode_vector(src + last, dst + last / 4 * 3, &wrong);
    return _mm256_testz_si256(wrong, wrong);
}

#endif

/* Unpadded groups src[0:n] into dst[0:room], room at least n / 4 * 3. */
static inline bool base64_decode_groups(
    const char *src, ptrdiff_t n, uint8_t *dst, ptrdiff_t room)
{
#ifdef VOICECALL_X86
    /* A vector store is eight octets longer than its result; the scalar loop does the rest. */
    ptrdiff_t vectored = n < (room - 8) / 3 * 4 ? n : (room - 8) / 3 * 4;
    if (voicecall_simd && vectored >= BASE64_VECTOR_CHARS) {
        if (!base64_decode_groups_avx2(src, vectored, dst))
            return false;
        src += vectored;
        dst += vectored / 4 * 3;
        n -= vectored;
    }
#else
    (void)room;
#endif
    return base64_decode_groups_scalar(src, n, dst);
}

/* Octets that src[0:n] becomes if it is well formed; BASE64_MALFORMED if its length cannot be. */
static inline ptrdiff_t base64_decoded_length(const char *src, ptrdiff_t n)
{
    if (n % 4)
        return BASE64_MALFORMED;
    return n ? n / 4 * 3 - (src[n - 1] == '=') - (src[n - 1] == '=' && src[n - 2] == '=') : 0;
}

/* Decode src[0:n] into dst[0:room], where room is at least base64_decoded_length(src, n).
 *
 * Strict: whole groups, padding only where the standard has it, no other character. The bits that
 * padding leaves unused may have any value (RFC 4648, section 3.5 leaves that to the decoder).
 * Octets between the result and the end of the room may be overwritten.
 *
 * Returns the octets written, or BASE64_MALFORMED, and then what is in dst means nothing.
 */
static inline ptrdiff_t base64_decode(const char *src, ptrdiff_t n, uint8_t *dst, ptrdiff_t room)
{
    ptrdiff_t length = base64_decoded_length(src, n);
    if (length <= 0)
        return length;

    ptrdiff_t body = n - 4;
    if (!base64_decode_groups(src, body, dst, room))
        return BASE64_MALFORMED;

    src += body;
    dst += body / 4 * 3;
    ptrdiff_t last = length - body / 4 * 3;
    const char group[4] = {src[0], src[1], last > 1 ? src[2] : 'A', last > 2 ? src[3] : 'A'};
    uint32_t bits = base64_decode_group(group);
    if (bits >> 31)
        return BASE64_MALFORMED;
    dst[0] = (uint8_t)(bits >> 16);
    if (last > 1)
        dst[1] = (uint8_t)(bits >> 8);
    if (last > 2)
        dst[2] = (uint8_t)bits;
    return length;
}

#endif
