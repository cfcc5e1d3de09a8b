/* Recognition of DTMF digits in linear PCM.
 *
 * Each 5 ms a window of 12.75 ms (102 samples at 8 kHz, the length at which the eight frequencies
 * of ITU-T Q.23 fall furthest apart) goes through eight Goertzel filters and is judged alone: which
 * digit is it, if any. A digit counts when DTMF_ACCEPT_WINDOWS windows running say so. A window
 * that the tone fills by less than DTMF_MIN_FRACTION is not one of them, so:
 *
 *   40 ms of tone hold (40 - 12.75) / 5 = 5 windows or more, each of them full: accepted;
 *   20 ms of tone reach into (20 + 12.75 - 2 * 0.88 * 12.75) / 5 + 1 = 3 at most: refused.
 *
 * A digit is over after DTMF_RELEASE_WINDOWS windows without it: a pause of 10 ms within a press
 * spoils 4, a pause of 40 ms between two presses empties 5.
 *
 * The fraction is what tells a key from speech, whose harmonics hold the rest of the energy. It can
 * be that strict because the two tones are measured where they are, not where they should be.
 *
 * Levels and twist are those ITU-T Q.24, annex A, lists for its administrations, with a margin for
 * what a short window confuses. 0 dBm0 is a sine with a peak of 22 750 (G.711 codes +3.17 dBm0).
 */
#ifndef VOICECALL_DTMF_H
#define VOICECALL_DTMF_H

#include <math.h>
#include <string.h>

#include "pcm16.h"
#include "simd.h"

#define DTMF_TONES 8 /* four rows, then four columns */
#define DTMF_DETUNINGS 4
#define DTMF_MIN_RATE_HZ 8000
#define DTMF_MAX_RATE_HZ 48000
#define DTMF_WINDOW_SAMPLES(rate_hz) ((rate_hz) * 51 / 4000)
#define DTMF_HOP_SAMPLES(rate_hz) ((rate_hz) / 200)

#define DTMF_ACCEPT_WINDOWS 5
#define DTMF_RELEASE_WINDOWS 5

#define DTMF_MIN_PEAK 400.0f            /* of each tone: -35 dBm0 */
#define DTMF_MIN_FRACTION 0.88f         /* of the window's energy, in the two tones together */
#define DTMF_MAX_COLUMN_OVER_ROW 3.98f  /* 6 dB */
#define DTMF_MAX_ROW_OVER_COLUMN 10.0f  /* 10 dB */
#define DTMF_MIN_OVER_NEIGHBOUR 6.31f   /* 8 dB above the second strongest of the group */

static const double dtmf_hz[DTMF_TONES] = {697, 770, 852, 941, 1209, 1336, 1477, 1633};
static const double dtmf_detuning[DTMF_DETUNINGS] = {0.987, 0.996, 1.004, 1.013};
static const char dtmf_keypad[] = "123A456B789C*0#D";

typedef struct {
    ptrdiff_t window; /* samples */
    ptrdiff_t hop;    /* samples */
    float coefficient[DTMF_TONES];
    float detuned[DTMF_TONES][DTMF_DETUNINGS];
    float samples[DTMF_WINDOW_SAMPLES(DTMF_MAX_RATE_HZ)];
    ptrdiff_t filled;

    char candidate; /* the digit of the latest windows, or 0 */
    int hits;       /* how many of them */
    char held;      /* the digit reported and not over yet, or 0 */
    int misses;     /* windows since it was last there */
} dtmf_detector;

static inline float dtmf_coefficient(double hz, int rate_hz)
{
    return (float)(2 * cos(2 * M_PI * hz / rate_hz));
}

static inline void dtmf_init(dtmf_detector *self, int rate_hz)
{
    memset(self, 0, sizeof *self);
    self->window = DTMF_WINDOW_SAMPLES(rate_hz);
    self->hop = DTMF_HOP_SAMPLES(rate_hz);
    for (int k = 0; k < DTMF_TONES; k++) {
        self->coefficient[k] = dtmf_coefficient(dtmf_hz[k], rate_hz);
        for (int j = 0; j < DTMF_DETUNINGS; j++)
            self->detuned[k][j] = dtmf_coefficient(dtmf_hz[k] * dtmf_detuning[j], rate_hz);
    }
}

/* |X|^2 at each of the tones. */
static inline void dtmf_powers(const dtmf_detector *self, float powers[DTMF_TONES])
{
    float last[DTMF_TONES] = {0}, before[DTMF_TONES] = {0};
    for (ptrdiff_t i = 0; i < self->window; i++) {
        for (int k = 0; k < DTMF_TONES; k++) {
            float next = self->samples[i] + self->coefficient[k] * last[k] - before[k];
            before[k] = last[k];
            last[k] = next;
        }
    }
    for (int k = 0; k < DTMF_TONES; k++)
        powers[k] = last[k] * last[k] + before[k] * before[k]
            - self->coefficient[k] * last[k] * before[k];
}

/* |X|^2 of one tone where it is largest: a sender's frequencies may be off by 1.5 % and 2 Hz. */
static inline float dtmf_peak_power(const dtmf_detector *self, int tone)
{
    float last[DTMF_DETUNINGS] = {0}, before[DTMF_DETUNINGS] = {0};
    const float *coefficient = self->detuned[tone];
    for (ptrdiff_t i = 0; i < self->window; i++) {
        for (int k = 0; k < DTMF_DETUNINGS; k++) {
            float next = self->samples[i] + coefficient[k] * last[k] - before[k];
            before[k] = last[k];
            last[k] = next;
        }
    }
    float peak = 0;
    for (int k = 0; k < DTMF_DETUNINGS; k++) {
        float power = last[k] * last[k] + before[k] * before[k]
            - coefficient[k] * last[k] * before[k];
        peak = power > peak ? power : peak;
    }
    return peak;
}

/* The strongest of a group of four; -1 when it does not stand out. */
static inline int dtmf_strongest(const float powers[4])
{
    int best = 0;
    for (int k = 1; k < 4; k++)
        best = powers[k] > powers[best] ? k : best;
    for (int k = 0; k < 4; k++)
        if (k != best && powers[k] * DTMF_MIN_OVER_NEIGHBOUR > powers[best])
            return -1;
    return best;
}

/* The digit that fills the window, or 0. */
static inline char dtmf_classify(const dtmf_detector *self)
{
    float n = (float)self->window;
    float energy = 0;
    for (ptrdiff_t i = 0; i < self->window; i++)
        energy += self->samples[i] * self->samples[i];
    /* A sine with peak A has the energy n/2 A^2, and at its own frequency |X|^2 = (n/2 A)^2. */
    if (energy < DTMF_MIN_FRACTION * n * DTMF_MIN_PEAK * DTMF_MIN_PEAK)
        return 0;

    float powers[DTMF_TONES];
    dtmf_powers(self, powers);
    int row = dtmf_strongest(powers), column = dtmf_strongest(powers + 4);
    if (row < 0 || column < 0)
        return 0;

    float low = dtmf_peak_power(self, row), high = dtmf_peak_power(self, 4 + column);
    float least = n / 2 * DTMF_MIN_PEAK;
    bool digit = low > DTMF_MIN_FRACTION * least * least && high > DTMF_MIN_FRACTION * least * least
        && low + high > DTMF_MIN_FRACTION * energy * n / 2
        && high < DTMF_MAX_COLUMN_OVER_ROW * low && low < DTMF_MAX_ROW_OVER_COLUMN * high;
    return digit ? dtmf_keypad[row * 4 + column] : 0;
}

/* Take one window's verdict; returns a digit when this makes it recognised, else 0. */
static inline char dtmf_judge(dtmf_detector *self, char digit)
{
    self->hits = digit && digit == self->candidate ? self->hits + 1 : digit != 0;
    self->candidate = digit;

    self->misses = digit == self->held ? 0 : self->misses + 1;
    if (self->misses >= DTMF_RELEASE_WINDOWS)
        self->held = 0;

    if (self->hits < DTMF_ACCEPT_WINDOWS || digit == self->held)
        return 0;
    self->held = digit;
    self->misses = 0;
    return digit;
}

/* Take samples until a digit is recognised or all n are taken; returns how many were taken. */
static inline ptrdiff_t dtmf_feed(
    dtmf_detector *self, const pcm16_t *pcm, ptrdiff_t n, char *digit)
{
    *digit = 0;
    ptrdiff_t taken = 0;
    while (taken < n && !*digit) {
        self->samples[self->filled++] = (float)pcm[taken++];
        if (self->filled < self->window)
            continue;
        *digit = dtmf_judge(self, dtmf_classify(self));
        self->filled -= self->hop;
        memmove(self->samples, self->samples + self->hop, (size_t)self->filled * sizeof(float));
    }
    return taken;
}

/* ---- generation ---- */

#define DTMF_ROW_PEAK 6411.0    /* -11 dBm0 */
#define DTMF_COLUMN_PEAK 8072.0 /* -9 dBm0: the line attenuates the columns more */
#define DTMF_EDGE_MS 3          /* raised cosine: a hard edge clicks, and splatters over the band */

static inline double dtmf_envelope(ptrdiff_t i, ptrdiff_t n, ptrdiff_t edge)
{
    ptrdiff_t from_end = i < n - 1 - i ? i : n - 1 - i;
    return from_end >= edge ? 1.0 : 0.5 - 0.5 * cos(M_PI * ((double)from_end + 0.5) / (double)edge);
}

/* n samples of the tones of dtmf_keypad[key]. */
static inline void dtmf_tone(int key, int rate_hz, ptrdiff_t n, pcm16_t *dst)
{
    double row = 2 * M_PI * dtmf_hz[key / 4] / rate_hz;
    double column = 2 * M_PI * dtmf_hz[4 + key % 4] / rate_hz;
    ptrdiff_t edge = (ptrdiff_t)rate_hz * DTMF_EDGE_MS / 1000;
    for (ptrdiff_t i = 0; i < n; i++) {
        double low = DTMF_ROW_PEAK * sin(row * (double)i);
        double high = DTMF_COLUMN_PEAK * sin(column * (double)i);
        dst[i] = (int16_t)lrint((low + high) * dtmf_envelope(i, n, edge));
    }
}

#endif
