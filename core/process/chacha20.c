// SPDX-License-Identifier: BSD-2-Clause
// The ChaCha20 block function, RFC 8439.
#include "core/process/chacha20.h"
#include "core/string.h"

static uint32_t rotate(uint32_t value, unsigned bits) {
    return value << bits | value >> (32 - bits);
}

static void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    *a += *b;
    *d = rotate(*d ^ *a, 16);
    *c += *d;
    *b = rotate(*b ^ *c, 12);
    *a += *b;
    *d = rotate(*d ^ *a, 8);
    *c += *d;
    *b = rotate(*b ^ *c, 7);
}

void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
                    uint8_t out[64]) {
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // RFC 8439, 2.3
    memcpy(start + 4, key, 32);
    start[12] = counter;
    memcpy(start + 13, nonce, 12);
    uint32_t s[16];
    memcpy(s, start, sizeof s);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 4; i++)
            quarter_round(&s[i], &s[4 + i], &s[8 + i], &s[12 + i]);
        for (unsigned i = 0; i < 4; i++)
            quarter_round(&s[i], &s[4 + (i + 1) % 4], &s[8 + (i + 2) % 4], &s[12 + (i + 3) % 4]);
    }
    for (unsigned i = 0; i < 16; i++)
        s[i] += start[i];
    memcpy(out, s, sizeof s);
}
