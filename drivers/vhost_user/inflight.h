// SPDX-License-Identifier: BSD-2-Clause
// The record of requests in flight, in memory that outlives the back end: vhost-user, "Inflight I/O
// tracking", for split rings. The front end can write it at any time: its size is the caller's to
// say. After a crash it says what was taken from the ring and not given back.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct vhost_user_inflight_ring;

// Of a request, which the descriptor at its place heads.
struct inflight_state {
    uint8_t in_flight;
    uint8_t padding[5];
    uint16_t next;
    uint64_t counter; // order of taking
};

// Bytes of the record of one queue.
size_t inflight_ring_size(uint16_t queue_size);

// Prepares a record that is all zeros or left by a back end before: a request given back without
// being noted as such is noted now. used_index is the ring's. -EINVAL for another ring's record.
int inflight_open(struct vhost_user_inflight_ring *ring, uint16_t queue_size, uint16_t used_index);

// Heads of chains in flight, in the order they were taken. Returns their number; heads has room for
// queue_size. *next_counter is what the next request taken gets; each one after it is one higher.
unsigned inflight_list(const struct vhost_user_inflight_ring *ring, uint16_t queue_size,
                       uint16_t *heads, uint64_t *next_counter);

// The same of any array of states, `stride` bytes apart: those of packed rings are longer.
unsigned inflight_order(const void *states, size_t stride, uint16_t count, uint16_t *numbers,
                        uint64_t *next_counter);

void inflight_begin(struct vhost_user_inflight_ring *ring, uint16_t head, uint64_t number);
// It was not taken after all.
void inflight_cancel(struct vhost_user_inflight_ring *ring, uint16_t head);

// Around giving a buffer back: before it is put into the used ring, and after, with the new index.
void inflight_commit(struct vhost_user_inflight_ring *ring, uint16_t head);
void inflight_end(struct vhost_user_inflight_ring *ring, uint16_t head, uint16_t used_index);
