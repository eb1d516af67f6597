// SPDX-License-Identifier: BSD-2-Clause
// vmm's virtio console before a terminal that nobody reads. The front end's test stands in for
// vmm's virtio devices.
// Sources: guest-tools/vmm/virtio_console.c guest-tools/vmm/virtio_worker.c
// Sources: guest-tools/vmm/run_gate.c
#define _GNU_SOURCE // pipe2
#include <check.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "guest-tools/vmm/terminal.h"
#include "guest-tools/vmm/virtio_console.h"
#include "guest-tools/vmm/virtio_worker.h"
#include "guest-tools/vmm/vm.h"

Suite *virtio_console_suite(void);

#define MEMORY_SIZE (1u << 20)
#define DRIVER      0x1000u
#define DEVICE      0x2000u
#define DATA        0x4000u
#define LENGTH      (MEMORY_SIZE - DATA)

static struct vm vm;
static int terminal[2];

int terminal_input(void) {
    return -1;
}

int terminal_output(void) {
    return terminal[1];
}

enum terminal_event terminal_read(uint8_t *bytes, size_t *count) {
    (void)bytes, (void)count;
    return TERMINAL_END_OF_INPUT;
}

void vm_end(struct vm *ended, enum vm_outcome outcome) {
    (void)ended, (void)outcome;
}

static struct virtio_device *start(uint8_t *memory) {
    struct virtio_device *device = virtio_console_create(&vm, true);

    run_gate_init(&vm.gate, false);
    vm.memory_map = (struct guest_memory_map){.regions = {{0, MEMORY_SIZE, memory}}, .count = 1};
    *(struct vring_desc *)memory = (struct vring_desc){.addr = DATA, .len = LENGTH};
    ((uint16_t *)(memory + DRIVER))[1] = 1; // one buffer, the first descriptor's
    device->driver_features = 1ull << VIRTIO_F_VERSION_1;
    for (unsigned i = 0; i < 2; i++)
        device->queues[i] = (struct virtio_queue){.addresses = {0, DRIVER, DEVICE},
                                                  .size = 64,
                                                  .enabled = i == 1,
                                                  .kick_fd = eventfd(0, EFD_NONBLOCK)};
    ck_assert_int_eq(device->class->start(device), 0);
    return device;
}

START_TEST(test_all_is_shown) {
    static uint8_t memory[MEMORY_SIZE] __attribute__((aligned(4096)));
    uint8_t shown[4096];

    for (unsigned i = 0; i < LENGTH; i++)
        memory[DATA + i] = (uint8_t)(i * 7 + i / 251);
    ck_assert_int_eq(pipe2(terminal, 0), 0);
    struct virtio_device *device = start(memory);
    for (size_t at = 0; at < LENGTH;) {
        ssize_t got = read(terminal[0], shown, sizeof(shown));

        ck_assert_int_gt(got, 0);
        ck_assert(memcmp(shown, memory + DATA + at, (size_t)got) == 0);
        at += (size_t)got;
    }
    device->class->stop(device);
    ck_assert_uint_eq(((uint16_t *)(memory + DEVICE))[1], 1);
    free(device);
}
END_TEST

// The device's end does not wait for who reads.
START_TEST(test_nobody_reads) {
    static uint8_t memory[MEMORY_SIZE] __attribute__((aligned(4096)));

    ck_assert_int_eq(pipe2(terminal, 0), 0);
    struct virtio_device *device = start(memory);
    struct pollfd room = {.fd = terminal[1], .events = POLLOUT};
    while (poll(&room, 1, 0) == 1)
        usleep(1000);
    usleep(20000);
    device->class->stop(device);
    free(device);
}
END_TEST

Suite *virtio_console_suite(void) {
    Suite *suite = suite_create("virtio_console");
    TCase *tests = tcase_create("virtio_console");

    tcase_add_test(tests, test_all_is_shown);
    tcase_add_test(tests, test_nobody_reads);
    suite_add_tcase(suite, tests);
    return suite;
}
