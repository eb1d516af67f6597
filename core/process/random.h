// SPDX-License-Identifier: BSD-2-Clause
// Random bytes: a ChaCha20 generator seeded by the CPU.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Any context. Bounded work for bounded sizes.
void random_bytes(void *to, size_t size);
// One block of ChaCha20 (RFC 8439, 2.3): 64 bytes from key, counter and nonce. Plain code.
void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
                    uint8_t out[64]);
