/* Linear samples as they lie in octets: 16 bits, little-endian, at any address. */
#ifndef VOICECALL_PCM16_H
#define VOICECALL_PCM16_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "PCM16 is handled as native integers, which have to be little-endian"
#endif

/* A slice of a caller's buffer may begin at an odd address and belong to an array of any type. */
typedef int16_t __attribute__((aligned(1), may_alias)) pcm16_t;

#endif
