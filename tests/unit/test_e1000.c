// SPDX-License-Identifier: BSD-2-Clause
// Frames through the e1000's rings, long ones in several descriptors. The test stands in for the
// device; dma_allocate and dma_address are those of the disk controller's test.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/e1000/e1000.h"

Suite *e1000_suite(void);

enum { RING = 128, RDBAL = 0x2800, TDBAL = 0x3800, TAIL = 0x18, RCTL = 0x100 };
enum { DONE = 1, END = 2, CRC_ERROR = 1, SEND_END = 1 };

struct descriptor {
    uint64_t address;
    uint16_t length;
    uint8_t checksum[2], status, errors; // where it sends: command is checksum[1]
    uint16_t special;
};

static uint8_t registers[0x20000];
static struct nic *nic;
static struct descriptor *received, *sent;
static struct pci_device pci;

volatile void *pci_map(struct pci_device *device, unsigned bar, uint64_t offset, size_t size) {
    (void)device, (void)bar, (void)offset;
    ck_assert_uint_le(size, sizeof(registers));
    return registers;
}

int pci_enable_interrupts(struct pci_device *device, unsigned wanted) {
    (void)device;
    return (int)wanted;
}

uint8_t *nic_buffers(struct pci_device *device, unsigned count, uint64_t *addresses) {
    uint8_t *buffers = dma_allocate(device->dma, (size_t)count * NIC_BUFFER_SIZE);

    for (unsigned i = 0; i < count; i++)
        addresses[i] = (uintptr_t)(buffers + i * NIC_BUFFER_SIZE);
    return buffers;
}

static uint32_t get(unsigned offset) {
    uint32_t value;

    memcpy(&value, registers + offset, sizeof(value));
    return value;
}

static struct descriptor *ring_at(unsigned offset) {
    uint64_t address = get(offset) | (uint64_t)get(offset + 4) << 32;

    return (struct descriptor *)address; // NOLINT(performance-no-int-to-ptr)
}

static void setup(void) {
    nic = e1000_open(&pci);
    ck_assert_ptr_nonnull(nic);
    received = ring_at(RDBAL);
    sent = ring_at(TDBAL);
    ck_assert_uint_eq(get(RCTL) >> 5 & 1, 1); // long packets are taken
}

// Byte `at` of the frames here.
static uint8_t byte(uint32_t at) {
    return (uint8_t)(at * 7 + at / 256);
}

static void deliver(unsigned *index, uint32_t from, uint16_t length, uint8_t status) {
    struct descriptor *descriptor = &received[(*index)++ % RING];

    for (uint32_t i = 0; i < length; i++)
        ((uint8_t *)descriptor->address)[i] = byte(from + i); // NOLINT(performance-no-int-to-ptr)
    descriptor->length = length;
    descriptor->errors = 0;
    descriptor->status = status;
}

static void expect(uint32_t length) {
    struct net_frame *frame = nic->receive(nic);

    ck_assert_ptr_nonnull(frame);
    ck_assert_uint_eq(frame->length, length);
    for (uint32_t i = 0; i < length; i++)
        ck_assert_uint_eq(frame->bytes[i], byte(i));
    net_frame_release(frame);
}

START_TEST(long_frames_come) {
    unsigned index = 0;

    for (unsigned round = 0; round < 60; round++) {
        deliver(&index, 0, 60, DONE | END);
        deliver(&index, 0, 2048, DONE);
        deliver(&index, 2048, 2048, DONE);
        expect(60);
        ck_assert_ptr_null(nic->receive(nic)); // its end is not there yet
        deliver(&index, 4096, 904, DONE | END);
        expect(5000);
        ck_assert_ptr_null(nic->receive(nic));
        ck_assert_uint_eq(get(RDBAL + TAIL), (index - 1) % RING);
    }
}
END_TEST

START_TEST(bad_frames_are_skipped) {
    unsigned index = 0;

    deliver(&index, 0, 2048, DONE);
    received[0].errors = CRC_ERROR;
    deliver(&index, 2048, 10, DONE | END);
    for (unsigned i = 0; i < 5; i++) // longer than any
        deliver(&index, 0, 2048, i == 4 ? DONE | END : DONE);
    deliver(&index, 0, UINT16_MAX & 2047, DONE | END);
    received[index - 1].length = UINT16_MAX; // than its buffer
    deliver(&index, 0, 64, DONE | END);
    expect(64);
    ck_assert_ptr_null(nic->receive(nic));
    // A whole ring without an end.
    for (unsigned i = 0; i < RING - 1; i++)
        deliver(&index, 0, 1, DONE);
    ck_assert_ptr_null(nic->receive(nic));
    deliver(&index, 0, 64, DONE | END);
    expect(64);
}
END_TEST

static struct net_frame *frame_of(uint32_t length) {
    struct net_frame *frame = net_frame_new(length);

    for (uint32_t i = 0; i < length; i++)
        frame->bytes[i] = byte(i);
    return frame;
}

static unsigned send_until_full(const struct net_frame *frame) {
    unsigned frames = 0;

    while (nic->transmit(nic, frame))
        frames++;
    return frames;
}

START_TEST(long_frames_go) {
    struct net_frame *frame = frame_of(9000), *whole = frame_of(2048);

    ck_assert_uint_ge(nic->frame_max, frame->length);
    ck_assert(nic->transmit(nic, frame));
    nic->kick(nic);
    ck_assert_uint_eq(get(TDBAL + TAIL), 5);
    for (uint32_t i = 0; i < 9000; i++)
        ck_assert_uint_eq(((uint8_t *)sent[i / 2048].address)[i % 2048], // NOLINT(*-int-to-ptr)
                          byte(i));
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(sent[i].length, i == 4 ? 9000 - 4 * 2048 : 2048);
        ck_assert_uint_eq(sent[i].checksum[1] & SEND_END, i == 4);
    }
    // One descriptor stays free: 127, five for each.
    ck_assert_uint_eq(send_until_full(frame), 24);
    ck_assert_uint_eq(send_until_full(whole), 2);
    for (unsigned i = 0; i < 10; i++)
        sent[i].status = DONE;
    ck_assert_uint_eq(send_until_full(frame), 2);
    ck_assert_uint_eq(send_until_full(whole), 0);
    net_frame_release(frame);
    net_frame_release(whole);
}
END_TEST

Suite *e1000_suite(void) {
    Suite *suite = suite_create("e1000");
    TCase *tests = tcase_create("e1000");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, long_frames_come);
    tcase_add_test(tests, bad_frames_are_skipped);
    tcase_add_test(tests, long_frames_go);
    suite_add_tcase(suite, tests);
    return suite;
}
