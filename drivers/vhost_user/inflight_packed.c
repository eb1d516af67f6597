// SPDX-License-Identifier: BSD-2-Clause
// vhost-user, "Inflight I/O tracking", packed virtqueues. What `old` names is certain, what goes
// beyond it is being done; the order of the stores is what makes a death between any two harmless.
// The front end may write here too, at any time: what is an index is read once, then checked.
#include "drivers/vhost_user/inflight_packed.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "drivers/vhost_user/inflight.h"

#define VERSION 1

struct entry {
    uint8_t in_flight, padding;
    uint16_t next;  // in the list of free entries, or of the chain's
    uint16_t last;  // of the chain's; in its first one, as are the next two
    uint16_t count; // of the chain
    uint64_t counter;
    uint16_t id, flags;
    uint32_t length;
    uint64_t address;
};

struct inflight_packed_ring {
    uint64_t features;
    uint16_t version, size;
    uint16_t free, old_free;
    uint16_t used, old_used;
    uint8_t wrap, old_wrap, padding[7];
    struct entry entries[];
};

_Static_assert(sizeof(struct entry) == 32, "DescStatePacked");
_Static_assert(offsetof(struct entry, counter) == offsetof(struct inflight_state, counter),
               "inflight_order");
_Static_assert(offsetof(struct inflight_packed_ring, entries) == 32, "QueueRegionPacked");

size_t inflight_packed_size(uint16_t queue_size) {
    size_t size = sizeof(struct inflight_packed_ring) + queue_size * sizeof(struct entry);

    return (size + 63) & ~(size_t)63;
}

static void fence(void) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint16_t read_index(const uint16_t *index) {
    return __atomic_load_n(index, __ATOMIC_RELAXED);
}

static void confirm(struct inflight_packed_ring *ring) {
    ring->old_free = ring->free;
    ring->old_used = ring->used;
    ring->old_wrap = ring->wrap;
    fence();
}

// Whether the driver saw what was being given back, at that place of its ring.
static bool was_given_back(const struct inflight_packed_ring *ring,
                           const struct vring_packed_desc *descriptor) {
    uint16_t flags = __atomic_load_n(&descriptor->flags, __ATOMIC_ACQUIRE);
    bool available = flags & (1u << VRING_PACKED_DESC_F_AVAIL);
    bool used = flags & (1u << VRING_PACKED_DESC_F_USED);

    // As the driver had made it available; else it was used, and is perhaps available once more.
    return !(available == (ring->old_wrap != 0) && used != available);
}

static void begin_record(struct inflight_packed_ring *ring, uint16_t queue_size, uint32_t base) {
    ring->size = queue_size;
    for (uint16_t i = 0; i < queue_size; i++)
        ring->entries[i].next = (uint16_t)(i + 1); // queue_size ends the list
    ring->used = base >> 16 & 0x7fff;
    ring->wrap = base >> 31;
    confirm(ring);
    ring->version = VERSION;
}

// Entries in the free list are in flight no more.
static int clear_free(struct inflight_packed_ring *ring, uint16_t queue_size) {
    uint16_t at = read_index(&ring->free);

    for (unsigned i = 0; at < queue_size; i++) {
        if (i == queue_size)
            return -EINVAL; // a loop
        ring->entries[at].in_flight = 0;
        at = read_index(&ring->entries[at].next);
    }
    return 0;
}

static unsigned slots_in_flight(const struct inflight_packed_ring *ring, uint16_t queue_size) {
    unsigned slots = 0;

    for (uint16_t i = 0; i < queue_size; i++)
        if (ring->entries[i].in_flight)
            slots += ring->entries[i].count;
    return slots;
}

int inflight_packed_open(struct inflight_packed_ring *ring, uint16_t queue_size,
                         const struct vring_packed_desc *descriptors, uint32_t *base) {
    if (ring->version == 0) {
        begin_record(ring, queue_size, *base);
        return 0;
    }
    uint16_t old_used = read_index(&ring->old_used);
    if (!queue_size || ring->version != VERSION || ring->size != queue_size ||
        old_used >= queue_size || ring->used >= queue_size)
        return -EINVAL;
    if ((ring->used != old_used || ring->wrap != ring->old_wrap) &&
        was_given_back(ring, &descriptors[old_used]))
        confirm(ring);
    ring->free = ring->old_free;
    ring->used = ring->old_used;
    ring->wrap = ring->old_wrap;
    if (clear_free(ring, queue_size) < 0 || slots_in_flight(ring, queue_size) > queue_size)
        return -EINVAL;
    unsigned available = slots_in_flight(ring, queue_size) + ring->used;
    bool wrap = ring->wrap ? available < queue_size : available >= queue_size;
    *base = available % queue_size | (uint32_t)wrap << 15 | (uint32_t)ring->used << 16 |
            (uint32_t)(ring->wrap != 0) << 31;
    return 0;
}

unsigned inflight_packed_list(const struct inflight_packed_ring *ring, uint16_t queue_size,
                              uint16_t *entries, uint64_t *next_counter) {
    return inflight_order(ring->entries, sizeof(ring->entries[0]), queue_size, entries,
                          next_counter);
}

int inflight_packed_chain(const struct inflight_packed_ring *ring, uint16_t queue_size,
                          uint16_t entry, struct vring_packed_desc *chain) {
    uint16_t count = read_index(&ring->entries[entry].count);

    if (!count || count > queue_size)
        return -EPROTO;
    for (uint16_t i = 0; i < count; i++) {
        if (entry >= queue_size)
            return -EPROTO;
        const struct entry *from = &ring->entries[entry];
        chain[i] = (struct vring_packed_desc){
            .addr = from->address, .len = from->length, .id = from->id, .flags = from->flags};
        entry = read_index(&from->next);
    }
    return count;
}

int inflight_packed_begin(struct inflight_packed_ring *ring, uint16_t queue_size,
                          const struct vring_packed_desc *chain, uint16_t count, uint64_t number) {
    uint16_t first = read_index(&ring->old_free), at = first, last = first;

    for (uint16_t i = 0; i < count; i++) {
        if (at >= queue_size)
            return -EPROTO;
        struct entry *entry = &ring->entries[at];
        entry->id = chain[i].id;
        entry->flags = chain[i].flags;
        entry->length = chain[i].len;
        entry->address = chain[i].addr;
        last = at;
        at = read_index(&entry->next);
    }
    ring->entries[first].count = count;
    ring->entries[first].last = last;
    ring->entries[first].counter = number;
    fence();
    ring->entries[first].in_flight = 1;
    fence();
    ring->free = at;
    ring->old_free = at;
    fence();
    return first;
}

static void release(struct inflight_packed_ring *ring, uint16_t queue_size, uint16_t entry) {
    uint16_t last = read_index(&ring->entries[entry].last);

    if (last < queue_size)
        ring->entries[last].next = ring->free;
    fence();
    ring->free = entry;
}

void inflight_packed_cancel(struct inflight_packed_ring *ring, uint16_t queue_size,
                            uint16_t entry) {
    ring->entries[entry].in_flight = 0;
    release(ring, queue_size, entry);
    confirm(ring);
}

void inflight_packed_commit(struct inflight_packed_ring *ring, uint16_t queue_size, uint16_t entry,
                            uint16_t used) {
    release(ring, queue_size, entry);
    ring->used = used & 0x7fff;
    ring->wrap = used >> 15;
    fence();
}

void inflight_packed_end(struct inflight_packed_ring *ring, uint16_t entry) {
    fence();
    ring->entries[entry].in_flight = 0;
    confirm(ring);
}
