// SPDX-License-Identifier: BSD-2-Clause
// ChaCha20. Plain code.
#pragma once
#include <stdint.h>

// One block (RFC 8439, 2.3): 64 bytes from key, counter and nonce.
void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
                    uint8_t out[64]);
