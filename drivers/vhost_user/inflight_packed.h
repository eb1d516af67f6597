// SPDX-License-Identifier: BSD-2-Clause
// As inflight.h, for packed rings, whose descriptors are overwritten when others are given back:
// the record holds copies of them. The front end can write it at any time: no index in it is
// trusted.
#pragma once

#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdint.h>

struct inflight_packed_ring;

// Bytes of the record of one queue.
size_t inflight_packed_size(uint16_t queue_size);

// Prepares a record that is all zeros, for a ring at `base`, or left by a back end before, whose
// position *base becomes, as virtqueue_set_base takes it. -EINVAL for another ring's record.
int inflight_packed_open(struct inflight_packed_ring *ring, uint16_t queue_size,
                         const struct vring_packed_desc *descriptors, uint32_t *base);

// As inflight_list, of entries.
unsigned inflight_packed_list(const struct inflight_packed_ring *ring, uint16_t queue_size,
                              uint16_t *entries, uint64_t *next_counter);

// Copies an entry's descriptors to `chain`, which has room for queue_size. Their number, or
// -EPROTO.
int inflight_packed_chain(const struct inflight_packed_ring *ring, uint16_t queue_size,
                          uint16_t entry, struct vring_packed_desc *chain);

// A chain is taken. Returns its entry, or -EPROTO.
int inflight_packed_begin(struct inflight_packed_ring *ring, uint16_t queue_size,
                          const struct vring_packed_desc *chain, uint16_t count, uint64_t number);

// It was not taken after all.
void inflight_packed_cancel(struct inflight_packed_ring *ring, uint16_t queue_size, uint16_t entry);

// Around giving a buffer back: before, with the position of the used ring then (its index, and the
// wrap counter in bit 15), and after.
void inflight_packed_commit(struct inflight_packed_ring *ring, uint16_t queue_size, uint16_t entry,
                            uint16_t used);
void inflight_packed_end(struct inflight_packed_ring *ring, uint16_t entry);
