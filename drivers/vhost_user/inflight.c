// SPDX-License-Identifier: BSD-2-Clause
// The order of the stores is what makes a death between any two of them harmless.
#include "drivers/vhost_user/inflight.h"

#include <errno.h>

#define VERSION 1

struct descriptor_state {
    uint8_t in_flight;
    uint8_t padding[5];
    uint16_t next;
    uint64_t counter; // order of taking
};

struct vhost_user_inflight_ring {
    uint64_t features;
    uint16_t version;
    uint16_t size;
    uint16_t last_head; // being given back
    uint16_t used_index;
    struct descriptor_state states[];
};

_Static_assert(offsetof(struct vhost_user_inflight_ring, states) == 16, "QueueRegionSplit");

size_t inflight_ring_size(uint16_t queue_size) {
    size_t size =
        sizeof(struct vhost_user_inflight_ring) + queue_size * sizeof(struct descriptor_state);

    return (size + 63) & ~(size_t)63;
}

int inflight_open(struct vhost_user_inflight_ring *ring, uint16_t queue_size, uint16_t used_index) {
    if (ring->version == 0) {
        ring->size = queue_size;
        ring->used_index = used_index;
        __atomic_store_n(&ring->version, VERSION, __ATOMIC_RELEASE);
        return 0;
    }
    if (ring->version != VERSION || ring->size != queue_size || ring->last_head >= queue_size)
        return -EINVAL;
    if (ring->used_index != used_index) {
        ring->states[ring->last_head].in_flight = 0;
        ring->used_index = used_index;
    }
    return 0;
}

unsigned inflight_list(const struct vhost_user_inflight_ring *ring, uint16_t queue_size,
                       uint16_t *heads) {
    unsigned count = 0;

    for (uint16_t head = 0; head < queue_size; head++) {
        unsigned at = count;

        if (ring->states[head].in_flight != 1)
            continue;
        for (; at > 0 && ring->states[heads[at - 1]].counter > ring->states[head].counter; at--)
            heads[at] = heads[at - 1];
        heads[at] = head;
        count++;
    }
    return count;
}

uint64_t inflight_next_number(const struct vhost_user_inflight_ring *ring, uint16_t queue_size) {
    uint64_t next = 0;

    for (uint16_t i = 0; i < queue_size; i++)
        if (ring->states[i].counter >= next)
            next = ring->states[i].counter + 1;
    return next;
}

void inflight_begin(struct vhost_user_inflight_ring *ring, uint16_t head, uint64_t number) {
    ring->states[head].counter = number;
    __atomic_store_n(&ring->states[head].in_flight, 1, __ATOMIC_RELEASE);
}

void inflight_cancel(struct vhost_user_inflight_ring *ring, uint16_t head) {
    __atomic_store_n(&ring->states[head].in_flight, 0, __ATOMIC_SEQ_CST);
}

void inflight_commit(struct vhost_user_inflight_ring *ring, uint16_t head) {
    __atomic_store_n(&ring->last_head, head, __ATOMIC_SEQ_CST);
}

void inflight_end(struct vhost_user_inflight_ring *ring, uint16_t head, uint16_t used_index) {
    __atomic_store_n(&ring->states[head].in_flight, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&ring->used_index, used_index, __ATOMIC_SEQ_CST);
}
