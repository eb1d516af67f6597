// SPDX-License-Identifier: BSD-2-Clause
// What ATA disks say of themselves, and the registers of their commands.
#include <check.h>
#include <errno.h>
#include <string.h>

#include "drivers/ata/ata.h"

Suite *ata_suite(void);

static uint16_t words[ATA_IDENTIFY_WORDS];
static struct ata_identity identity;

static void setup(void) {
    memset(words, 0, sizeof(words));
    words[49] = 1u << 8; // DMA
    words[60] = 0x1234;
    words[83] = 1u << 10; // LBA48
    words[100] = 0x5678;
    words[101] = 1;
}

START_TEST(disk) {
    static const char serial[] = "  ZA1234          CB"; // as it stands in the words

    for (unsigned i = 0; i < 10; i++)
        words[10 + i] = (uint16_t)(serial[2 * i] << 8 | serial[2 * i + 1]);
    words[75] = 31;
    words[76] = 1u << 8;
    words[106] = 0x4000 | 1u << 13 | 3; // eight sectors in a physical one
    words[169] = 1;
    ck_assert_int_eq(ata_parse_identity(words, &identity), 0);
    ck_assert_uint_eq(identity.sectors, 0x15678);
    ck_assert_uint_eq(identity.physical_block, 4096);
    ck_assert_uint_eq(identity.queue_depth, 32);
    ck_assert(identity.lba48 && identity.trims);
    ck_assert_int_eq(strncmp(identity.serial, "ZA1234          CB", 20), 0);
    words[76] = 0xffff; // no SATA device
    words[83] = 0;
    ck_assert_int_eq(ata_parse_identity(words, &identity), 0);
    ck_assert_uint_eq(identity.sectors, 0x1234);
    ck_assert_uint_eq(identity.queue_depth, 0);
}
END_TEST

START_TEST(disks_that_cannot_be_used) {
    words[0] = 1u << 15; // a packet device
    ck_assert_int_eq(ata_parse_identity(words, &identity), -ENODEV);
    words[0] = 0;
    words[106] = 0x4000 | 1u << 12; // sectors of a length of their own
    words[117] = 264;
    ck_assert_int_eq(ata_parse_identity(words, &identity), -EOPNOTSUPP);
    words[117] = 4096;
    ck_assert_int_eq(ata_parse_identity(words, &identity), -EOPNOTSUPP);
    words[106] = 0xc000 | 1u << 12; // a word that is not valid
    ck_assert_int_eq(ata_parse_identity(words, &identity), 0);
    words[103] = 1; // 2^48 sectors and more
    ck_assert_int_eq(ata_parse_identity(words, &identity), -EOPNOTSUPP);
    words[103] = 0;
    words[49] = 0;
    ck_assert_int_eq(ata_parse_identity(words, &identity), -EOPNOTSUPP);
    words[100] = words[101] = 0;
    ck_assert_int_eq(ata_parse_identity(words, &identity), -ENODEV);
    memset(words, 0xff, sizeof(words)); // a device that is gone
    ck_assert_int_eq(ata_parse_identity(words, &identity), -ENODEV);
}
END_TEST

static struct disk disk_of_512 = {.device.logical_block = 512};

START_TEST(registers_of_commands) {
    struct disk_command command = {.disk = &disk_of_512,
                                   .operation = BLOCK_WRITE,
                                   .offset = 0x123456789abull * 512,
                                   .length = 256ul * 512};
    uint64_t ranges[ATA_RANGES_MAX];
    struct ata_registers registers = ata_registers_of(&command, true, false, 0, ranges);

    ck_assert_uint_eq(registers.command, ATA_WRITE_DMA_EXT);
    ck_assert_uint_eq(registers.lba, 0x123456789abull);
    ck_assert_uint_eq(registers.count, 256);
    registers = ata_registers_of(&command, true, true, 5, ranges);
    ck_assert_uint_eq(registers.command, ATA_WRITE_FPDMA_QUEUED);
    ck_assert_uint_eq(registers.features, 256);
    ck_assert_uint_eq(registers.count, 5 << 3);
    command.operation = BLOCK_READ;
    command.offset = 0xabcdef1ull * 512;
    registers = ata_registers_of(&command, false, false, 0, ranges);
    ck_assert_uint_eq(registers.command, ATA_READ_DMA);
    ck_assert_uint_eq(registers.device, ATA_DEVICE_LBA | 0xa);
    ck_assert_uint_eq(registers.lba, 0xbcdef1);
    ck_assert_uint_eq(registers.count, 0); // 256
    command.operation = BLOCK_FLUSH;
    ck_assert_uint_eq(ata_registers_of(&command, true, false, 0, ranges).command,
                      ATA_FLUSH_CACHE_EXT);
}
END_TEST

START_TEST(blocks_of_4_kib) {
    struct disk disk = {0};
    struct disk_command command = {
        .disk = &disk, .operation = BLOCK_READ, .offset = 7ul * 4096, .length = 3ul * 4096};
    uint64_t ranges[ATA_RANGES_MAX];

    words[106] = 0x4000 | 1u << 12;
    words[117] = 2048;
    ck_assert_int_eq(ata_parse_identity(words, &identity), 0);
    ck_assert_uint_eq(identity.physical_block, 4096);
    ata_describe(&identity, &disk);
    ck_assert_uint_eq(disk.device.logical_block, 4096);
    ck_assert_uint_eq(disk.device.sectors, 0x15678 * 8);
    struct ata_registers registers = ata_registers_of(&command, true, false, 0, ranges);
    ck_assert_uint_eq(registers.lba, 7);
    ck_assert_uint_eq(registers.count, 3);
    command.operation = BLOCK_DISCARD;
    ata_registers_of(&command, true, false, 0, ranges);
    ck_assert_uint_eq(ranges[0], 7 | 3ull << 48);
}
END_TEST

START_TEST(ranges_of_a_discard) {
    struct disk disk = {0};
    struct disk_command command = {.disk = &disk, .operation = BLOCK_DISCARD, .offset = 7ul * 512};
    uint64_t ranges[ATA_RANGES_MAX];

    ck_assert_int_eq(ata_parse_identity(words, &identity), 0);
    ata_describe(&identity, &disk);
    command.length = 70000ul * 512;
    struct ata_registers registers = ata_registers_of(&command, true, false, 0, ranges);
    ck_assert_uint_eq(registers.command, ATA_DATA_SET_MANAGEMENT);
    ck_assert_uint_eq(registers.count, 1);
    ck_assert_uint_eq(ranges[0], 7 | 65535ull << 48);
    ck_assert_uint_eq(ranges[1], 65542 | (70000ull - 65535) << 48);
    ck_assert_uint_eq(ranges[2], 0);
    // As long as a command may be.
    command.length = disk.clear_max;
    ata_registers_of(&command, true, false, 0, ranges);
    ck_assert_uint_eq(ranges[63], (7 + 63 * 65535ull) | 65535ull << 48);
}
END_TEST

Suite *ata_suite(void) {
    Suite *suite = suite_create("ata");
    TCase *tests = tcase_create("disks");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, disk);
    tcase_add_test(tests, disks_that_cannot_be_used);
    tcase_add_test(tests, registers_of_commands);
    tcase_add_test(tests, blocks_of_4_kib);
    tcase_add_test(tests, ranges_of_a_discard);
    suite_add_tcase(suite, tests);
    return suite;
}
