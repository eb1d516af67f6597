// SPDX-License-Identifier: BSD-2-Clause
// Words are numbered as in ACS-3, 7.12.7.
#include "drivers/ata/ata.h"

#include <errno.h>
#include <string.h>

enum {
    WORD_GENERAL = 0,
    WORD_SERIAL = 10,
    WORD_CAPABILITIES = 49,
    WORD_LBA28_SECTORS = 60,
    WORD_QUEUE_DEPTH = 75,
    WORD_SATA_CAPABILITIES = 76,
    WORD_COMMANDS = 83,
    WORD_LBA48_SECTORS = 100,
    WORD_SECTOR_SIZE = 106,
    WORD_LOGICAL_SIZE = 117,
    WORD_DATA_SET_MANAGEMENT = 169,
};

#define BIT(number)       (1u << (number))
#define SECTOR_SIZE_VALID 0x4000u // of bits 15:14
#define LBA28_LIMIT       (1ull << 28)
#define LBA48_LIMIT       (1ull << 48)

static uint64_t read_number(const uint16_t *words, unsigned count) {
    uint64_t value = 0;

    for (unsigned i = count; i--;)
        value = value << 16 | words[i];
    return value;
}

static void read_serial(const uint16_t *words, char serial[20]) {
    for (unsigned i = 0; i < 10; i++) {
        serial[2 * i] = (char)(words[i] >> 8);
        serial[2 * i + 1] = (char)words[i];
    }
    unsigned end = 20, start = 0;
    while (end && (serial[end - 1] == ' ' || !serial[end - 1]))
        end--;
    while (start < end && serial[start] == ' ')
        start++;
    memmove(serial, serial + start, end - start);
    memset(serial + (end - start), 0, 20 - (end - start));
}

int ata_parse_identity(const uint16_t words[ATA_IDENTIFY_WORDS], struct ata_identity *identity) {
    uint16_t sizes = words[WORD_SECTOR_SIZE];

    if ((sizes & 0xc000) != SECTOR_SIZE_VALID)
        sizes = 0;
    *identity = (struct ata_identity){
        .lba48 = words[WORD_COMMANDS] & BIT(10),
        .trims = words[WORD_DATA_SET_MANAGEMENT] & BIT(0),
        .logical_block = 512,
    };
    if (sizes & BIT(12)) // in words
        identity->logical_block = (uint32_t)read_number(words + WORD_LOGICAL_SIZE, 2) * 2;
    identity->sectors = identity->lba48 ? read_number(words + WORD_LBA48_SECTORS, 4)
                                        : read_number(words + WORD_LBA28_SECTORS, 2);
    if (words[WORD_GENERAL] & BIT(15) || !identity->sectors)
        return -ENODEV;
    if (!(words[WORD_CAPABILITIES] & BIT(8)) || !block_size_is_valid(identity->logical_block) ||
        identity->sectors > (identity->lba48 ? LBA48_LIMIT : LBA28_LIMIT))
        return -EOPNOTSUPP;
    unsigned exponent = sizes & BIT(13) ? sizes & 0xf : 0;
    identity->physical_block = identity->logical_block << (exponent < 8 ? exponent : 0);
    if (identity->lba48 && words[WORD_SATA_CAPABILITIES] != 0xffff &&
        words[WORD_SATA_CAPABILITIES] & BIT(8))
        identity->queue_depth = (words[WORD_QUEUE_DEPTH] & 0x1fu) + 1;
    read_serial(words + WORD_SERIAL, identity->serial);
    return 0;
}

void ata_describe(const struct ata_identity *identity, struct disk *disk) {
    disk->device.sectors = identity->sectors * (identity->logical_block / BLOCK_SECTOR_SIZE);
    disk->device.logical_block = identity->logical_block;
    disk->device.physical_block = identity->physical_block;
    disk->device.discards = identity->trims;
    memcpy(disk->device.id, identity->serial, sizeof(disk->device.id));
    disk->clear_max = (uint64_t)ATA_RANGES_MAX * ATA_RANGE_SECTORS * identity->logical_block;
}

// A range: 48 bits of start, 16 of length.
static void set_ranges(const struct disk_command *command, uint64_t ranges[ATA_RANGES_MAX]) {
    uint32_t block = command->disk->device.logical_block;
    uint64_t start = command->offset / block;
    uint64_t left = command->length / block;

    for (unsigned i = 0; i < ATA_RANGES_MAX; i++) {
        uint64_t sectors = left < ATA_RANGE_SECTORS ? left : ATA_RANGE_SECTORS;

        ranges[i] = sectors ? start | sectors << 48 : 0;
        start += sectors;
        left -= sectors;
    }
}

struct ata_registers ata_registers_of(const struct disk_command *command, bool lba48, bool queued,
                                      unsigned slot, uint64_t ranges[ATA_RANGES_MAX]) {
    uint32_t block = command->disk->device.logical_block;
    uint64_t lba = command->offset / block;
    uint16_t sectors = (uint16_t)(command->length / block);
    bool write = command->operation == BLOCK_WRITE;

    if (command->operation == BLOCK_FLUSH)
        return (struct ata_registers){.command = lba48 ? ATA_FLUSH_CACHE_EXT : ATA_FLUSH_CACHE,
                                      .device = ATA_DEVICE_LBA};
    if (command->operation == BLOCK_DISCARD) {
        set_ranges(command, ranges);
        return (struct ata_registers){.command = ATA_DATA_SET_MANAGEMENT,
                                      .device = ATA_DEVICE_LBA,
                                      .features = 1, // trim
                                      .count = 1};
    }
    if (queued)
        return (struct ata_registers){.command =
                                          write ? ATA_WRITE_FPDMA_QUEUED : ATA_READ_FPDMA_QUEUED,
                                      .device = ATA_DEVICE_LBA,
                                      .features = sectors,
                                      .count = (uint16_t)(slot << 3),
                                      .lba = lba};
    if (lba48)
        return (struct ata_registers){.command = write ? ATA_WRITE_DMA_EXT : ATA_READ_DMA_EXT,
                                      .device = ATA_DEVICE_LBA,
                                      .count = sectors,
                                      .lba = lba};
    // 28 bits: the uppermost are in the device register. 256 sectors at most: a count of 0.
    return (struct ata_registers){.command = write ? ATA_WRITE_DMA : ATA_READ_DMA,
                                  .device = (uint8_t)(ATA_DEVICE_LBA | (lba >> 24 & 0xf)),
                                  .count = sectors & 0xff,
                                  .lba = lba & 0xffffff};
}
