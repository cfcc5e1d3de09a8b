/* Masking of WebSocket payloads (RFC 6455, section 5.3). */
#ifndef VOICECALL_WEBSOCKET_H
#define VOICECALL_WEBSOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Words first: the compiler makes vectors of them. */
static inline void websocket_unmask(uint8_t *payload, size_t octets, const uint8_t key[4])
{
    uint64_t word, block;
    size_t i = 0;
    memcpy(&word, key, 4);
    memcpy((uint8_t *)&word + 4, key, 4);
    for (; i + 8 <= octets; i += 8) {
        memcpy(&block, payload + i, 8);
        block ^= word;
        memcpy(payload + i, &block, 8);
    }
    for (; i < octets; i++)
        payload[i] ^= key[i & 3];
}

#endif
