// SPDX-License-Identifier: BSD-2-Clause
// What the loader reads from disk, with any content: kernel.elf, initrd.cpio, ashlar.conf.
#include "boot/initrd.h"
#include "boot/kernel_image.h"
#include "core/config.h"
#include <stdlib.h>
#include <string.h>

#define LARGEST_IMAGE (1u << 22) // larger ones are valid, but only cost time here

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void load_kernel(const uint8_t *file, size_t size) {
    struct kernel_image image;
    if (kernel_image_check(file, size, &image) || image.size > LARGEST_IMAGE)
        return;
    uint8_t *memory = malloc(image.size);
    if (memory)
        kernel_image_load(file, &image, memory);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    // A page-aligned file in the loader; here a block of its exact size, aligned for the ELF
    // structures.
    uint8_t *file = malloc(size);
    if (!file)
        return 0;
    size_t length = size - 1, offset;
    memcpy(file, data + 1, length);
    struct config config;
    struct config_error error;
    switch (data[0] % 3) {
    case 0:
        load_kernel(file, length);
        break;
    case 1:
        initrd_check(file, length, &offset);
        break;
    default:
        config_parse((const char *)file, length, &config, &error);
    }
    free(file);
    return 0;
}
