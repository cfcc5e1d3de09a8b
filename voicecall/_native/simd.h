/* Which instruction set the vector loops may use, decided once when the module loads.
 *
 * VOICECALL_AVX2 marks a function that is compiled for AVX2 whatever the build's baseline is; it
 * may be called only while voicecall_simd is true. On other processors the portable loops are all there
 * is, and the compiler vectorises those for its own baseline (NEON on aarch64).
 */
#ifndef VOICECALL_SIMD_H
#define VOICECALL_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOICECALL_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define VOICECALL_X86 1
#define VOICECALL_AVX2 __attribute__((target("avx2")))
#endif

static bool voicecall_simd = false;

static inline bool simd_supported(void)
{
#ifdef VOICECALL_X86
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

/* Turn the vector loops on or off; returns whether they are on now. */
static inline bool simd_set(bool wanted)
{
    voicecall_simd = wanted && simd_supported();
    return voicecall_simd;
}

#endif
