/* Sample rate conversion by a ratio of small numbers: a polyphase FIR low-pass in integers.
 *
 * With in_hz : out_hz = advance : phases in lowest terms, output n lies at n * advance / phases
 * samples of the input. Its whole part says which samples are near, the rest which of the `phases`
 * sets of taps weighs them (Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983,
 * section 3.3). Nothing is computed that is not given out.
 *
 * The low-pass is a sinc under a Kaiser window, RESAMPLE_LOWER_SAMPLES of the lower rate long. With
 * b the lower rate it is flat to 0.425 b within 0.003 dB and 70 dB down from 0.575 b on: at 8000 Hz
 * what the telephone carries, to 3400 Hz, is neither changed nor hidden by aliases. It looks half
 * its length ahead, 16 samples of the lower rate: 2 ms at 8000 Hz.
 *
 * Taps are int16, and as large as they can be with sums that fit in int32 whatever the samples are.
 * So a sum is exact in any order, and vector and portable loops agree in every bit. One float32
 * product brings it to scale, exact to the 250th part of a step of the output.
 */
#ifndef VOICECALL_RESAMPLE_H
#define VOICECALL_RESAMPLE_H

#include <math.h>
#include <string.h>

#include "pcm16.h"
#include "simd.h"

#ifdef VOICECALL_X86
#include <immintrin.h>
#endif

#define RESAMPLE_LOWER_SAMPLES 32
#define RESAMPLE_KAISER_BETA 7.5
#define RESAMPLE_STEP 16        /* taps that a vector holds */
#define RESAMPLE_TAP_MAX 32767
#define RESAMPLE_SUM_MAX 65535  /* of the taps' magnitudes: times the lowest sample just in int32 */

typedef struct {
    int32_t phases;
    int32_t advance;        /* phases that an output is further on than the one before: */
    int32_t advance_whole;  /* whole samples of the input, */
    int32_t advance_part;   /* and phases besides */
    int32_t taps;           /* of each phase, a multiple of RESAMPLE_STEP */
    float unit;             /* what a tap of 1 stands for */
    const int16_t *tap;
} resample_filter_t;

/* ---- design ---- */

static inline int32_t resample_taps(int32_t phases, int32_t advance)
{
    int64_t taps = RESAMPLE_LOWER_SAMPLES;
    if (advance > phases)
        taps = (taps * advance + phases - 1) / phases;
    return (int32_t)((taps + RESAMPLE_STEP - 1) / RESAMPLE_STEP * RESAMPLE_STEP);
}

/* The modified Bessel function of the first kind and order 0, by its power series. */
static inline double resample_bessel(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; term > 1e-15 * sum; k++) {
        term *= x * x / (4.0 * k * k);
        sum += term;
    }
    return sum;
}

/* Of the low-pass at `distance` samples of the input, on a scale of its own. */
static inline double resample_ideal(double distance, double half_width, double cutoff)
{
    const double pi = 3.14159265358979323846;
    double edge = distance / half_width;
    double window = resample_bessel(RESAMPLE_KAISER_BETA * sqrt(fmax(0, 1 - edge * edge)));
    double angle = pi * cutoff * distance;
    return angle == 0 ? window : window * sin(angle) / angle;
}

/* One phase's taps, which add up to 1, in the order of the samples they weigh. */
static inline void resample_ideal_phase(
    int32_t phase, int32_t phases, int32_t advance, int32_t taps, double *ideal)
{
    double cutoff = advance > phases ? (double)phases / advance : 1;
    double newest = (double)phase / phases + taps / 2 - 1;
    double sum = 0;
    for (int32_t k = 0; k < taps; k++)
        sum += ideal[k] = resample_ideal(newest - k, taps / 2, cutoff);
    for (int32_t k = 0; k < taps; k++)
        ideal[k] /= sum;
}

/* What the taps of each phase may add up to so that neither a tap nor a sum overflows. Rounding
 * adds at most 1 to a tap. */
static inline int32_t resample_gain(const double *ideal, int32_t phases, int32_t taps)
{
    double gain = RESAMPLE_SUM_MAX;
    for (int32_t phase = 0; phase < phases; phase++, ideal += taps) {
        double magnitudes = 0, peak = 0;
        for (int32_t k = 0; k < taps; k++) {
            magnitudes += fabs(ideal[k]);
            peak = fmax(peak, fabs(ideal[k]));
        }
        gain = fmin(gain, (RESAMPLE_SUM_MAX - taps) / magnitudes);
        gain = fmin(gain, (RESAMPLE_TAP_MAX - 1) / peak);
    }
    return (int32_t)gain;
}

/* Rounds one phase's taps; returns their sum.
 *
 * Phases that are rounded differently make noise. Carried from each tap to the next, what rounding
 * changes cancels out for low frequencies, and every phase adds up to `gain`. A single phase makes
 * no noise, and its stopband is deeper without.
 */
static inline int32_t resample_round_phase(
    const double *ideal, int32_t taps, int32_t gain, bool carry, int16_t *tap)
{
    double carried = 0;
    int32_t sum = 0;
    for (int32_t k = 0; k < taps; k++) {
        double exact = ideal[k] * gain + carried;
        tap[k] = (int16_t)lround(exact);
        carried = carry ? exact - tap[k] : 0;
        sum += tap[k];
    }
    return sum;
}

/* Design the filter for a ratio in lowest terms.
 *
 * Both buffers have room for phases * resample_taps(phases, advance) numbers; `ideal` is needed
 * only here, `tap` as long as the filter.
 */
static inline void resample_design(
    resample_filter_t *filter, int32_t phases, int32_t advance, double *ideal, int16_t *tap)
{
    int32_t taps = resample_taps(phases, advance);
    for (int32_t phase = 0; phase < phases; phase++)
        resample_ideal_phase(phase, phases, advance, taps, ideal + (ptrdiff_t)phase * taps);
    int32_t gain = resample_gain(ideal, phases, taps);
    int32_t sum = gain;
    for (ptrdiff_t at = 0; at < (ptrdiff_t)phases * taps; at += taps)
        sum = resample_round_phase(ideal + at, taps, gain, phases > 1, tap + at);
    *filter = (resample_filter_t){
        phases, advance, advance / phases, advance % phases, taps, (float)(1.0 / sum), tap};
}

/* ---- conversion ---- */

/* Where the next output is: the first of the samples that it weighs, and its phase. */
typedef struct {
    const int16_t *sample;
    int32_t phase;
} resample_place_t;

VOICECALL_INLINE const int16_t *resample_tap(
    const resample_filter_t *filter, const resample_place_t *place)
{
    return filter->tap + (ptrdiff_t)place->phase * filter->taps;
}

VOICECALL_INLINE void resample_advance(const resample_filter_t *filter, resample_place_t *place)
{
    place->phase += filter->advance_part;
    bool carry = place->phase >= filter->phases;
    place->phase -= carry ? filter->phases : 0;
    place->sample += filter->advance_whole + carry;
}

/* How many outputs `samples` are enough for, the first of them being at `phase`. */
static inline ptrdiff_t resample_outputs(
    const resample_filter_t *filter, int32_t phase, ptrdiff_t samples)
{
    int64_t windows = samples - filter->taps + 1;
    return windows <= 0 ? 0 : (windows * filter->phases - phase - 1) / filter->advance + 1;
}

static inline void resample_run_portable(
    const resample_filter_t *filter, resample_place_t *place, int16_t *dst, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const int16_t *sample = place->sample, *tap = resample_tap(filter, place);
        int32_t sum = 0;
        for (int32_t k = 0; k < filter->taps; k++)
            sum += sample[k] * tap[k];
        long output = lrintf((float)sum * filter->unit);
        output = output > INT16_MAX ? INT16_MAX : output;
        dst[i] = (int16_t)(output < INT16_MIN ? INT16_MIN : output);
        resample_advance(filter, place);
    }
}

#ifdef VOICECALL_X86

#define RESAMPLE_AT_ONCE 4

VOICECALL_AVX2 VOICECALL_INLINE __m256i resample_load_avx2(const int16_t *src)
{
    return _mm256_loadu_si256((const __m256i *)src);
}

/* Four outputs from the partial sums of each. */
VOICECALL_AVX2 VOICECALL_INLINE void resample_store_avx2(
    const __m256i each[RESAMPLE_AT_ONCE], __m128 unit, int16_t *dst)
{
    __m256i halves = _mm256_hadd_epi32(
        _mm256_hadd_epi32(each[0], each[1]), _mm256_hadd_epi32(each[2], each[3]));
    __m128i sums = _mm_add_epi32(
        _mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    __m128i outputs = _mm_cvtps_epi32(_mm_mul_ps(_mm_cvtepi32_ps(sums), unit));
    _mm_storel_epi64((__m128i *)dst, _mm_packs_epi32(outputs, outputs));
}

/* All groups of four of `n` outputs; returns how many outputs that is. */
VOICECALL_AVX2 static ptrdiff_t resample_phases_avx2(
    const resample_filter_t *filter, resample_place_t *place, int16_t *dst, ptrdiff_t n)
{
    const __m128 unit = _mm_set1_ps(filter->unit);
    resample_place_t at = *place;
    ptrdiff_t done = 0;
    for (; done + RESAMPLE_AT_ONCE <= n; done += RESAMPLE_AT_ONCE) {
        __m256i each[RESAMPLE_AT_ONCE];
        for (int i = 0; i < RESAMPLE_AT_ONCE; i++) {
            const int16_t *tap = resample_tap(filter, &at);
            each[i] = _mm256_setzero_si256();
            for (int32_t k = 0; k < filter->taps; k += RESAMPLE_STEP)
                each[i] = _mm256_add_epi32(each[i], _mm256_madd_epi16(
                    resample_load_avx2(at.sample + k), resample_load_avx2(tap + k)));
            resample_advance(filter, &at);
        }
        resample_store_avx2(each, unit, dst + done);
    }
    *place = at;
    return done;
}

/* The same for a filter of one phase, whose taps are loaded once for all four. */
VOICECALL_AVX2 static ptrdiff_t resample_single_avx2(
    const resample_filter_t *filter, resample_place_t *place, int16_t *dst, ptrdiff_t n)
{
    const __m128 unit = _mm_set1_ps(filter->unit);
    const ptrdiff_t apart = filter->advance;
    const int16_t *sample = place->sample;
    ptrdiff_t done = 0;
    for (; done + RESAMPLE_AT_ONCE <= n; done += RESAMPLE_AT_ONCE) {
        __m256i each[RESAMPLE_AT_ONCE] = {0};
        for (int32_t k = 0; k < filter->taps; k += RESAMPLE_STEP) {
            __m256i taps = resample_load_avx2(filter->tap + k);
            for (int i = 0; i < RESAMPLE_AT_ONCE; i++)
                each[i] = _mm256_add_epi32(each[i], _mm256_madd_epi16(
                    resample_load_avx2(sample + i * apart + k), taps));
        }
        resample_store_avx2(each, unit, dst + done);
        sample += RESAMPLE_AT_ONCE * apart;
    }
    place->sample = sample;
    return done;
}

#endif

/* Compute `n` outputs from `place` on, for which there have to be samples enough; it moves on. */
static inline void resample_run(
    const resample_filter_t *filter, resample_place_t *place, int16_t *dst, ptrdiff_t n)
{
    ptrdiff_t done = 0;
#ifdef VOICECALL_X86
    if (voicecall_simd)
        done = (filter->phases == 1 ? resample_single_avx2 : resample_phases_avx2)(
            filter, place, dst, n);
#endif
    resample_run_portable(filter, place, dst + done, n - done);
}

#endif
