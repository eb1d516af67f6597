// SPDX-License-Identifier: BSD-2-Clause
// kernel.elf: a static ELF64 linked at KERNEL_BASE, loaded as one contiguous block.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct kernel_image {
    uint64_t size;  // bytes from KERNEL_BASE to the end of the last segment, whole pages
    uint64_t entry; // virtual address
};

// Checks FILE (SIZE bytes, any content) and fills *image. Returns NULL, or the reason why it is no
// kernel.
const char *kernel_image_check(const uint8_t *file, size_t size, struct kernel_image *image);

// Copies the segments of a FILE that has passed the check into MEMORY (image->size bytes) and
// clears the rest.
void kernel_image_load(const uint8_t *file, const struct kernel_image *image, uint8_t *memory);
