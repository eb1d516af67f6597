// SPDX-License-Identifier: BSD-2-Clause
// What NVMe controllers and namespaces say of themselves, and say wrongly.
#include <check.h>
#include <errno.h>
#include <string.h>

#include "drivers/nvme/identify.h"

Suite *nvme_identify_suite(void);

static uint8_t data[NVME_IDENTIFY_SIZE];

static void setup(void) {
    memset(data, 0, sizeof(data));
}

START_TEST(controller) {
    struct nvme_controller_identity identity;

    memcpy(data + 4, "S123                ", 20);
    data[77] = 5;
    data[520] = 0x0c;
    data[525] = 1;
    nvme_parse_controller(data, 4096, &identity);
    ck_assert_uint_eq(identity.transfer_max, 128u << 10);
    ck_assert(identity.discards && identity.writes_zeroes && identity.write_cache);
    ck_assert_str_eq(identity.serial, "S123");
    data[77] = 0;
    data[520] = 0;
    nvme_parse_controller(data, 4096, &identity);
    ck_assert_uint_eq(identity.transfer_max, UINT32_MAX);
    ck_assert(!identity.discards && !identity.writes_zeroes);
    // A shift that would leave nothing of the number.
    data[77] = 255;
    nvme_parse_controller(data, 4096, &identity);
    ck_assert_uint_eq(identity.transfer_max, UINT32_MAX);
}
END_TEST

static int parse_namespace(uint64_t blocks, uint8_t shift, uint16_t metadata,
                           struct nvme_namespace_identity *identity) {
    memcpy(data, &blocks, sizeof(blocks));
    data[26] = 3;
    memcpy(data + 128 + 12, &metadata, sizeof(metadata));
    data[128 + 14] = shift;
    return nvme_parse_namespace(data, identity);
}

START_TEST(namespace) {
    struct nvme_namespace_identity identity;

    ck_assert_int_eq(parse_namespace(1000, 9, 0, &identity), 0);
    ck_assert_uint_eq(identity.sectors, 1000);
    ck_assert_uint_eq(identity.physical_block, 512);
    data[24] = 1 << 4;
    data[64] = 7;
    ck_assert_int_eq(nvme_parse_namespace(data, &identity), 0);
    ck_assert_uint_eq(identity.physical_block, 4096);
    data[64] = 6; // seven blocks
    ck_assert_int_eq(nvme_parse_namespace(data, &identity), 0);
    ck_assert_uint_eq(identity.physical_block, 512);
    memset(data + 64, 0xff, 2);
    ck_assert_int_eq(nvme_parse_namespace(data, &identity), 0);
    ck_assert_uint_eq(identity.physical_block, 512);
    ck_assert_uint_eq(identity.logical_block, 512);
    memset(data + 64, 0, 2);
    ck_assert_int_eq(parse_namespace(1000, 12, 0, &identity), 0);
    ck_assert_uint_eq(identity.sectors, 8000);
    ck_assert_uint_eq(identity.logical_block, 4096);
    ck_assert_uint_eq(identity.physical_block, 4096);
}
END_TEST

START_TEST(namespaces_that_cannot_be_used) {
    struct nvme_namespace_identity identity;

    ck_assert_int_eq(parse_namespace(0, 9, 0, &identity), -ENODEV);
    ck_assert_int_eq(parse_namespace(1000, 8, 0, &identity), -EOPNOTSUPP);
    ck_assert_int_eq(parse_namespace(1000, 13, 0, &identity), -EOPNOTSUPP);
    ck_assert_int_eq(parse_namespace(1ull << 51, 12, 0, &identity), -EOPNOTSUPP);
    ck_assert_int_eq(parse_namespace(1000, 9, 8, &identity), -EOPNOTSUPP);
    ck_assert_int_eq(parse_namespace(UINT64_MAX, 9, 0, &identity), -EOPNOTSUPP);
    memset(data, 0xff, sizeof(data)); // a device that is gone
    ck_assert_int_eq(nvme_parse_namespace(data, &identity), -EOPNOTSUPP);
}
END_TEST

Suite *nvme_identify_suite(void) {
    Suite *suite = suite_create("nvme_identify");
    TCase *tests = tcase_create("parsers");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, controller);
    tcase_add_test(tests, namespace);
    tcase_add_test(tests, namespaces_that_cannot_be_used);
    suite_add_tcase(suite, tests);
    return suite;
}
