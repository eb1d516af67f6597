// SPDX-License-Identifier: BSD-2-Clause
// The order of the stores is what makes a death between any two of them harmless. The front end may
// write here too, at any time: what is an index is read once, then checked.
#include "drivers/vhost_user/inflight.h"

#include <errno.h>

#define VERSION 1

struct vhost_user_inflight_ring {
    uint64_t features;
    uint16_t version;
    uint16_t size;
    uint16_t last_head; // being given back
    uint16_t used_index;
    struct inflight_state states[];
};

_Static_assert(offsetof(struct vhost_user_inflight_ring, states) == 16, "QueueRegionSplit");

static const struct inflight_state *state_at(const void *states, size_t stride, uint16_t number) {
    return (const void *)((const uint8_t *)states + number * stride);
}

unsigned inflight_order(const void *states, size_t stride, uint16_t count, uint16_t *numbers,
                        uint64_t *next_counter) {
    unsigned listed = 0;

    *next_counter = 0;
    for (uint16_t number = 0; number < count; number++) {
        const struct inflight_state *state = state_at(states, stride, number);
        unsigned at = listed;

        if (state->counter >= *next_counter)
            *next_counter = state->counter + 1;
        if (!state->in_flight)
            continue;
        for (; at > 0 && state_at(states, stride, numbers[at - 1])->counter > state->counter; at--)
            numbers[at] = numbers[at - 1];
        numbers[at] = number;
        listed++;
    }
    return listed;
}

unsigned inflight_list(const struct vhost_user_inflight_ring *ring, uint16_t queue_size,
                       uint16_t *heads, uint64_t *next_counter) {
    return inflight_order(ring->states, sizeof(ring->states[0]), queue_size, heads, next_counter);
}

size_t inflight_ring_size(uint16_t queue_size) {
    size_t size =
        sizeof(struct vhost_user_inflight_ring) + queue_size * sizeof(struct inflight_state);

    return (size + 63) & ~(size_t)63;
}

int inflight_open(struct vhost_user_inflight_ring *ring, uint16_t queue_size, uint16_t used_index) {
    if (ring->version == 0) {
        ring->size = queue_size;
        ring->used_index = used_index;
        __atomic_store_n(&ring->version, VERSION, __ATOMIC_RELEASE);
        return 0;
    }
    uint16_t last = __atomic_load_n(&ring->last_head, __ATOMIC_RELAXED);
    if (ring->version != VERSION || ring->size != queue_size || last >= queue_size)
        return -EINVAL;
    if (ring->used_index != used_index) {
        ring->states[last].in_flight = 0;
        ring->used_index = used_index;
    }
    return 0;
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
