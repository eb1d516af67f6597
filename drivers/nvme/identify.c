// SPDX-License-Identifier: BSD-2-Clause
// Offsets are those of figures 247 and 249 of NVM Express 1.4.
#include "drivers/nvme/identify.h"

#include <errno.h>
#include <string.h>

enum {
    CONTROLLER_SERIAL = 4,
    CONTROLLER_TRANSFER_MAX = 77,
    CONTROLLER_COMMANDS = 520,
    CONTROLLER_WRITE_CACHE = 525,

    NAMESPACE_SIZE = 0,
    NAMESPACE_FEATURES = 24,
    NAMESPACE_FORMAT = 26,
    NAMESPACE_WRITE_GRANULARITY = 64,
    NAMESPACE_FORMATS = 128,
};

#define COMMAND_DATASET_MANAGEMENT (1u << 2)
#define COMMAND_WRITE_ZEROES       (1u << 3)
#define FEATURE_OPTIMAL_SIZES      (1u << 4)
#define PHYSICAL_BLOCK_MAX         65536u

static uint32_t read_number(const uint8_t *data, unsigned size) {
    uint32_t value = 0;

    memcpy(&value, data, size);
    return value;
}

void nvme_parse_controller(const uint8_t data[NVME_IDENTIFY_SIZE], uint32_t page_size,
                           struct nvme_controller_identity *identity) {
    uint8_t shift = data[CONTROLLER_TRANSFER_MAX];
    uint32_t commands = read_number(data + CONTROLLER_COMMANDS, 2);

    *identity = (struct nvme_controller_identity){
        .transfer_max = shift && shift < 16 && page_size <= 65536 ? page_size << shift : UINT32_MAX,
        .discards = commands & COMMAND_DATASET_MANAGEMENT,
        .writes_zeroes = commands & COMMAND_WRITE_ZEROES,
        .write_cache = data[CONTROLLER_WRITE_CACHE] & 1,
    };
    memcpy(identity->serial, data + CONTROLLER_SERIAL, sizeof(identity->serial));
    for (unsigned i = sizeof(identity->serial); i-- && identity->serial[i] == ' ';)
        identity->serial[i] = 0;
}

int nvme_parse_namespace(const uint8_t data[NVME_IDENTIFY_SIZE],
                         struct nvme_namespace_identity *identity) {
    uint8_t format = data[NAMESPACE_FORMAT];
    // Bits 6:5 are the upper ones of the index, with zeros before there were more than 16 formats.
    unsigned index = (format & 0xf) | (format & 0x60) >> 1;
    uint32_t block = read_number(data + NAMESPACE_FORMATS + index * 4, 4);
    uint32_t granularity = 1;

    memcpy(&identity->sectors, data + NAMESPACE_SIZE, sizeof(identity->sectors));
    if (!identity->sectors)
        return -ENODEV;
    unsigned shift = block >> 16 & 0xff;
    if (shift < 9 || shift > 12 || block & 0xffff ||
        identity->sectors > (uint64_t)INT64_MAX >> shift)
        return -EOPNOTSUPP;
    identity->sectors <<= shift - 9;
    identity->logical_block = 1u << shift;
    if (data[NAMESPACE_FEATURES] & FEATURE_OPTIMAL_SIZES)
        granularity += read_number(data + NAMESPACE_WRITE_GRANULARITY, 2);
    bool usable = !(granularity & (granularity - 1)) && granularity <= PHYSICAL_BLOCK_MAX >> shift;
    identity->physical_block = (usable ? granularity : 1) << shift;
    return 0;
}
