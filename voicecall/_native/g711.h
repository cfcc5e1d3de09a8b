/* G.711 companding, bit-exact with the ITU-T G.191 Software Tool Library.
 *
 * A G.711 code is a small floating-point number: sign, three bits of exponent, four of mantissa. So
 * instead of a search or a table the loops below let the FPU normalise: the magnitude becomes a
 * float32 and the code is the top of its bits. Every step is the same for every sample, so the
 * compiler turns the loops into vector code; each is compiled for the baseline and for AVX2.
 *
 * All values involved are below 2^16, hence exact in float32.
 */
#ifndef VOICECALL_G711_H
#define VOICECALL_G711_H

#include <string.h>

#include "pcm16.h"
#include "simd.h"

/* Bits of a float32 below the four topmost bits of its mantissa. */
#define FLOAT_BELOW_NIBBLE 19
/* (exponent, nibble) of 2^e as it stands in the bits of a float32. */
#define FLOAT_CODE_OF_POWER(e) ((127 + (e)) << 4)
/* Half of the step that four bits of mantissa leave: decoders answer with the interval's middle. */
#define FLOAT_HALF_STEP (1 << (FLOAT_BELOW_NIBBLE - 1))

#define ULAW_BIAS 33       /* on the 14-bit magnitude: puts the first segment at 2^5 */
#define ULAW_CLIP 0x1FFF   /* largest biased magnitude */
#define ULAW_BIAS_PCM16 (ULAW_BIAS << 2)

VOICECALL_INLINE int32_t float_code(int32_t magnitude)
{
    float normalised = (float)magnitude;
    int32_t bits;
    memcpy(&bits, &normalised, sizeof bits);
    return bits >> FLOAT_BELOW_NIBBLE;
}

VOICECALL_INLINE int32_t float_of_code(int32_t code)
{
    int32_t bits = (code << FLOAT_BELOW_NIBBLE) + FLOAT_HALF_STEP;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (int32_t)value;
}

/* One's complement for negatives, as in G.191: -1 has the magnitude 0. */
VOICECALL_INLINE uint8_t ulaw_encode_sample(int16_t sample)
{
    int32_t sign = sample >> 15;
    int32_t biased = ((sample ^ sign) >> 2) + ULAW_BIAS;
    biased = biased > ULAW_CLIP ? ULAW_CLIP : biased;
    int32_t code = float_code(biased) - FLOAT_CODE_OF_POWER(5);
    return (uint8_t)(code ^ ~(sign & 0x80));
}

VOICECALL_INLINE int16_t ulaw_decode_sample(uint8_t octet)
{
    int32_t code = ~octet & 0x7F;
    int32_t magnitude = float_of_code(code + FLOAT_CODE_OF_POWER(7)) - ULAW_BIAS_PCM16;
    int32_t sign = (octet >> 7) - 1;
    return (int16_t)((magnitude ^ sign) - sign);
}

/* The first two A-law segments share one step: below 16 the 11-bit magnitude is the code. There the
 * float's code is never the larger of the two, so a maximum chooses without a branch.
 */
VOICECALL_INLINE uint8_t alaw_encode_sample(int16_t sample)
{
    int32_t sign = sample >> 15;
    int32_t magnitude = (sample ^ sign) >> 4;
    int32_t code = float_code(magnitude) - FLOAT_CODE_OF_POWER(3);
    int32_t linear = magnitude < 15 ? magnitude : 15;
    code = code > linear ? code : linear;
    return (uint8_t)(code ^ (sign & 0x80) ^ 0xD5);
}

VOICECALL_INLINE int16_t alaw_decode_sample(uint8_t octet)
{
    int32_t code = (octet ^ 0x55) & 0x7F;
    int32_t magnitude = float_of_code(code + FLOAT_CODE_OF_POWER(7));
    magnitude = code < 16 ? (code << 4) + 8 : magnitude;
    int32_t sign = (octet >> 7) - 1;
    return (int16_t)((magnitude ^ sign) - sign);
}

#define G711_LOOP(name, from_type, to_type)                                                      \
    VOICECALL_INLINE void name##_loop(                                                           \
        const from_type *restrict src, ptrdiff_t n, to_type *restrict dst)                       \
    {                                                                                            \
        for (ptrdiff_t i = 0; i < n; i++)                                                        \
            dst[i] = name##_sample(src[i]);                                                      \
    }

#ifdef VOICECALL_X86
#define G711_DISPATCH(name, from_type, to_type)                                                  \
    VOICECALL_AVX2 static void name##_avx2(const from_type *src, ptrdiff_t n, to_type *dst)      \
    {                                                                                            \
        name##_loop(src, n, dst);                                                                \
    }                                                                                            \
    static void name##_portable(const from_type *src, ptrdiff_t n, to_type *dst)                 \
    {                                                                                            \
        name##_loop(src, n, dst);                                                                \
    }                                                                                            \
    static inline void g711_##name(const from_type *src, ptrdiff_t n, to_type *dst)                     \
    {                                                                                            \
        if (voicecall_simd)                                                                      \
            name##_avx2(src, n, dst);                                                            \
        else                                                                                     \
            name##_portable(src, n, dst);                                                        \
    }
#else
#define G711_DISPATCH(name, from_type, to_type)                                                  \
    static inline void g711_##name(const from_type *src, ptrdiff_t n, to_type *dst)                     \
    {                                                                                            \
        name##_loop(src, n, dst);                                                                \
    }
#endif

#define G711_CODEC(name, from_type, to_type)                                                     \
    G711_LOOP(name, from_type, to_type)                                                          \
    G711_DISPATCH(name, from_type, to_type)

G711_CODEC(ulaw_encode, pcm16_t, uint8_t)
G711_CODEC(ulaw_decode, uint8_t, pcm16_t)
G711_CODEC(alaw_encode, pcm16_t, uint8_t)
G711_CODEC(alaw_decode, uint8_t, pcm16_t)

#endif
