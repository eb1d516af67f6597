// SPDX-License-Identifier: BSD-2-Clause
// Requests as commands of a controller that is an array of bytes, with the faults of real ones.
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "drivers/clock.h"
#include "drivers/disks/controller.h"

Suite *disk_controller_suite(void);

#define DISK_SIZE (1u << 20)
#define GAP_MASK  4095u
#define ALIGNED   __attribute__((aligned(4096)))

static uint8_t medium[DISK_SIZE];
static ALIGNED uint8_t mapped[256u << 10]; // what the device reaches of its users' memory

// --- the memory of the device: its addresses are the program's

static uint8_t *own[8];
static unsigned own_count;
static size_t own_sizes[8];

void *dma_allocate(struct dma_space *space, size_t size) {
    (void)space;
    ck_assert_uint_lt(own_count, 8);
    own_sizes[own_count] = size;
    own[own_count] = aligned_alloc(4096, (size + 4095) & ~4095ul);
    return own[own_count++];
}

uint64_t dma_address(struct dma_space *space, const void *memory, size_t *size) {
    const uint8_t *at = memory;
    size_t room = 0;

    (void)space;
    if (at >= mapped && at < mapped + sizeof(mapped))
        room = (size_t)(mapped + sizeof(mapped) - at);
    for (unsigned i = 0; i < own_count; i++)
        if (at >= own[i] && at < own[i] + own_sizes[i])
            room = (size_t)(own[i] + own_sizes[i] - at);
    if (!room)
        return DMA_NONE;
    if (*size > room)
        *size = room;
    return (uintptr_t)at;
}

int dma_map(struct dma_space *space, void *memory, size_t size) {
    (void)space, (void)memory, (void)size;
    return -EOPNOTSUPP;
}

void dma_unmap(struct dma_space *space, void *memory) {
    (void)space, (void)memory;
}

static sem_t interrupt_served;

void pci_interrupt_served(struct pci_device *device) {
    (void)device;
    sem_post(&interrupt_served);
}

static unsigned dma_stopped;

void pci_stop_dma(const struct pci_device *device) {
    (void)device;
    dma_stopped++;
}

// --- the time

#define SECOND 1000000000ull

static uint64_t time_now, time_step; // per look at the clock

uint64_t clock_now(void) {
    return __atomic_add_fetch(&time_now, time_step, __ATOMIC_SEQ_CST);
}

// --- the device

static struct {
    uint32_t under_way; // slots
    unsigned started, kicks, resets, bounces, most;
    uint64_t bad_offset; // a write there stops the device; 0: none
    unsigned again;      // commands that are to be tried again
    bool stopped, silent, reset_fails;
} device;

static void carry_out(const struct disk_command *command) {
    uint64_t at = command->offset;

    if (command->operation == BLOCK_WRITE_ZEROES || command->operation == BLOCK_DISCARD)
        memset(medium + at, 0, command->length);
    for (unsigned i = 0; i < command->piece_count; i++) {
        const struct disk_piece *piece = &command->pieces[i];

        if (i)
            ck_assert_uint_eq(piece->address & GAP_MASK, 0);
        if (i + 1 < command->piece_count)
            ck_assert_uint_eq((piece->address + piece->size) & GAP_MASK, 0);
        if (command->operation == BLOCK_READ)
            memcpy((void *)piece->address, medium + at, piece->size);
        else
            memcpy(medium + at, (void *)piece->address, piece->size);
        at += piece->size;
    }
    if (command->piece_count)
        ck_assert_uint_eq(at, command->offset + command->length);
}

static void fake_start(struct disk_queue *queue, unsigned slot) {
    struct disk_command *command = &queue->commands[slot];

    if (command->operation == BLOCK_FLUSH)
        ck_assert_uint_eq(device.under_way, 0);
    if (command->operation == BLOCK_FLUSH || command->operation == BLOCK_DISCARD ||
        command->operation == BLOCK_WRITE_ZEROES)
        command->piece_count = 0;
    device.bounces += command->bounced;
    device.started++;
    device.under_way |= 1u << slot;
    unsigned count = (unsigned)__builtin_popcount(device.under_way);
    if (count > device.most)
        device.most = count;
}

static void fake_kick(struct disk_queue *queue) {
    (void)queue;
    device.kicks++;
}

static bool fake_poll(struct disk_queue *queue) {
    if (device.stopped)
        return false;
    for (unsigned slot = DISK_SLOTS_MAX; slot-- && !device.silent;) { // the last comes first
        const struct disk_command *command = disk_command_started(queue, slot);

        if (!(device.under_way & 1u << slot))
            continue;
        ck_assert_ptr_nonnull(command);
        if (device.bad_offset && command->offset == device.bad_offset)
            device.stopped = true;
        if (device.stopped)
            return false;
        device.under_way &= ~(1u << slot);
        if (device.again) {
            device.again--;
            disk_command_over(queue, slot, -EAGAIN);
        } else {
            carry_out(command);
            disk_command_over(queue, slot, 0);
        }
    }
    return true;
}

static int fake_reset(struct controller *controller) {
    (void)controller;
    device.resets++;
    device.under_way = 0;
    device.stopped = false;
    return device.reset_fails ? -EIO : 0;
}

static const struct controller_operations operations = {.start = fake_start,
                                                        .kick = fake_kick,
                                                        .poll = fake_poll,
                                                        .reset = fake_reset,
                                                        .exclusive = 1u << BLOCK_FLUSH};
static struct pci_device pci;
static struct controller controller;
static struct disk *disk;

// --- requests

struct user {
    struct block_request request; // first
    struct iovec piece;
    unsigned over;
    int error;
};

static void done(struct block_request *request, int error) {
    struct user *user = (struct user *)request;

    ck_assert(!controller.dead || dma_stopped); // its memory is the user's again
    user->over++;
    user->error = error;
}

static void submit(struct user *user, enum block_operation operation, uint64_t offset, void *data,
                   size_t length) {
    *user = (struct user){.piece = {.iov_base = data, .iov_len = length}};
    user->request = (struct block_request){.operation = operation,
                                           .offset = offset,
                                           .length = operation == BLOCK_FLUSH ? 0 : length,
                                           .data = &user->piece,
                                           .count = data ? 1 : 0,
                                           .done = done};
    block_submit(&disk->device, &user->request);
}

static void poll_disk(void) {
    for (unsigned i = 0; i < 50; i++)
        disk->device.poll(&disk->device, 0);
}

static void setup(void) {
    memset(&device, 0, sizeof(device));
    memset(medium, 0x11, sizeof(medium));
    controller = (struct controller){.pci = &pci,
                                     .operations = &operations,
                                     .command_max = 64u << 10,
                                     .address_mask = UINT64_MAX,
                                     .gap_mask = GAP_MASK,
                                     .vectors = 1};
    ck_assert_ptr_nonnull(controller_add_queue(&controller, 4));
    disk = controller_add_disk(&controller, 0, 0, 1);
    disk->device.sectors = DISK_SIZE / 512;
    disk->device.discards = true;
    disk->clear_max = 128u << 10;
}

static void teardown(void) {
    for (unsigned i = 0; i < own_count; i++)
        free(own[i]);
    own_count = 0;
    free(controller.queues[0]);
    free(disk);
}

static void check_bytes(const uint8_t *bytes, size_t size, uint8_t value) {
    for (size_t i = 0; i < size; i++)
        ck_assert_uint_eq(bytes[i], value);
}

START_TEST(long_requests_are_several_commands) {
    struct user user;

    memset(mapped, 0x77, sizeof(mapped));
    submit(&user, BLOCK_WRITE, 4096, mapped, sizeof(mapped));
    ck_assert_uint_eq(device.started, 4);
    ck_assert_uint_eq(device.kicks, 1);
    ck_assert_uint_eq(user.over, 0);
    poll_disk();
    ck_assert_uint_eq(user.over, 1);
    ck_assert_int_eq(user.error, 0);
    ck_assert_uint_eq(device.bounces, 0);
    check_bytes(medium, 4096, 0x11);
    check_bytes(medium + 4096, sizeof(mapped), 0x77);
    check_bytes(medium + 4096 + sizeof(mapped), 4096, 0x11);
}
END_TEST

START_TEST(other_memory_is_copied) {
    static uint8_t mine[100u << 10];
    struct user user;

    memset(mine, 0x33, sizeof(mine));
    submit(&user, BLOCK_WRITE, 512, mine, sizeof(mine));
    poll_disk();
    ck_assert_int_eq(user.error, 0);
    ck_assert_uint_eq(device.bounces, 2);
    check_bytes(medium + 512, sizeof(mine), 0x33);
    memset(mine, 0, sizeof(mine));
    submit(&user, BLOCK_READ, 512, mine + 1, sizeof(mine) - 512);
    poll_disk();
    ck_assert_uint_eq(user.over, 1);
    ck_assert_uint_eq(mine[0], 0);
    check_bytes(mine + 1, sizeof(mine) - 512, 0x33);
}
END_TEST

START_TEST(pieces_join_at_page_borders_or_are_copied) {
    struct iovec pieces[2] = {{mapped + 512, 1024}, {mapped + 8192, 1024}};
    struct user user = {0};

    memset(mapped, 0x55, sizeof(mapped));
    user.request = (struct block_request){
        .operation = BLOCK_WRITE, .length = 2048, .data = pieces, .count = 2, .done = done};
    block_submit(&disk->device, &user.request);
    poll_disk();
    ck_assert_uint_eq(device.bounces, 1);
    pieces[0] = (struct iovec){mapped + 4096 + 3072, 1024};
    pieces[1] = (struct iovec){mapped + 16384, 1024};
    block_submit(&disk->device, &user.request);
    poll_disk();
    ck_assert_uint_eq(device.bounces, 1);
    ck_assert_uint_eq(user.over, 2);
    check_bytes(medium, 2048, 0x55);
}
END_TEST

START_TEST(zeros_are_written_where_there_is_no_command_for_them) {
    struct user user;

    submit(&user, BLOCK_WRITE_ZEROES, 512, NULL, 200u << 10);
    poll_disk();
    ck_assert_int_eq(user.error, 0);
    ck_assert_uint_eq(device.started, 4);
    check_bytes(medium, 512, 0x11);
    check_bytes(medium + 512, 200u << 10, 0);
    disk->clears = true;
    submit(&user, BLOCK_WRITE_ZEROES, 512, NULL, 200u << 10);
    poll_disk();
    ck_assert_uint_eq(device.started, 6);
    disk->device.discards = false;
    submit(&user, BLOCK_DISCARD, 512, NULL, 512);
    ck_assert_int_eq(user.error, -EOPNOTSUPP);
}
END_TEST

START_TEST(a_flush_goes_alone) {
    struct user users[4];

    submit(&users[0], BLOCK_WRITE, 0, mapped, 512);
    submit(&users[1], BLOCK_FLUSH, 0, NULL, 0);
    submit(&users[2], BLOCK_WRITE, 512, mapped, 512);
    ck_assert_uint_eq(device.started, 1);
    poll_disk();
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(users[i].over, 1);
        ck_assert_int_eq(users[i].error, 0);
    }
    ck_assert_uint_eq(device.most, 1);
    ck_assert_uint_eq(users[1].request.length, 0);
}
END_TEST

START_TEST(only_the_command_that_stops_the_device_fails) {
    struct user users[12];

    device.bad_offset = 5 * 512;
    for (unsigned i = 0; i < 12; i++)
        submit(&users[i], BLOCK_WRITE, i * 512, mapped, 512);
    poll_disk();
    for (unsigned i = 0; i < 12; i++) {
        ck_assert_uint_eq(users[i].over, 1);
        ck_assert_int_eq(users[i].error, i == 5 ? -EIO : 0);
    }
    ck_assert_uint_ge(device.resets, 2);
    ck_assert_uint_eq(controller.queues[0]->occupied, 0);
}
END_TEST

START_TEST(a_long_request_that_fails_ends_once) {
    struct user users[2];

    device.bad_offset = 64u << 10;
    submit(&users[0], BLOCK_WRITE, 0, mapped, sizeof(mapped));
    submit(&users[1], BLOCK_WRITE, 512u << 10, mapped, sizeof(mapped));
    poll_disk();
    ck_assert_uint_eq(users[0].over, 1);
    ck_assert_int_eq(users[0].error, -EIO);
    ck_assert_uint_eq(users[1].over, 1);
    ck_assert_int_eq(users[1].error, 0);
}
END_TEST

START_TEST(commands_are_tried_again) {
    struct user user;

    device.again = 2;
    submit(&user, BLOCK_WRITE, 0, mapped, 512);
    poll_disk();
    ck_assert_int_eq(user.error, 0);
    ck_assert_uint_eq(device.started, 3);
    device.again = 3;
    submit(&user, BLOCK_WRITE, 0, mapped, 512);
    poll_disk();
    ck_assert_int_eq(user.error, -EIO);
    ck_assert_uint_eq(device.resets, 0);
}
END_TEST

START_TEST(a_dead_controller_fails_everything) {
    struct user users[9];

    device.bad_offset = 512;
    device.reset_fails = true;
    for (unsigned i = 0; i < 8; i++)
        submit(&users[i], BLOCK_WRITE, i * 512, mapped, 512);
    poll_disk();
    submit(&users[8], BLOCK_READ, 0, mapped, 512);
    for (unsigned i = 0; i < 9; i++)
        ck_assert_uint_eq(users[i].over, 1);
    ck_assert_int_eq(users[8].error, -EIO);
    ck_assert_uint_eq(device.resets, 1);
    ck_assert_uint_eq(dma_stopped, 1);
}
END_TEST

// The controller's thread looks at it, at this time.
static void look_at(uint64_t seconds) {
    const uint64_t one = 1;

    __atomic_store_n(&time_now, seconds * SECOND, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(write(pci.interrupts[0], &one, sizeof(one)), sizeof(one));
    while (sem_wait(&interrupt_served) < 0) {
    }
}

static void start_looking(void) {
    time_now = time_step = 0;
    sem_init(&interrupt_served, 0, 0);
    pci.interrupts[0] = eventfd(0, EFD_NONBLOCK);
    ck_assert_ptr_nonnull(controller_run(&controller, "silent", 1));
    look_at(0);
    device.silent = true;
}

START_TEST(an_error_while_nothing_is_under_way_is_reset) {
    start_looking();
    device.stopped = true;
    look_at(2);
    ck_assert_uint_eq(device.resets, 1);
    look_at(4);
    ck_assert_uint_eq(device.resets, 1);
}
END_TEST

START_TEST(a_command_without_an_answer_is_tried_again_after_a_reset) {
    struct user user;

    start_looking();
    submit(&user, BLOCK_WRITE, 0, mapped, 512);
    look_at(30);
    ck_assert_uint_eq(device.resets, 0);
    look_at(32);
    ck_assert_uint_eq(device.resets, 1);
    ck_assert_uint_eq(device.started, 2);
    ck_assert_uint_eq(user.over, 0);
    device.silent = false;
    look_at(33);
    ck_assert_uint_eq(user.over, 1);
    ck_assert_int_eq(user.error, 0);
}
END_TEST

START_TEST(a_disk_that_never_answers_fails_its_requests) {
    struct user users[3];

    start_looking();
    for (unsigned i = 0; i < 3; i++)
        submit(&users[i], BLOCK_WRITE, i * 512, mapped, 512);
    // All at once first, then each alone twice, as it may not be the one to blame.
    for (unsigned resets = 1; resets <= 7; resets++) {
        ck_assert_uint_eq(users[2].over, 0);
        look_at(resets * 32);
        ck_assert_uint_eq(device.resets, resets);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(users[i].over, 1);
        ck_assert_int_eq(users[i].error, -EIO);
    }
    ck_assert_uint_eq(controller.queues[0]->occupied, 0);
}
END_TEST

START_TEST(registers_are_not_waited_for_for_ever) {
    volatile uint32_t status = 0x80;

    time_now = 0;
    time_step = SECOND;
    ck_assert(controller_wait(&status, 0xc0, 0x80, 0));
    ck_assert_uint_eq(time_now, SECOND);
    ck_assert(!controller_wait(&status, 0x80, 0, 3000));
    ck_assert_uint_ge(time_now, 4 * SECOND);
}
END_TEST

START_TEST(slots_that_are_free_are_not_named) {
    ck_assert_ptr_null(disk_command_started(controller.queues[0], 0));
    ck_assert_ptr_null(disk_command_started(controller.queues[0], 4));
    ck_assert_ptr_null(disk_command_started(controller.queues[0], 65535));
}
END_TEST

Suite *disk_controller_suite(void) {
    Suite *suite = suite_create("disk_controller");
    TCase *tests = tcase_create("requests");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, long_requests_are_several_commands);
    tcase_add_test(tests, other_memory_is_copied);
    tcase_add_test(tests, pieces_join_at_page_borders_or_are_copied);
    tcase_add_test(tests, zeros_are_written_where_there_is_no_command_for_them);
    tcase_add_test(tests, a_flush_goes_alone);
    tcase_add_test(tests, only_the_command_that_stops_the_device_fails);
    tcase_add_test(tests, a_long_request_that_fails_ends_once);
    tcase_add_test(tests, commands_are_tried_again);
    tcase_add_test(tests, a_dead_controller_fails_everything);
    tcase_add_test(tests, an_error_while_nothing_is_under_way_is_reset);
    tcase_add_test(tests, a_command_without_an_answer_is_tried_again_after_a_reset);
    tcase_add_test(tests, a_disk_that_never_answers_fails_its_requests);
    tcase_add_test(tests, registers_are_not_waited_for_for_ever);
    tcase_add_test(tests, slots_that_are_free_are_not_named);
    suite_add_tcase(suite, tests);
    return suite;
}
