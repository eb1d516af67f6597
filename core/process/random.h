// SPDX-License-Identifier: BSD-2-Clause
// Random bytes: a ChaCha20 generator seeded by the CPU.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Any context. Bounded work for bounded sizes.
void random_bytes(void *to, size_t size);
