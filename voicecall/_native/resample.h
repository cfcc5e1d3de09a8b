/* PCM16 to and from the float32 samples that the resampler computes in. */
#ifndef VOICECALL_RESAMPLE_H
#define VOICECALL_RESAMPLE_H

#include <string.h>

#include "pcm16.h"
#include "simd.h"

/* Adding it leaves a float32 no bits for a fraction: the sum is rounded, half to even, and the
 * integer stands in its lowest bits. Unlike lrintf this vectorises. */
#define FLOAT_ROUNDER 12582912.0f /* 1.5 * 2^23 */

static inline void pcm16_to_float(const pcm16_t *restrict src, ptrdiff_t n, float *restrict dst)
{
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = (float)src[i];
}

VOICECALL_INLINE int16_t pcm16_of_float(float sample)
{
    sample = sample > -32768.0f ? sample : -32768.0f;
    sample = sample < 32767.0f ? sample : 32767.0f;
    float rounded = sample + FLOAT_ROUNDER;
    int32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    return (int16_t)(bits & 0xFFFF);
}

/* Rounds to nearest and clips: the filter overshoots where the input is near full scale. */
static inline void pcm16_from_float(const float *restrict src, ptrdiff_t n, pcm16_t *restrict dst)
{
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = pcm16_of_float(src[i]);
}

#endif
