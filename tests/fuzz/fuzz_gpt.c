// SPDX-License-Identifier: BSD-2-Clause
// GUID partition tables whose checksums are right and whose contents are anything.
// Sources: drivers/block/block_device.c
#include <stdlib.h>
#include <string.h>
#include "drivers/block/gpt.h"

#define BLOCKS 64u

static uint8_t bytes[BLOCKS * 512];

static void submit(struct block_device *device, struct block_request *request) {
    (void)device;
    if (request->offset > sizeof(bytes) || request->length > sizeof(bytes) - request->offset)
        abort();
    memcpy(request->data[0].iov_base, bytes + request->offset, request->length);
    request->done(request, 0);
}

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = ~0u;

    for (size_t i = 0; i < size * 8; i++)
        crc = crc >> 1 ^ (((crc ^ data[i / 8] >> i % 8) & 1) ? 0xedb88320u : 0);
    return ~crc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"1", "guest", "00000000-0000-0000-0000-000000000000", ""};
    struct block_device disk = {.sectors = BLOCKS, .logical_block = 512, .submit = submit};
    struct gpt_extent found;
    uint8_t *header = bytes + 512;
    uint64_t entries, own = 1;
    uint32_t count, entry_size, header_size, crc;

    memset(bytes, 0, sizeof(bytes));
    memcpy(header, data, size < sizeof(bytes) - 512 ? size : sizeof(bytes) - 512);
    memcpy(header, "EFI PART", 8);
    memcpy(header + 24, &own, 8);
    memcpy(&header_size, header + 12, 4);
    memcpy(&entries, header + 72, 8);
    memcpy(&count, header + 80, 4);
    memcpy(&entry_size, header + 84, 4);
    if (entries < BLOCKS && (uint64_t)count * entry_size <= sizeof(bytes) - entries * 512) {
        crc = crc32(bytes + entries * 512, (size_t)count * entry_size);
        memcpy(header + 88, &crc, 4);
    }
    memset(header + 16, 0, 4);
    crc = crc32(header, header_size <= 512 ? header_size : 92);
    memcpy(header + 16, &crc, 4);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (gpt_find(&disk, names[i], &found) == 0 &&
            (!found.sectors || found.first >= BLOCKS || found.sectors > BLOCKS - found.first))
            abort();
    return 0;
}
