// SPDX-License-Identifier: BSD-2-Clause
// The disk's vhost-user server under messages that nobody agreed on, with all kinds of descriptors,
// and rings whose every byte is the front end's.
// Sources: drivers/block/virtio_block.c drivers/vhost_user/session.c drivers/virtio/virtqueue.c
#define _GNU_SOURCE // memfd_create
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "drivers/vhost_user/block_server.h"
#include "drivers/vhost_user/inflight.h"
#include "drivers/vhost_user/message.h"
#include "drivers/vhost_user/shared_mapping.h"

#define MEMORY_SIZE  0x20000u
#define USER         0x10000000ull
#define SECTORS      64u
#define MESSAGES_MAX 64
#define HEADER       0x6000u // of requests
#define RECORD       0x8000u
#define QUEUES       2

static uint8_t bytes[SECTORS * BLOCK_SECTOR_SIZE];
static int memory_fd, short_fd, event_fd;

static void submit(struct block_device *device, struct block_request *request) {
    uint8_t *at = bytes + request->offset;

    (void)device;
    if (request->offset > sizeof(bytes) ||
        (request->operation != BLOCK_FLUSH && request->length > sizeof(bytes) - request->offset))
        abort(); // was to be checked above
    for (unsigned i = 0; i < request->count; i++) {
        if (request->operation == BLOCK_WRITE)
            memcpy(at, request->data[i].iov_base, request->data[i].iov_len);
        else
            memcpy(request->data[i].iov_base, at, request->data[i].iov_len);
        at += request->data[i].iov_len;
    }
    request->done(request, 0);
}

struct input {
    const uint8_t *data;
    size_t left;
};

static void take(struct input *input, void *to, size_t size) {
    size_t got = size < input->left ? size : input->left;

    memset(to, 0, size);
    memcpy(to, input->data, got);
    input->data += got;
    input->left -= got;
}

static bool send_message(int socket, struct vhost_user_message message) {
    // What does not fit into the socket would wait for ever: there is no other thread.
    message.flags |= VHOST_USER_VERSION;
    return vhost_user_send(socket, &message) == 0;
}

static void tell(int socket, uint32_t request, uint64_t value, int fd) {
    send_message(
        socket,
        (struct vhost_user_message){
            .request = request, .size = 8, .value = value, .fds = {fd}, .fd_count = fd >= 0});
}

// What a good front end begins with, so that not every input must find it.
static void begin(int socket, uint64_t features, uint16_t size, bool inflight) {
    tell(socket, VHOST_USER_SET_FEATURES,
         features | 1ull << VHOST_USER_F_PROTOCOL_FEATURES | 1ull << VIRTIO_F_VERSION_1, -1);
    send_message(socket, (struct vhost_user_message){
                             .request = VHOST_USER_SET_MEM_TABLE,
                             .size = 8 + sizeof(struct vhost_user_region),
                             .table = {.count = 1, .regions = {{0, MEMORY_SIZE, USER, 0}}},
                             .fds = {memory_fd},
                             .fd_count = 1});
    if (inflight)
        send_message(socket, (struct vhost_user_message){
                                 .request = VHOST_USER_SET_INFLIGHT_FD,
                                 .size = 20,
                                 .inflight = {.mmap_size = QUEUES * inflight_ring_size(size),
                                              .queues = QUEUES,
                                              .queue_size = size},
                                 .fds = {short_fd},
                                 .fd_count = 1});
    for (uint32_t i = 0; i < QUEUES; i++) {
        uint64_t at = USER + i * 0x4000;

        tell(socket, VHOST_USER_SET_VRING_NUM, i | (uint64_t)size << 32, -1);
        tell(socket, VHOST_USER_SET_VRING_BASE, i, -1);
        send_message(socket, (struct vhost_user_message){
                                 .request = VHOST_USER_SET_VRING_ADDR,
                                 .size = sizeof(struct vhost_user_vring_address),
                                 .address = {i, 0, at, at + 0x2000, at + 0x1000, 0}});
        tell(socket, VHOST_USER_SET_VRING_CALL, i, event_fd);
        tell(socket, VHOST_USER_SET_VRING_KICK, i, event_fd);
        tell(socket, VHOST_USER_SET_VRING_ENABLE, i | 1ull << 32, -1);
    }
}

static bool send_any(int socket, struct input *input) {
    const int fds[] = {memory_fd, short_fd, event_fd, -1};
    struct vhost_user_message message = {0};
    uint8_t head[6];

    take(input, head, sizeof(head));
    message.request = head[0] % (VHOST_USER_REQUESTS + 1);
    message.flags = head[1] & 1 ? VHOST_USER_NEED_REPLY : 0;
    message.size = head[2] % 72;
    for (unsigned i = 0; i < head[3] % 4u; i++) {
        int fd = fds[head[4] >> 2 * i & 3];

        if (fd >= 0)
            message.fds[message.fd_count++] = fd;
    }
    take(input, &message.value, message.size);
    if (head[5] & 1) // an address that may lie in the memory
        message.value = USER + message.value % (2 * MEMORY_SIZE);
    return send_message(socket, message);
}

static void open_all(void) {
    shared_mapping_init();
    stderr = fopen("/dev/null", "w"); // sessions' complaints; the fuzzer's own go on
    memory_fd = memfd_create("memory", 0);
    short_fd = memfd_create("short", 0);
    event_fd = eventfd(0, EFD_NONBLOCK);
    if (!stderr || ftruncate(memory_fd, MEMORY_SIZE) < 0 || ftruncate(short_fd, 4096) < 0)
        abort();
}

// Three requests in queue 0 and what the input changes about them and about the record of requests
// in flight, which begins at RECORD.
static void write_memory(struct input *input, unsigned changes) {
    static uint8_t memory[RECORD + 4096];
    const struct vring_desc descriptors[] = {{HEADER, 16, VRING_DESC_F_NEXT, 1},
                                             {HEADER + 0x400, 512, VRING_DESC_F_NEXT, 2},
                                             {HEADER + 0x200, 1, VRING_DESC_F_WRITE, 0},
                                             {HEADER + 16, 16, VRING_DESC_F_NEXT, 4},
                                             {HEADER + 0x400, 512, 3, 2},
                                             {HEADER + 0x600, 32, VRING_DESC_F_INDIRECT, 0}};
    const uint16_t available[] = {0, 3, 0, 3, 5};

    memset(memory, 0, sizeof(memory));
    memcpy(memory, descriptors, sizeof(descriptors));
    memcpy(memory + 0x1000, available, sizeof(available));
    memory[HEADER] = 1; // a write
    for (unsigned i = 0; i < changes && input->left; i++) {
        uint16_t change[2];

        take(input, change, sizeof(change));
        memcpy(memory + change[0] % (sizeof(memory) - 1), &change[1], 2);
    }
    if (pwrite(memory_fd, memory, RECORD, 0) < 0 || pwrite(short_fd, memory + RECORD, 4096, 0) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct block_device disk = {.sectors = SECTORS,
                                .logical_block = 512,
                                .physical_block = 512,
                                .discards = true,
                                .submit = submit};
    struct input input = {data, size};
    const uint64_t kick = 1;
    uint8_t head[4];
    int pair[2];

    if (!memory_fd)
        open_all();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
        abort();
    take(&input, head, sizeof(head));
    write_memory(&input, head[2]);
    if (write(event_fd, &kick, 8) < 0)
        abort();
    if (head[0] & 1)
        begin(pair[0], (uint64_t)head[1] << 28, head[3] % 4 ? 8 : head[3], head[0] & 2);
    for (int i = 0; i < MESSAGES_MAX && input.left && send_any(pair[0], &input); i++) {
    }
    shutdown(pair[0], SHUT_WR);
    block_server_run(&disk, QUEUES, pair[1]);
    close(pair[0]);
    return 0;
}
