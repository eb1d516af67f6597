// SPDX-License-Identifier: BSD-2-Clause
// Kernel heap: size classes carved from pages; large sizes are whole pages. Zeroed memory, 16-byte
// aligned (64 for >= 64 bytes).
#pragma once
#include <stddef.h>

// NULL when memory is exhausted. Sizes up to 2 MiB.
void *heap_alloc(size_t size);
// NULL is allowed.
void heap_free(void *memory);
#define heap_new(type) ((type *)heap_alloc(sizeof(type)))
// Memory the kernel holds outside the page allocator (its image, what the loader left): told once
// each at start. The page array is counted by page_init.
void kernel_memory_add(size_t bytes);
// Bytes of RAM the kernel holds for itself: image, page array, heap, stacks, page tables (printed
// at boot).
size_t kernel_memory_bytes(void);
