// SPDX-License-Identifier: BSD-2-Clause
// What an NVMe controller and its namespaces say of themselves (NVM Express 1.4, 5.15).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NVME_IDENTIFY_SIZE 4096

struct nvme_controller_identity {
    char serial[20];       // padded with zeros
    uint32_t transfer_max; // bytes of a command, UINT32_MAX: any number
    bool discards, writes_zeroes, write_cache;
};

struct nvme_namespace_identity {
    uint64_t sectors;                       // of 512 bytes
    uint32_t logical_block, physical_block; // bytes
};

// page_size: the controller's smallest, bytes.
void nvme_parse_controller(const uint8_t data[NVME_IDENTIFY_SIZE], uint32_t page_size,
                           struct nvme_controller_identity *identity);

// Returns 0; -ENODEV for a namespace that is not there, -EOPNOTSUPP where its blocks are longer
// than a disk's here may be, or carry metadata.
int nvme_parse_namespace(const uint8_t data[NVME_IDENTIFY_SIZE],
                         struct nvme_namespace_identity *identity);
