// SPDX-License-Identifier: BSD-2-Clause
// Kernel heap: size classes carved from pages; large sizes are whole pages. Zeroed memory, 16-byte aligned (64 for >= 64 bytes).
#pragma once
#include <stddef.h>

// NULL when memory is exhausted. Sizes up to 2 MiB.
void *heap_alloc(size_t size);
// NULL is allowed.
void heap_free(void *memory);
#define heap_new(type) ((type *)heap_alloc(sizeof(type)))
// Bytes of RAM the kernel holds for itself: image, page array, heap, stacks, page tables (printed at boot).
size_t kernel_memory_bytes(void);
