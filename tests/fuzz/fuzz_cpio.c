// SPDX-License-Identifier: BSD-2-Clause
// The initrd reader with any archive: every name and datum it returns is read.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "core/file/cpio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *archive = malloc(size ? size : 1); // of the exact size, for AddressSanitizer
    if (!archive)
        return 0;
    memcpy(archive, data, size);
    struct cpio_reader reader;
    struct cpio_entry entry;
    cpio_open(&reader, archive, size);
    size_t before = 0;
    while (cpio_next(&reader, &entry) > 0) {
        if (reader.offset <= before || strlen(entry.name) != entry.name_length)
            abort();
        before = reader.offset;
        for (uint32_t i = 0; i < entry.size; i++)
            sink = sink ^ entry.data[i];
    }
    free(archive);
    return 0;
}
