// SPDX-License-Identifier: BSD-2-Clause
// Messages of the vhost-user protocol, with the file descriptors that go with them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VHOST_USER_FDS_MAX     8
#define VHOST_USER_REGIONS_MAX 8 // of one memory table
#define VHOST_USER_CONFIG_MAX  256u

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_REQUESTS,
};

enum vhost_user_protocol_feature {
    VHOST_USER_PROTOCOL_F_MQ = 0,
    VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
    VHOST_USER_PROTOCOL_F_CONFIG = 9,
    VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
    VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
    VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
};

#define VHOST_USER_F_PROTOCOL_FEATURES 30

enum {
    VHOST_USER_VERSION = 1,
    VHOST_USER_VERSION_MASK = 3,
    VHOST_USER_REPLY = 1 << 2,
    VHOST_USER_NEED_REPLY = 1 << 3,
    VHOST_USER_VRING_INDEX_MASK = 0xff,
    VHOST_USER_VRING_NO_FD = 1 << 8,
};

struct vhost_user_region {
    uint64_t guest_address, size, user_address, mmap_offset;
};

struct vhost_user_vring_state {
    uint32_t index, value;
};

struct vhost_user_vring_address {
    uint32_t index, flags;
    uint64_t descriptors, used, available, log;
};

struct vhost_user_inflight {
    uint64_t mmap_size, mmap_offset;
    uint16_t queues, queue_size;
};

struct vhost_user_message {
    uint32_t request, flags, size;
    union __attribute__((packed)) {
        uint64_t value;
        struct vhost_user_vring_state state;
        struct vhost_user_vring_address address;
        struct __attribute__((packed)) {
            uint32_t count, padding;
            struct vhost_user_region regions[VHOST_USER_REGIONS_MAX];
        } table;
        struct __attribute__((packed)) {
            uint64_t padding;
            struct vhost_user_region region;
        } single;
        struct __attribute__((packed)) {
            uint32_t offset, size, flags;
            uint8_t bytes[VHOST_USER_CONFIG_MAX];
        } config;
        struct vhost_user_inflight inflight;
    };
    // Those sent with it; who receives a message owns them. -1 where there is none.
    int fds[VHOST_USER_FDS_MAX];
    unsigned fd_count;
};

#define VHOST_USER_HEADER_SIZE offsetof(struct vhost_user_message, value)

_Static_assert(VHOST_USER_HEADER_SIZE == 12, "vhost-user header");

// Sends a whole message. 0 or -errno.
int vhost_user_send(int socket, const struct vhost_user_message *message);

// Receives one. Returns 1, 0 where the peer has gone, -EPROTO for what is no message, -errno.
int vhost_user_receive(int socket, struct vhost_user_message *message);

// Closes the descriptors that came with a message and were not taken (set to -1).
void vhost_user_close_fds(struct vhost_user_message *message);
