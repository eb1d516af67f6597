// SPDX-License-Identifier: BSD-2-Clause
// ATA disks, whatever controller they hang on: what they say of themselves, and the registers of
// their commands (ATA/ATAPI Command Set, ACS-3).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drivers/disks/controller.h"

#define ATA_IDENTIFY_WORDS 256u
#define ATA_RANGES_MAX     64u    // of a discard: one block of them
#define ATA_RANGE_SECTORS  65535u // of one range

enum {
    ATA_READ_DMA_EXT = 0x25,
    ATA_WRITE_DMA_EXT = 0x35,
    ATA_DATA_SET_MANAGEMENT = 0x06,
    ATA_READ_FPDMA_QUEUED = 0x60,
    ATA_WRITE_FPDMA_QUEUED = 0x61,
    ATA_READ_DMA = 0xc8,
    ATA_WRITE_DMA = 0xca,
    ATA_FLUSH_CACHE = 0xe7,
    ATA_FLUSH_CACHE_EXT = 0xea,
    ATA_IDENTIFY_DEVICE = 0xec,
};

#define ATA_STATUS_ERROR   0x01u
#define ATA_STATUS_REQUEST 0x08u
#define ATA_STATUS_FAULT   0x20u
#define ATA_STATUS_BUSY    0x80u
#define ATA_DEVICE_LBA     0x40u // of the device register

struct ata_identity {
    uint64_t sectors;                       // of a logical block
    uint32_t logical_block, physical_block; // bytes
    char serial[20];                        // padded with zeros
    bool lba48, trims;
    unsigned queue_depth; // of native queued commands, 0: none
};

// The registers of a command. Those of 16 bits hold what is written first in their upper half.
struct ata_registers {
    uint8_t command, device;
    uint16_t features, count;
    uint64_t lba; // 48 bits
};

// Returns 0; -ENODEV where it is no disk, -EOPNOTSUPP for one without DMA, or whose sectors are no
// power of two, or longer than a disk's here may be.
int ata_parse_identity(const uint16_t words[ATA_IDENTIFY_WORDS], struct ata_identity *identity);

// Fills in what the disk says of itself.
void ata_describe(const struct ata_identity *identity, struct disk *disk);

// The registers of a command; `queued`: as a native queued one in slot `slot`, of READ and WRITE.
// A discard's ranges are written to ranges[].
struct ata_registers ata_registers_of(const struct disk_command *command, bool lba48, bool queued,
                                      unsigned slot, uint64_t ranges[ATA_RANGES_MAX]);
