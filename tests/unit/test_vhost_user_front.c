// SPDX-License-Identifier: BSD-2-Clause
// vmm's vhost-user front end before a back end that nobody here wrote, qemu-storage-daemon: data is
// compared byte for byte, and a log below the daemon says which flushes reached the bottom. Then
// before one that keeps silent. The test stands in for the guest's driver and for vmm's virtio
// devices.
// Sources: guest-tools/vmm/vhost_user.c guest-tools/vmm/vhost_user_back_end.c
// Sources: drivers/vhost_user/message.c drivers/virtio/virtqueue.c
#define _GNU_SOURCE // memfd_create
#include <check.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "guest-tools/vmm/error.h"
#include "guest-tools/vmm/vhost_user.h"
#include "guest-tools/vmm/vhost_user_back_end.h"
#include "guest-tools/vmm/virtio.h"
#include "guest-tools/vmm/vm.h"

Suite *vhost_user_front_suite(void);

#define MEMORY_SIZE (1u << 20)
#define DRIVER      0x4000u
#define DEVICE      0x8000u
#define HEADER      0xa000u
#define DATA        0x10000u
#define CHUNK       (64u << 10)
#define ROUNDS      8u
#define DISK_SIZE   (ROUNDS * CHUNK)

extern char **environ;

static struct vm vm;
static struct virtio_device *device;
static int call_fd;
static uint16_t next;
static char directory[64], path[128];

// In vmm's place
// ------------------------------------------------------------------------------------

void virtio_attach(struct virtio_device *attached) {
    device = attached;
}

void virtio_detach(struct virtio_device *attached) {
    attached->class->stop(attached);
}

int virtio_call_fd(const struct virtio_device *called, unsigned queue) {
    (void)called;
    (void)queue;
    return call_fd;
}

void virtio_needs_reset(struct virtio_device *broken) {
    (void)broken;
    ck_abort_msg("the device asks for a reset");
}

void fatal(const char *format, ...) {
    (void)format;
    ck_abort_msg("%s", format);
    abort();
}

void fatal_errno(const char *format, ...) {
    ck_abort_msg("%s", format);
    abort();
}

void warning(const char *format, ...) {
    (void)format;
}

// In the guest's place
// --------------------------------------------------------------------------------

static uint8_t request(uint32_t type, uint64_t sector, uint8_t *data, uint32_t length) {
    uint8_t *ram = vm.memory.host;
    struct vring_desc *table = (struct vring_desc *)ram;
    uint16_t *available = (uint16_t *)(ram + DRIVER);
    const uint16_t *used = (const uint16_t *)(ram + DEVICE);
    const uint64_t one = 1;
    struct virtio_blk_outhdr header = {.type = type, .sector = sector};

    memcpy(ram + HEADER, &header, sizeof(header));
    ram[HEADER + 16] = 0xff;
    if (type == VIRTIO_BLK_T_OUT)
        memcpy(ram + DATA, data, length);
    table[0] = (struct vring_desc){HEADER, 16, VRING_DESC_F_NEXT, length ? 1 : 2};
    table[1] = (struct vring_desc){
        DATA, length, VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0), 2};
    table[2] = (struct vring_desc){HEADER + 16, 1, VRING_DESC_F_WRITE, 0};
    available[2 + next % 256] = 0;
    next++;
    // No event index was taken: kicks and interrupts come for each.
    __atomic_store_n(&available[1], next, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(write(device->queues[0].kick_fd, &one, sizeof(one)), sizeof(one));
    for (int ms = 0; __atomic_load_n(&used[1], __ATOMIC_ACQUIRE) != next && ms < 60000; ms++)
        usleep(1000);
    ck_assert_uint_eq(used[1], next);
    if (type == VIRTIO_BLK_T_IN)
        memcpy(data, ram + DATA, length);
    return ram[HEADER + 16];
}

// The daemon
// ------------------------------------------------------------------------------------------

static pid_t start_daemon(void) {
    static char export[] = "type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,"
                           "addr.path=socket,writable=on";
    char *const arguments[] = {"qemu-storage-daemon",
                               "--blockdev",
                               "driver=file,node-name=file,filename=disk.img",
                               "--blockdev",
                               "driver=file,node-name=log,filename=log",
                               "--blockdev",
                               "driver=blklogwrites,node-name=disk,file=file,log=log",
                               "--export",
                               export,
                               NULL};
    pid_t pid;

    snprintf(directory, sizeof(directory), "/tmp/front.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(system("truncate -s 512k disk.img; truncate -s 0 log"), 0);
    ck_assert_int_eq(posix_spawnp(&pid, arguments[0], NULL, NULL, arguments, environ), 0);
    snprintf(path, sizeof(path), "%s/socket", directory);
    return pid;
}

// Entries of dm-log-writes: a sector each, with the data of writes behind.
static unsigned count_flushes(void) {
    FILE *log = fopen("log", "r");
    struct {
        uint64_t magic, version, entries;
        uint32_t sector_size;
    } super;
    struct {
        uint64_t sector, sectors, flags, data;
    } entry;
    unsigned flushes = 0;

    ck_assert_ptr_nonnull(log);
    ck_assert_uint_eq(fread(&super, sizeof(super), 1, log), 1);
    uint64_t at = super.sector_size;
    for (uint64_t i = 0; i < super.entries; i++) {
        ck_assert_int_eq(fseek(log, (long)at, SEEK_SET), 0);
        ck_assert_uint_eq(fread(&entry, sizeof(entry), 1, log), 1);
        flushes += entry.flags & 1;
        at += super.sector_size;
        if (!(entry.flags & 4)) // a discard has no data
            at += entry.sectors * super.sector_size;
    }
    fclose(log);
    return flushes;
}

static void make_memory(void) {
    vm.memory.fd = memfd_create("guest", 0);
    ck_assert_int_eq(ftruncate(vm.memory.fd, MEMORY_SIZE), 0);
    vm.memory.size = MEMORY_SIZE;
    vm.memory.host = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm.memory.fd, 0);
    ck_assert_ptr_ne(vm.memory.host, MAP_FAILED);
    vm.memory_map =
        (struct guest_memory_map){.regions = {{0, MEMORY_SIZE, vm.memory.host}}, .count = 1};
    call_fd = eventfd(0, EFD_NONBLOCK);
}

static void start_device(void) {
    const struct disk_options options = {.socket = path, .queues = 1};

    make_memory();
    ck_assert_ptr_nonnull(vhost_user_block_create(&vm, &options));
    device->driver_features =
        device->features & ~(1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC);
    device->queues[0] = (struct virtio_queue){.addresses = {0, DRIVER, DEVICE},
                                              .size = 256,
                                              .enabled = true,
                                              .kick_fd = eventfd(0, EFD_NONBLOCK)};
    ck_assert_int_eq(device->class->start(device), 0);
}

START_TEST(test_storage_daemon) {
    static uint8_t written[DISK_SIZE], found[DISK_SIZE];
    struct virtio_blk_config config = {0};
    pid_t daemon = start_daemon();

    start_device();
    // It begins in write-through mode and loses the flushes then.
    ck_assert(!(device->features >> VIRTIO_BLK_F_CONFIG_WCE & 1));
    device->class->read_config(device, 0, &config, device->class->config_size);
    ck_assert_uint_eq(config.capacity, DISK_SIZE / 512);
    srandom(3);
    for (size_t i = 0; i < DISK_SIZE; i++)
        written[i] = (uint8_t)random();
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t sector = i * (CHUNK / 512);

        ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, sector, written + i * CHUNK, CHUNK), 0);
        ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, NULL, 0), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++)
        ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, i * (CHUNK / 512), found + i * CHUNK, CHUNK), 0);
    ck_assert(memcmp(written, found, DISK_SIZE) == 0);
    device->class->destroy(device);
    kill(daemon, SIGTERM);
    ck_assert_int_eq(waitpid(daemon, NULL, 0), daemon);
    FILE *image = fopen("disk.img", "r");
    ck_assert_uint_eq(fread(found, 1, DISK_SIZE, image), DISK_SIZE);
    fclose(image);
    ck_assert(memcmp(written, found, DISK_SIZE) == 0);
    ck_assert_uint_ge(count_flushes(), ROUNDS);
    ck_assert_int_eq(system("rm disk.img log; rm -f socket"), 0);
    rmdir(directory);
}
END_TEST

// A back end that keeps silent
// ------------------------------------------------------------------------

#define SERVED UINT32_MAX

static int unasked = -1; // a file that comes with answers
static sem_t kicked;     // a ring's kick arrived
static int listener;
static pthread_t silent_thread;
static unsigned linger_us; // that a back end takes to go
static bool haste;         // somebody asked for a successor before it had gone
static unsigned hung_up;   // connections that the front end ended

// Answers what comes over a connection, up to a request of that kind.
static void answer_until(int connection, uint32_t silent) {
    struct vhost_user_message message;

    while (vhost_user_receive(connection, &message) == 1) {
        uint32_t flags = message.flags, request = message.request;

        if (request == silent)
            continue;
        vhost_user_close_fds(&message);
        message.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
        if (flags & VHOST_USER_NEED_REPLY)
            message.value = 0;
        else if (request == VHOST_USER_GET_FEATURES)
            message.value = 1ull << VHOST_USER_F_PROTOCOL_FEATURES | 1ull << VIRTIO_F_VERSION_1;
        else if (request == VHOST_USER_GET_PROTOCOL_FEATURES)
            message.value = 1u << VHOST_USER_PROTOCOL_F_CONFIG |
                            1u << VHOST_USER_PROTOCOL_F_REPLY_ACK | 1u << VHOST_USER_PROTOCOL_F_MQ;
        else if (request == VHOST_USER_GET_QUEUE_NUM)
            message.value = 16;
        if (request == VHOST_USER_GET_FEATURES || request == VHOST_USER_GET_PROTOCOL_FEATURES ||
            request == VHOST_USER_GET_QUEUE_NUM || flags & VHOST_USER_NEED_REPLY)
            message.size = sizeof(message.value);
        else if (request != VHOST_USER_GET_CONFIG && request != VHOST_USER_GET_VRING_BASE)
            continue; // no answer is wanted
        message.fds[0] = unasked;
        message.fd_count = 1;
        vhost_user_send(connection, &message);
        if (request == VHOST_USER_SET_VRING_KICK)
            sem_post(&kicked);
    }
    struct pollfd successor = {.fd = listener, .events = POLLIN};
    usleep(linger_us);
    haste |= poll(&successor, 1, 0) != 0;
    __atomic_add_fetch(&hung_up, 1, __ATOMIC_SEQ_CST);
    close(connection);
}

// silent: what each connection's back end does not answer; the last one is SERVED.
static void *silent_back_end(void *silent) {
    for (const uint32_t *request = silent;; request += *request != SERVED) {
        int connection = accept(listener, NULL, NULL);

        ck_assert_int_ge(connection, 0);
        answer_until(connection, *request);
    }
    return NULL;
}

static void start_silent(uint32_t *silent) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(path, sizeof(path), "/tmp/silent.%d", (int)getpid());
    unlink(path); // of a test that was killed
    memcpy(address.sun_path, path, strlen(path));
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(listener, 4), 0);
    sem_init(&kicked, 0, 0);
    unasked = memfd_create("unasked", 0);
    pthread_create(&silent_thread, NULL, silent_back_end, silent);
    back_end_patience = (struct timeval){.tv_usec = 300000};
}

static unsigned count_files(const char *name) {
    unsigned count = 0;
    char link[64], target[64];

    for (int fd = 0; fd < 256; fd++) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        count += strstr(target, name) != NULL;
    }
    return count;
}

START_TEST(test_silent_back_end) {
    static uint32_t silent[] = {VHOST_USER_SET_MEM_TABLE, VHOST_USER_GET_FEATURES, SERVED};

    start_silent(silent);
    // The driver's start does not fail with the back end, nor with the one after it.
    start_device();
    ck_assert_int_eq(sem_wait(&kicked), 0);
    ck_assert_uint_ge(__atomic_load_n(&hung_up, __ATOMIC_SEQ_CST), 2);
    device->class->destroy(device);
    ck_assert_uint_eq(count_files("unasked"), 1); // what comes unasked is not kept
    unlink(path);
}
END_TEST

// One whose requests take longer than it may be silent: the guest's memory is not the guest's alone
// before it has gone, nor are the rings its successor's.
START_TEST(test_slow_back_end) {
    static uint32_t silent[] = {VHOST_USER_GET_VRING_BASE, SERVED};

    linger_us = 1500000;
    start_silent(silent);
    back_end_patience = (struct timeval){.tv_sec = 1}; // enough for the answers before
    start_device();
    ck_assert_int_eq(sem_wait(&kicked), 0);
    device->class->stop(device);
    ck_assert_uint_eq(__atomic_load_n(&hung_up, __ATOMIC_SEQ_CST), 1);
    ck_assert(!haste);
    ck_assert_int_eq(device->class->start(device), 0);
    ck_assert_int_eq(sem_wait(&kicked), 0);
    device->class->destroy(device);
    unlink(path);
}
END_TEST

// The driver asks for two pairs of queues. Returns what the control queue answers.
static uint8_t ask_for_pairs(unsigned queue) {
    uint8_t *ram = vm.memory.host;
    struct vring_desc *table = (struct vring_desc *)ram;
    uint16_t *available = (uint16_t *)(ram + DRIVER);
    const uint16_t *used = (const uint16_t *)(ram + DEVICE);
    const uint64_t one = 1;

    memset(ram, 0, DATA);
    memcpy(ram + HEADER, (uint8_t[]){VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0}, 4);
    ram[HEADER + 16] = 0xff;
    table[0] = (struct vring_desc){HEADER, 4, VRING_DESC_F_NEXT, 1};
    table[1] = (struct vring_desc){HEADER + 16, 1, VRING_DESC_F_WRITE, 0};
    ck_assert_int_eq(device->class->start(device), 0);
    usleep(50000); // the ring is looked at, and its kicks are waited for
    __atomic_store_n(&available[1], 1, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(write(device->queues[queue].kick_fd, &one, sizeof(one)), sizeof(one));
    for (int ms = 0; __atomic_load_n(&used[1], __ATOMIC_ACQUIRE) != 1 && ms < 3000; ms++)
        usleep(1000);
    ck_assert_uint_eq(used[1], 1);
    device->class->stop(device);
    return ram[HEADER + 16];
}

// Which queue is the control queue is another driver's choice after a reset.
START_TEST(test_control_queue) {
    static uint32_t none[] = {SERVED};
    const struct net_options options = {.socket = path, .queues = 4};

    start_silent(none);
    make_memory();
    ck_assert_ptr_nonnull(vhost_user_net_create(&vm, &options));
    for (unsigned i = 0; i < device->queue_count; i++)
        device->queues[i] = (struct virtio_queue){
            .addresses = {0, DRIVER, DEVICE}, .size = 256, .kick_fd = eventfd(0, EFD_NONBLOCK)};
    for (unsigned i = 0; i < 4; i++) {
        unsigned queue = i % 2 ? 4 : 2;

        device->driver_features = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_CTRL_VQ |
                                  (queue == 4 ? 1ull << VIRTIO_NET_F_MQ : 0);
        device->queues[queue].enabled = true;
        ck_assert_uint_eq(ask_for_pairs(queue), queue == 4 ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
        device->queues[queue].enabled = false;
    }
    device->class->destroy(device);
    unlink(path);
}
END_TEST

// Nor does it wait for ever where nobody accepts.
START_TEST(test_nobody_accepts) {
    struct back_end others[2] = {{.path = path}, {.path = path}};
    static uint32_t none[] = {SERVED};

    start_silent(none);
    pthread_cancel(silent_thread);
    pthread_join(silent_thread, NULL);
    ck_assert_int_eq(listen(listener, 0), 0);
    ck_assert(back_end_connect(&others[0], false));
    ck_assert(!back_end_connect(&others[1], false));
    unlink(path);
}
END_TEST

Suite *vhost_user_front_suite(void) {
    Suite *suite = suite_create("vhost_user_front");
    TCase *tests = tcase_create("vhost_user_front");

    tcase_add_test(tests, test_storage_daemon);
    tcase_add_test(tests, test_silent_back_end);
    tcase_add_test(tests, test_slow_back_end);
    tcase_add_test(tests, test_nobody_accepts);
    tcase_add_test(tests, test_control_queue);
    suite_add_tcase(suite, tests);
    return suite;
}
