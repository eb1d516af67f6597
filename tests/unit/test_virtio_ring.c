// SPDX-License-Identifier: BSD-2-Clause
// The driver's side of a virtqueue, with a device that gives back what it does not have.
#include <check.h>
#include <errno.h>
#include <string.h>

#include "drivers/virtio_pci/virtio_ring.h"

Suite *virtio_ring_suite(void);

#define SIZE 16u

static struct vring_desc descriptors[SIZE], tables[4 * 4];
static _Alignas(4) uint8_t available[6 + 2 * SIZE];
static _Alignas(4) uint8_t used[6 + 8 * SIZE];
static uint16_t bell;
static struct virtio_ring ring;

static void setup(void) {
    memset(available, 0, sizeof(available));
    memset(used, 0, sizeof(used));
    bell = 0xffff;
    ring = (struct virtio_ring){.size = SIZE,
                                .slots = 4,
                                .index = 3,
                                .stride = 4,
                                .notify = &bell,
                                .descriptors = descriptors,
                                .available = (volatile struct vring_avail *)available,
                                .used = (volatile struct vring_used *)used};
}

static void give_back(uint32_t id, uint32_t length) {
    struct vring_used *end = (struct vring_used *)used;

    end->ring[end->idx % SIZE] = (struct vring_used_elem){.id = id, .len = length};
    end->idx++;
}

static const struct virtio_piece pieces[] = {{0x1000, 16}, {0x2000, 512}, {0x3000, 1}};

START_TEST(chains_of_descriptors) {
    const struct vring_avail *driver = (struct vring_avail *)available;
    uint32_t written;

    virtio_ring_put(&ring, 2, pieces, 1, 2);
    ck_assert_uint_eq(driver->idx, 1);
    ck_assert_uint_eq(driver->ring[0], 8);
    ck_assert_uint_eq(descriptors[8].addr, 0x1000);
    ck_assert_uint_eq(descriptors[8].flags, VRING_DESC_F_NEXT);
    ck_assert_uint_eq(descriptors[8].next, 9);
    ck_assert_uint_eq(descriptors[9].flags, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
    ck_assert_uint_eq(descriptors[10].flags, VRING_DESC_F_WRITE);
    ck_assert_uint_eq(descriptors[10].len, 1);
    virtio_ring_kick(&ring);
    ck_assert_uint_eq(bell, 3);
    ck_assert_int_eq(virtio_ring_take(&ring, &written), -1);
    give_back(8, 513);
    ck_assert_int_eq(virtio_ring_take(&ring, &written), 2);
    ck_assert_uint_eq(written, 513);
    ck_assert_int_eq(virtio_ring_take(&ring, &written), -1);
}
END_TEST

START_TEST(indirect_tables) {
    uint32_t written;

    ring.indirect = tables;
    ring.indirect_addresses[3] = 0x7000;
    virtio_ring_put(&ring, 3, pieces, 2, 1);
    ck_assert_uint_eq(descriptors[3].addr, 0x7000);
    ck_assert_uint_eq(descriptors[3].len, 3 * sizeof(struct vring_desc));
    ck_assert_uint_eq(descriptors[3].flags, VRING_DESC_F_INDIRECT);
    ck_assert_uint_eq(tables[12].next, 1);
    ck_assert_uint_eq(tables[13].flags, VRING_DESC_F_NEXT);
    ck_assert_uint_eq(tables[14].flags, VRING_DESC_F_WRITE);
    give_back(3, 1);
    ck_assert_int_eq(virtio_ring_take(&ring, &written), 3);
}
END_TEST

START_TEST(indices_go_round) {
    uint32_t written;

    for (unsigned i = 0; i < 70000; i++) {
        virtio_ring_put(&ring, i % 4, pieces, 3, 0);
        give_back(i % 4 * 4, 0);
        ck_assert_int_eq(virtio_ring_take(&ring, &written), (int)(i % 4));
    }
}
END_TEST

START_TEST(a_device_that_lies) {
    static const uint32_t lies[] = {0 /* not at the device */, 5 /* within a chain */,
                                    16 /* no slot */, UINT32_MAX};
    uint32_t written;

    virtio_ring_put(&ring, 1, pieces, 3, 0);
    for (unsigned i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        give_back(lies[i], 0);
        ck_assert_int_eq(virtio_ring_take(&ring, &written), -EPROTO);
    }
    give_back(4, 0);
    ck_assert_int_eq(virtio_ring_take(&ring, &written), 1);
    give_back(4, 0); // twice
    ck_assert_int_eq(virtio_ring_take(&ring, &written), -EPROTO);
}
END_TEST

START_TEST(a_device_that_polls_is_not_kicked) {
    ((struct vring_used *)used)->flags = VRING_USED_F_NO_NOTIFY;
    virtio_ring_put(&ring, 0, pieces, 3, 0);
    virtio_ring_kick(&ring);
    ck_assert_uint_eq(bell, 0xffff);
}
END_TEST

Suite *virtio_ring_suite(void) {
    Suite *suite = suite_create("virtio_ring");
    TCase *tests = tcase_create("ring");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, chains_of_descriptors);
    tcase_add_test(tests, indirect_tables);
    tcase_add_test(tests, indices_go_round);
    tcase_add_test(tests, a_device_that_lies);
    tcase_add_test(tests, a_device_that_polls_is_not_kicked);
    suite_add_tcase(suite, tests);
    return suite;
}
