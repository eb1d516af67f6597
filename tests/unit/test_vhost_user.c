// SPDX-License-Identifier: BSD-2-Clause
// The disk's vhost-user server with a front end that may be wrong, unfair or gone, above a disk
// that ends requests when it is told to.
// Sources: drivers/block/virtio_block.c drivers/vhost_user/inflight.c drivers/vhost_user/session.c
// Sources: drivers/vhost_user/inflight_packed.c drivers/vhost_user/record.c
// Sources: drivers/vhost_user/answers.c drivers/vhost_user/rings.c
// Sources: drivers/vhost_user/session_memory.c
// drivers/virtio/virtqueue.c
#define _GNU_SOURCE // memfd_create
#include <check.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "drivers/vhost_user/block_server.h"
#include "drivers/vhost_user/message.h"
#include "drivers/vhost_user/shared_mapping.h"

Suite *vhost_user_suite(void);

#define SIZE        1024u
#define MEMORY_SIZE (1u << 20)
#define QUEUE_ROOM  0x10000u // where queue i's three areas lie
#define DRIVER      0x4000u
#define DEVICE      0x8000u
#define HEADERS     0x40000u
#define DATA        0x80000u
#define USER        0x7f0000000000ull // the front end's addresses, as it says
#define SECTORS     64u
#define PROTOCOL    (1ull << VHOST_USER_F_PROTOCOL_FEATURES)
#define FEATURES    (PROTOCOL | 1ull << VIRTIO_F_VERSION_1)

// The disk ----------------------------------------------------------------------------------------

static struct {
    struct block_device device;
    pthread_mutex_t lock;
    struct block_request *held; // the last one first
    unsigned submitted;
    bool holds;
    void (*on_submit)(void);
    uint8_t bytes[SECTORS * BLOCK_SECTOR_SIZE];
} disk;

static void end(struct block_request *request) {
    uint8_t *at = disk.bytes + request->offset;

    for (unsigned i = 0; i < request->count; i++) {
        if (request->operation == BLOCK_WRITE)
            memcpy(at, request->data[i].iov_base, request->data[i].iov_len);
        else if (request->operation == BLOCK_READ)
            memcpy(request->data[i].iov_base, at, request->data[i].iov_len);
        at += request->data[i].iov_len;
    }
    request->done(request, 0);
}

static void submit(struct block_device *device, struct block_request *request) {
    (void)device;
    pthread_mutex_lock(&disk.lock);
    disk.submitted++;
    if (disk.holds) {
        request->next = disk.held;
        disk.held = request;
    }
    bool held = disk.holds;
    pthread_mutex_unlock(&disk.lock);
    if (disk.on_submit)
        disk.on_submit();
    if (!held)
        end(request);
}

static void release(bool hold_more) {
    pthread_mutex_lock(&disk.lock);
    struct block_request *list = disk.held;
    disk.held = NULL;
    disk.holds = hold_more;
    pthread_mutex_unlock(&disk.lock);
    while (list) {
        struct block_request *request = list;

        list = request->next;
        end(request);
    }
}

// Waits until a number that another thread changes is what it should become.
#define AWAIT(expression)                                                                          \
    do {                                                                                           \
        unsigned ms = 0;                                                                           \
        while (!(expression) && ms++ < 60000)                                                      \
            usleep(1000);                                                                          \
        ck_assert_msg(expression, "%s does not come", #expression);                                \
    } while (0)

static unsigned submitted(void) {
    return __atomic_load_n(&disk.submitted, __ATOMIC_SEQ_CST);
}

// The front end -----------------------------------------------------------------------------------

static int memory_fd, front, kicks[2], calls[2], errors[2];
static uint8_t *ram;
static pthread_t server;

static void *serve(void *socket) {
    block_server_run(&disk.device, 2, (int)(intptr_t)socket);
    return NULL;
}

static void connect_front(void) {
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    front = pair[0];
    pthread_create(&server, NULL, serve, (void *)(intptr_t)pair[1]);
}

static void disconnect_front(void) {
    close(front);
    pthread_join(server, NULL);
}

// Sends a request that needs no answer; the one to GET_FEATURES comes when it is over.
static void tell(struct vhost_user_message message) {
    struct vhost_user_message question = {.request = VHOST_USER_GET_FEATURES,
                                          .flags = VHOST_USER_VERSION};

    message.flags = VHOST_USER_VERSION;
    ck_assert_int_eq(vhost_user_send(front, &message), 0);
    ck_assert_int_eq(vhost_user_send(front, &question), 0);
    ck_assert_int_eq(vhost_user_receive(front, &question), 1);
    ck_assert_uint_eq(question.request, VHOST_USER_GET_FEATURES);
}

static void tell_value(uint32_t request, uint64_t value, int fd) {
    tell((struct vhost_user_message){
        .request = request, .size = 8, .value = value, .fds = {fd}, .fd_count = fd >= 0});
}

static void tell_ring(uint32_t request, uint32_t index, uint32_t value) {
    tell((struct vhost_user_message){
        .request = request, .size = 8, .state = {.index = index, .value = value}});
}

static void share_memory(uint64_t user) {
    tell((struct vhost_user_message){
        .request = VHOST_USER_SET_MEM_TABLE,
        .size = 8 + sizeof(struct vhost_user_region),
        .table = {.count = 1, .regions = {{.size = MEMORY_SIZE, .user_address = user}}},
        .fds = {memory_fd},
        .fd_count = 1});
}

static void start_ring(unsigned index, unsigned base) {
    uint64_t at = USER + index * QUEUE_ROOM;

    tell_ring(VHOST_USER_SET_VRING_NUM, index, SIZE);
    tell_ring(VHOST_USER_SET_VRING_BASE, index, base);
    tell((struct vhost_user_message){
        .request = VHOST_USER_SET_VRING_ADDR,
        .size = 40,
        .address = {
            .index = index, .descriptors = at, .available = at + DRIVER, .used = at + DEVICE}});
    tell_value(VHOST_USER_SET_VRING_CALL, index, calls[index]);
    tell_value(VHOST_USER_SET_VRING_ERR, index, errors[index]);
    tell_value(VHOST_USER_SET_VRING_KICK, index, kicks[index]);
    tell_ring(VHOST_USER_SET_VRING_ENABLE, index, 1);
}

static void start(void) {
    shared_mapping_init();
    memset(&disk, 0, sizeof(disk));
    pthread_mutex_init(&disk.lock, NULL);
    disk.device = (struct block_device){
        .sectors = SECTORS, .logical_block = 512, .physical_block = 4096, .submit = submit};
    memory_fd = memfd_create("guest", 0);
    ck_assert_int_eq(ftruncate(memory_fd, MEMORY_SIZE), 0);
    ram = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    ck_assert_ptr_ne(ram, MAP_FAILED);
    for (unsigned i = 0; i < 2; i++) {
        kicks[i] = eventfd(0, EFD_NONBLOCK);
        calls[i] = eventfd(0, EFD_NONBLOCK);
        errors[i] = eventfd(0, EFD_NONBLOCK);
    }
    connect_front();
    tell_value(VHOST_USER_SET_FEATURES, FEATURES, -1);
    share_memory(USER);
    start_ring(0, 0);
    start_ring(1, 0);
}

static uint16_t *available(unsigned queue) {
    return (uint16_t *)(ram + queue * QUEUE_ROOM + DRIVER);
}

static uint16_t used(unsigned queue) {
    return __atomic_load_n((uint16_t *)(ram + queue * QUEUE_ROOM + DEVICE + 2), __ATOMIC_ACQUIRE);
}

static void describe(unsigned queue, unsigned index, uint64_t address, uint32_t length,
                     unsigned flags) {
    ((struct vring_desc *)(ram + queue * QUEUE_ROOM))[index] =
        (struct vring_desc){.addr = address,
                            .len = length,
                            .flags = (uint16_t)flags,
                            .next = (uint16_t)((index + 1) % SIZE)};
}

// A request for a sector, in descriptors 3 * number and following. Its status is 0xff until it is
// over, its data at DATA + number * 512.
static void add(unsigned queue, unsigned number, uint32_t type, uint64_t sector) {
    uint32_t header = HEADERS + number * 32, data = DATA + number % 512 * 512;
    struct virtio_blk_outhdr fields = {.type = type, .sector = sector};

    memcpy(ram + header, &fields, sizeof(fields));
    ram[header + 16] = 0xff;
    describe(queue, 3 * number, header, sizeof(fields), VRING_DESC_F_NEXT);
    describe(queue, 3 * number + 1, data, 512,
             VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0));
    describe(queue, 3 * number + 2, header + 16, 1, VRING_DESC_F_WRITE);
    uint16_t *ring = available(queue);
    ring[2 + ring[1] % SIZE] = (uint16_t)(3 * number);
    __atomic_store_n(&ring[1], (uint16_t)(ring[1] + 1), __ATOMIC_RELEASE);
}

static void kick(unsigned queue) {
    const uint64_t one = 1;

    ck_assert_int_eq(write(kicks[queue], &one, sizeof(one)), sizeof(one));
}

static uint8_t status(unsigned number) {
    return __atomic_load_n(&ram[HEADERS + number * 32 + 16], __ATOMIC_ACQUIRE);
}

// A write and a read that find each other: the ring is served.
static void check_served(unsigned queue, unsigned number) {
    uint16_t before = used(queue);

    memset(ram + DATA + number * 512, (int)number + 1, 512);
    add(queue, number, VIRTIO_BLK_T_OUT, number);
    kick(queue);
    AWAIT(used(queue) == (uint16_t)(before + 1));
    memset(ram + DATA + number * 512, 0, 512);
    add(queue, number, VIRTIO_BLK_T_IN, number);
    kick(queue);
    AWAIT(used(queue) == (uint16_t)(before + 2));
    ck_assert_uint_eq(status(number), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(ram[DATA + number * 512 + 511], number + 1);
}

// Tests -------------------------------------------------------------------------------------------

START_TEST(test_requests) {
    start();
    check_served(0, 1);
    check_served(1, 2);
    ck_assert_uint_eq(disk.device.counters[BLOCK_WRITE].requests, 2);
    ck_assert_uint_eq(disk.device.counters[BLOCK_READ].bytes, 1024);
    add(0, 3, VIRTIO_BLK_T_IN, SECTORS);
    kick(0);
    AWAIT(used(0) == 3);
    ck_assert_uint_eq(status(3), VIRTIO_BLK_S_IOERR);
    disconnect_front();
}
END_TEST

static void check_config(uint32_t block, unsigned exponent) {
    struct vhost_user_message message = {.request = VHOST_USER_GET_CONFIG,
                                         .size = 12 + sizeof(struct virtio_blk_config),
                                         .config = {.size = sizeof(struct virtio_blk_config)}};
    struct virtio_blk_config config;

    message.flags = VHOST_USER_VERSION;
    ck_assert_int_eq(vhost_user_send(front, &message), 0);
    ck_assert_int_eq(vhost_user_receive(front, &message), 1);
    memcpy(&config, message.config.bytes, sizeof(config));
    ck_assert_uint_eq(config.blk_size, block);
    ck_assert_uint_eq(config.physical_block_exp, exponent);
    ck_assert_uint_eq(config.discard_sector_alignment, block / 512);
}

START_TEST(test_blocks_of_4_kib) {
    start();
    check_config(512, 3);
    disk.device.logical_block = 4096;
    check_config(4096, 0);
    // Too short; where a block begins; between two.
    for (unsigned i = 0; i < 3; i++) {
        add(0, i, i ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i < 2 ? 8 : 9);
        if (i)
            describe(0, 3 * i + 1, DATA, 4096, VRING_DESC_F_NEXT);
        kick(0);
        AWAIT(used(0) == i + 1);
        ck_assert_uint_eq(status(i), i == 1 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
    }
    ck_assert_uint_eq(submitted(), 1);
    disconnect_front();
}
END_TEST

START_TEST(test_memory_goes_away) {
    start();
    check_served(0, 1);
    ck_assert_int_eq(ftruncate(memory_fd, 0), 0);
    kick(0);
    pthread_join(server, NULL); // this session ends, and only it
    close(front);
    ck_assert_int_eq(ftruncate(memory_fd, MEMORY_SIZE), 0);
    connect_front();
    tell_value(VHOST_USER_SET_FEATURES, FEATURES, -1);
    share_memory(USER);
    start_ring(0, 0);
    check_served(0, 1);
    disconnect_front();
}
END_TEST

START_TEST(test_new_memory_table) {
    struct vhost_user_message region = {.request = VHOST_USER_ADD_MEM_REG,
                                        .size = 40,
                                        .single = {.region = {.guest_address = 0x10000000,
                                                              .size = MEMORY_SIZE,
                                                              .user_address = USER * 2}},
                                        .fd_count = 1};

    start();
    region.fds[0] = memory_fd;
    check_served(0, 1);
    tell(region);
    check_served(0, 1); // without another word about the ring
    share_memory(USER);
    check_served(0, 1);
    tell(region);
    region.request = VHOST_USER_REM_MEM_REG;
    region.fd_count = 0;
    tell(region);
    check_served(0, 1);
    check_served(1, 2);
    disconnect_front();
}
END_TEST

// A kick that nobody read goes with the descriptor it came by.
START_TEST(test_new_kick) {
    start();
    check_served(0, 1);
    add(0, 2, VIRTIO_BLK_T_IN, 2);
    tell_value(VHOST_USER_SET_VRING_KICK, 0, eventfd(0, EFD_NONBLOCK));
    AWAIT(used(0) == 3);
    disconnect_front();
}
END_TEST

static void add_another(void) {
    add(0, 1, VIRTIO_BLK_T_IN, 1);
}

START_TEST(test_endless_queue) {
    start();
    disk.on_submit = add_another; // there is always one more
    add(0, 1, VIRTIO_BLK_T_IN, 1);
    kick(0);
    AWAIT(submitted() > 1000);
    tell_ring(VHOST_USER_SET_VRING_ENABLE, 0, 1); // is answered all the same
    check_served(1, 2);                           // and so is the other queue
    disk.on_submit = NULL;
    disconnect_front();
}
END_TEST

START_TEST(test_more_than_fit) {
    start();
    disk.holds = true;
    for (unsigned i = 0; i < 300; i++) {
        add(0, i, VIRTIO_BLK_T_IN, 0);
        add(1, i, VIRTIO_BLK_T_IN, 0);
    }
    kick(0);
    kick(1);
    AWAIT(submitted() == 512);
    tell_ring(VHOST_USER_SET_VRING_ENABLE, 0, 1);
    ck_assert_uint_eq(submitted(), 512); // the others wait, and are not lost
    release(false);
    AWAIT(used(0) == 300 && used(1) == 300);
    disconnect_front();
}
END_TEST

START_TEST(test_malformed) {
    start();
    struct pollfd error = {.fd = errors[0], .events = POLLIN};
    describe(0, 0, MEMORY_SIZE - 1, 16, 0); // beyond the memory
    available(0)[2] = 0;
    __atomic_store_n(&available(0)[1], 1, __ATOMIC_RELEASE);
    kick(0);
    ck_assert_int_eq(poll(&error, 1, 60000), 1);
    check_served(1, 2);
    disconnect_front();
}
END_TEST

// What a death leaves behind: the guest's memory and the record, as they are at that moment.
static struct vhost_user_message inflight;
static uint8_t *record, *guest_then, *record_then;

static void share_record(void) {
    inflight = (struct vhost_user_message){.request = VHOST_USER_GET_INFLIGHT_FD,
                                           .flags = VHOST_USER_VERSION,
                                           .size = 20,
                                           .inflight = {.queues = 2, .queue_size = SIZE}};
    ck_assert_int_eq(vhost_user_send(front, &inflight), 0);
    ck_assert_int_eq(vhost_user_receive(front, &inflight), 1);
    record = mmap(NULL, inflight.inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                  inflight.fds[0], 0);
    ck_assert_ptr_ne(record, MAP_FAILED);
    inflight.request = VHOST_USER_SET_INFLIGHT_FD;
    tell(inflight);
    guest_then = malloc(MEMORY_SIZE);
    record_then = malloc(inflight.inflight.mmap_size);
}

static void note_death(void) {
    memcpy(guest_then, ram, MEMORY_SIZE);
    memcpy(record_then, record, inflight.inflight.mmap_size);
}

// The session ends in peace, but nothing of that is left when the next one begins.
static void die(uint64_t features) {
    release(false);
    disconnect_front();
    memset(disk.bytes, 0, sizeof(disk.bytes));
    memcpy(ram, guest_then, MEMORY_SIZE);
    memcpy(record, record_then, inflight.inflight.mmap_size);
    connect_front();
    tell_value(VHOST_USER_SET_FEATURES, features, -1);
    share_memory(USER);
    tell(inflight);
    free(guest_then);
    free(record_then);
}

START_TEST(test_replay) {
    start();
    share_record();
    tell_ring(VHOST_USER_SET_VRING_ENABLE, 0, 1);
    start_ring(0, 0); // the record is of rings that begin after it
    check_served(0, 1);
    disk.holds = true;
    unsigned before = submitted();
    for (unsigned i = 10; i < 14; i++) {
        memset(ram + DATA + i * 512, (int)i, 512);
        add(0, i, VIRTIO_BLK_T_OUT, i);
    }
    kick(0);
    AWAIT(submitted() == before + 4);
    note_death();
    die(FEATURES);
    before = submitted();
    start_ring(0, used(0));
    AWAIT(used(0) == 6);
    ck_assert_uint_eq(submitted(), before + 4);
    for (unsigned i = 10; i < 14; i++)
        ck_assert_uint_eq(disk.bytes[i * 512], i);
    check_served(0, 1); // and nothing twice
    disconnect_front();
}
END_TEST

// The driver's side of a packed ring: three descriptors a request.
static uint16_t packed_next;
static bool packed_wrap;

static void add_packed(unsigned number) {
    struct vring_packed_desc *ring = (struct vring_packed_desc *)ram;
    uint32_t header = HEADERS + number * 32;
    const uint32_t at[] = {header, DATA + number * 512, header + 16}, length[] = {16, 512, 1};
    struct virtio_blk_outhdr fields = {.type = VIRTIO_BLK_T_OUT, .sector = number};
    struct vring_packed_desc *first = &ring[packed_next];
    uint16_t first_flags = 0;

    memcpy(ram + header, &fields, sizeof(fields));
    ram[header + 16] = 0xff;
    memset(ram + DATA + number * 512, (int)number, 512);
    for (unsigned i = 0; i < 3; i++) {
        uint16_t flags = (uint16_t)((packed_wrap ? 1u << VRING_PACKED_DESC_F_AVAIL
                                                 : 1u << VRING_PACKED_DESC_F_USED) |
                                    (i < 2 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE));

        ring[packed_next].addr = at[i];
        ring[packed_next].len = length[i];
        ring[packed_next].id = (uint16_t)number;
        if (i)
            ring[packed_next].flags = flags;
        else
            first_flags = flags;
        packed_next = (uint16_t)((packed_next + 1) % SIZE);
        packed_wrap ^= packed_next == 0;
    }
    __atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
}

// Over again and again, past the ring's end, out of order, and dying at the end of each round.
START_TEST(test_packed_replay) {
    const uint64_t features = FEATURES | 1ull << VIRTIO_F_RING_PACKED;

    start();
    disconnect_front();
    memset(ram, 0, MEMORY_SIZE);
    packed_next = 0;
    packed_wrap = true;
    connect_front();
    tell_value(VHOST_USER_SET_FEATURES, features, -1);
    share_memory(USER);
    share_record();
    start_ring(0, 0x80008000);
    for (unsigned i = 0; i < 340; i++) { // as good as once around
        add_packed(i % 60);
        kick(0);
        AWAIT(status(i % 60) == 0);
    }
    disk.holds = true;
    unsigned before = submitted();
    for (unsigned i = 1; i < 7; i++)
        add_packed(i);
    kick(0);
    AWAIT(submitted() == before + 6);
    note_death();
    die(features);
    before = submitted();
    start_ring(0, 0); // what the front end says does not count
    for (unsigned i = 1; i < 7; i++) {
        AWAIT(status(i) == 0);
        ck_assert_uint_eq(disk.bytes[i * 512], i);
    }
    ck_assert_uint_eq(submitted(), before + 6);
    for (unsigned i = 7; i < 60; i++) {
        add_packed(i);
        kick(0);
        AWAIT(status(i) == 0);
    }
    ck_assert_uint_eq(submitted(), before + 59);
    disconnect_front();
}
END_TEST

Suite *vhost_user_suite(void) {
    Suite *suite = suite_create("vhost_user");
    TCase *tests = tcase_create("vhost_user");

    tcase_add_test(tests, test_requests);
    tcase_add_test(tests, test_blocks_of_4_kib);
    tcase_add_test(tests, test_memory_goes_away);
    tcase_add_test(tests, test_new_memory_table);
    tcase_add_test(tests, test_new_kick);
    tcase_add_test(tests, test_endless_queue);
    tcase_add_test(tests, test_more_than_fit);
    tcase_add_test(tests, test_malformed);
    tcase_add_test(tests, test_replay);
    tcase_add_test(tests, test_packed_replay);
    suite_add_tcase(suite, tests);
    return suite;
}
