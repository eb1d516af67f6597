// SPDX-License-Identifier: BSD-2-Clause
// Virtqueues from the device's side, split and packed, against a driver that lies.
#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include "drivers/virtio/virtqueue.h"

Suite *virtqueue_suite(void);

#define SIZE        8u
#define MEMORY_SIZE 0x10000u
#define DESCRIPTORS 0x1000u
#define DRIVER      0x2000u
#define DEVICE      0x3000u
#define TABLE       0x4000u
#define DATA        0x8000u
#define FEATURE(n)  (1ull << (n))

static uint8_t ram[MEMORY_SIZE] __attribute__((aligned(4096)));
static struct guest_memory_map map;
static struct virtqueue queue;
static struct virtqueue_buffer buffer;

static void start(uint64_t features) {
    const struct virtqueue_addresses addresses = {DESCRIPTORS, DRIVER, DEVICE};

    memset(ram, 0, sizeof(ram));
    // Two regions whose border lies within the data.
    map = (struct guest_memory_map){
        .regions = {{0, DATA + 0x800, ram}, {DATA + 0x800, 0x7800, ram + DATA + 0x800}},
        .count = 2};
    ck_assert_int_eq(virtqueue_attach(&queue, &map, SIZE, &addresses, features), 0);
}

static struct vring_desc *split_table(void) {
    return (struct vring_desc *)(ram + DESCRIPTORS);
}

static void describe(struct vring_desc *table, unsigned index, uint64_t address, uint32_t length,
                     uint16_t flags, uint16_t next) {
    table[index] =
        (struct vring_desc){.addr = address, .len = length, .flags = flags, .next = next};
}

static void make_available(uint16_t head) {
    uint16_t *ring = (uint16_t *)(ram + DRIVER);

    ring[2 + ring[1] % SIZE] = head;
    ring[1]++;
}

START_TEST(test_split_chain) {
    const char text[] = "hello";
    char copy[8] = "";

    start(FEATURE(VIRTIO_F_VERSION_1));
    memcpy(ram + DATA, text, sizeof(text));
    describe(split_table(), 3, DATA, sizeof(text), VRING_DESC_F_NEXT, 5);
    describe(split_table(), 5, DATA + 0x7f0, 0x20, VRING_DESC_F_WRITE, 0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 0);
    make_available(3);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
    ck_assert_uint_eq(buffer.id, 3);
    ck_assert_uint_eq(buffer.readable, 1);
    ck_assert_uint_eq(buffer.writable, 2); // it crosses the regions' border
    ck_assert_uint_eq(buffer.writable_bytes, 0x20);
    ck_assert_uint_eq(virtqueue_read(&buffer, 0, copy, sizeof(copy)), sizeof(text));
    ck_assert_str_eq(copy, text);
    ck_assert_uint_eq(virtqueue_write(&buffer, 0xe, "abcd", 4), 4);
    ck_assert_mem_eq(ram + DATA + 0x7fe, "abcd", 4);
    virtqueue_push(&queue, &buffer, 0x12);
    ck_assert_uint_eq(((uint16_t *)(ram + DEVICE))[1], 1);
    ck_assert_uint_eq(((uint32_t *)(ram + DEVICE))[1], 3);
    ck_assert_uint_eq(((uint32_t *)(ram + DEVICE))[2], 0x12);
    ck_assert(virtqueue_must_signal(&queue));
    ck_assert(!virtqueue_must_signal(&queue)); // nothing new
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 0);
}
END_TEST

// What a hostile driver writes: each is refused, none read or written outside the memory.
static const struct {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
} hostile[] = {
    {MEMORY_SIZE, 1, 0, 0},                    // outside
    {MEMORY_SIZE - 4, 8, 0, 0},                // over the end
    {UINT64_MAX - 3, 8, 0, 0},                 // wraps
    {DATA, 0, 0, 0},                           // empty
    {DATA, 4, VRING_DESC_F_NEXT, SIZE},        // next outside the table
    {DATA, 4, VRING_DESC_F_NEXT, 0},           // a loop
    {TABLE, 16, VRING_DESC_F_INDIRECT, 0},     // not negotiated
    {DATA, UINT32_MAX, VRING_DESC_F_WRITE, 0}, // longer than the memory
};

START_TEST(test_split_hostile) {
    start(FEATURE(VIRTIO_F_VERSION_1));
    describe(split_table(), 0, hostile[_i].address, hostile[_i].length, hostile[_i].flags,
             hostile[_i].next);
    make_available(0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
}
END_TEST

START_TEST(test_split_head_and_index) {
    start(FEATURE(VIRTIO_F_VERSION_1));
    make_available(SIZE);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
    start(FEATURE(VIRTIO_F_VERSION_1));
    ((uint16_t *)(ram + DRIVER))[1] = SIZE + 1; // more than the ring holds
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
}
END_TEST

START_TEST(test_write_before_read) {
    start(FEATURE(VIRTIO_F_VERSION_1));
    describe(split_table(), 0, DATA, 4, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    describe(split_table(), 1, DATA, 4, 0, 0);
    make_available(0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
}
END_TEST

START_TEST(test_indirect) {
    struct vring_desc *table = (struct vring_desc *)(ram + TABLE);

    start(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    describe(split_table(), 0, TABLE, 2 * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
    describe(table, 0, DATA, 4, VRING_DESC_F_NEXT, 1);
    describe(table, 1, DATA + 4, 4, VRING_DESC_F_WRITE, 0);
    make_available(0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
    ck_assert_uint_eq(buffer.readable_bytes, 4);
    ck_assert_uint_eq(buffer.writable_bytes, 4);
    // A table within the table.
    describe(table, 1, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
    // The ring itself as a table within it, without end.
    describe(split_table(), 0, DESCRIPTORS, SIZE * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
}
END_TEST

START_TEST(test_split_event_index) {
    uint16_t *used_event = (uint16_t *)(ram + DRIVER) + 2 + SIZE;
    const uint16_t *available_event = (uint16_t *)(ram + DEVICE + 4 + 8 * SIZE);

    start(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_EVENT_IDX));
    describe(split_table(), 0, DATA, 4, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        *used_event = 2; // from the third on
        make_available(0);
        ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
        virtqueue_push(&queue, &buffer, 0);
        bool signalled = virtqueue_must_signal(&queue);
        ck_assert_int_eq(signalled, i == 0 || i == 2); // the first time nothing is known
    }
    ck_assert(!virtqueue_enable_kicks(&queue));
    ck_assert_uint_eq(*available_event, 3);
    make_available(0);
    ck_assert(virtqueue_enable_kicks(&queue));
}
END_TEST

static struct vring_packed_desc *packed_ring(void) {
    return (struct vring_packed_desc *)(ram + DESCRIPTORS);
}

// The driver's side: writes a descriptor at its position, whose wrap counter is given.
static void packed_available(unsigned index, bool wrap, uint32_t length, uint16_t flags,
                             uint16_t id) {
    flags |= (uint16_t)(wrap ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED);
    packed_ring()[index] =
        (struct vring_packed_desc){.addr = DATA, .len = length, .id = id, .flags = flags};
}

START_TEST(test_packed_wraps) {
    bool wrap = true;
    unsigned at = 0;

    start(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_F_RING_PACKED));
    // Three descriptors a buffer: the ring's end is crossed in the middle of one.
    for (unsigned round = 0; round < 20; round++) {
        unsigned first = at;
        bool first_wrap = wrap;

        for (unsigned i = 0; i < 3; i++) {
            packed_available(at, wrap, 8, i < 2 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE,
                             (uint16_t)(i == 2 ? 100 + round : 0));
            if (++at == SIZE) {
                at = 0;
                wrap = !wrap;
            }
        }
        ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
        ck_assert_uint_eq(buffer.id, 100 + round);
        ck_assert_uint_eq(buffer.descriptors, 3);
        ck_assert_uint_eq(buffer.readable_bytes, 16);
        ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 0);
        buffer.descriptors = 3;
        buffer.id = (uint16_t)(100 + round);
        virtqueue_push(&queue, &buffer, 5);
        uint16_t used =
            (uint16_t)(1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED);
        ck_assert_uint_eq(packed_ring()[first].flags & used, first_wrap ? used : 0);
        ck_assert_uint_eq(packed_ring()[first].id, 100 + round);
        ck_assert_uint_eq(packed_ring()[first].len, 5);
    }
    uint32_t base = virtqueue_base(&queue);
    struct virtqueue before = queue;
    virtqueue_set_base(&queue, base);
    ck_assert_uint_eq(queue.next_available, before.next_available);
    ck_assert_uint_eq(queue.next_used, before.next_used);
    ck_assert_int_eq(queue.available_wrap, before.available_wrap);
    ck_assert_int_eq(queue.used_wrap, before.used_wrap);
}
END_TEST

// Buffers that belong together come back at once; those taken in vain are there again.
START_TEST(test_together) {
    const uint64_t rings[] = {0, FEATURE(VIRTIO_F_RING_PACKED)};
    struct virtqueue_used used[2];

    start(FEATURE(VIRTIO_F_VERSION_1) | rings[_i]);
    for (unsigned round = 0; round < 3 * SIZE / 2; round++) {
        bool wrap = round * 2 / SIZE % 2 == 0;
        unsigned at = round * 2 % SIZE;

        for (uint16_t i = 0; i < 2; i++) {
            describe(split_table(), at + i, DATA, 8, VRING_DESC_F_WRITE, 0);
            if (_i == 1)
                packed_available(at + i, wrap, 8, VRING_DESC_F_WRITE, (uint16_t)(at + i));
            else
                make_available((uint16_t)(at + i));
        }
        for (unsigned attempt = 0; attempt < 2; attempt++) {
            for (unsigned i = 0; i < 2; i++) {
                ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
                ck_assert_uint_eq(buffer.id, at + i);
                used[i] = (struct virtqueue_used){buffer.id, buffer.descriptors, 5 + i};
            }
            ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 0);
            if (attempt == 0) {
                virtqueue_unpop(&queue, used[1].descriptors);
                virtqueue_unpop(&queue, used[0].descriptors);
            }
        }
        virtqueue_push_all(&queue, used, 2);
        for (unsigned i = 0; i < 2; i++) {
            const uint32_t *entry = (uint32_t *)(ram + DEVICE + 4) + 2 * (at + i);

            ck_assert_uint_eq(_i == 1 ? packed_ring()[at + i].id : entry[0], at + i);
            ck_assert_uint_eq(_i == 1 ? packed_ring()[at + i].len : entry[1], 5 + i);
            if (_i == 1)
                ck_assert_int_eq(packed_ring()[at + i].flags >> VRING_PACKED_DESC_F_USED & 1, wrap);
        }
        if (_i == 0)
            ck_assert_uint_eq(((uint16_t *)(ram + DEVICE))[1], 2 * (round + 1));
    }
}
END_TEST

START_TEST(test_packed_endless_chain) {
    start(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_F_RING_PACKED));
    for (unsigned i = 0; i < SIZE; i++)
        packed_available(i, true, 8, VRING_DESC_F_NEXT, 0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), -EPROTO);
}
END_TEST

START_TEST(test_packed_events) {
    struct vring_packed_desc_event *event = (struct vring_packed_desc_event *)(ram + DRIVER);

    start(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_F_RING_PACKED) |
          FEATURE(VIRTIO_RING_F_EVENT_IDX));
    *event = (struct vring_packed_desc_event){.off_wrap = 2 | 1 << 15,
                                              .flags = VRING_PACKED_EVENT_FLAG_DESC};
    for (unsigned i = 0; i < 4; i++) {
        packed_available(i, true, 8, 0, 0);
        ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
        virtqueue_push(&queue, &buffer, 0);
        ck_assert_int_eq(virtqueue_must_signal(&queue), i == 0 || i == 2);
    }
    event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
    packed_available(4, true, 8, 0, 0);
    ck_assert_int_eq(virtqueue_pop(&queue, &buffer), 1);
    virtqueue_push(&queue, &buffer, 0);
    ck_assert(!virtqueue_must_signal(&queue));
}
END_TEST

START_TEST(test_attach) {
    struct virtqueue_addresses addresses = {DESCRIPTORS, DRIVER, DEVICE};

    start(FEATURE(VIRTIO_F_VERSION_1));
    ck_assert_int_eq(virtqueue_attach(&queue, &map, 0, &addresses, 0), -EINVAL);
    ck_assert_int_eq(virtqueue_attach(&queue, &map, 7, &addresses, 0), -EINVAL);
    ck_assert_int_eq(virtqueue_attach(&queue, &map, 2048, &addresses, 0), -EINVAL);
    addresses.descriptors += 8;
    ck_assert_int_eq(virtqueue_attach(&queue, &map, SIZE, &addresses, 0), -EINVAL);
    addresses.descriptors = MEMORY_SIZE - 16;
    ck_assert_int_eq(virtqueue_attach(&queue, &map, SIZE, &addresses, 0), -EFAULT);
}
END_TEST

START_TEST(test_take) {
    start(FEATURE(VIRTIO_F_VERSION_1));
    describe(split_table(), 2, DATA, 4, 0, 0);
    ck_assert_int_eq(virtqueue_take(&queue, 2, &buffer), 1);
    ck_assert_uint_eq(buffer.id, 2);
    ck_assert_uint_eq(buffer.readable_bytes, 4);
    ck_assert_int_eq(virtqueue_take(&queue, SIZE, &buffer), -EPROTO);
}
END_TEST

Suite *virtqueue_suite(void) {
    Suite *suite = suite_create("virtqueue");
    TCase *tests = tcase_create("virtqueue");

    tcase_add_test(tests, test_split_chain);
    tcase_add_loop_test(tests, test_split_hostile, 0, sizeof(hostile) / sizeof(hostile[0]));
    tcase_add_test(tests, test_split_head_and_index);
    tcase_add_test(tests, test_write_before_read);
    tcase_add_test(tests, test_indirect);
    tcase_add_test(tests, test_split_event_index);
    tcase_add_test(tests, test_packed_wraps);
    tcase_add_loop_test(tests, test_together, 0, 2);
    tcase_add_test(tests, test_packed_endless_chain);
    tcase_add_test(tests, test_packed_events);
    tcase_add_test(tests, test_attach);
    tcase_add_test(tests, test_take);
    suite_add_tcase(suite, tests);
    return suite;
}
