// SPDX-License-Identifier: BSD-2-Clause
// Walking descriptors and rings.
#include "drivers/virtio/virtqueue.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>

#define FEATURE(bit) (1ull << (bit))

// Stands at the start of a split ring's areas, whose tail holds the event index (2.7.7).
struct split_ring {
    uint16_t flags;
    uint16_t index;
};

static uint16_t *available_ring(const struct virtqueue *queue) {
    return (uint16_t *)((struct split_ring *)queue->driver + 1);
}

static struct vring_used_elem *used_ring(const struct virtqueue *queue) {
    return (struct vring_used_elem *)((struct split_ring *)queue->device + 1);
}

static uint16_t *used_event(const struct virtqueue *queue) {
    return available_ring(queue) + queue->size;
}

static uint16_t *available_event(const struct virtqueue *queue) {
    return (uint16_t *)(used_ring(queue) + queue->size);
}

int virtqueue_attach(struct virtqueue *queue, const struct guest_memory_map *memory, uint16_t size,
                     const struct virtqueue_addresses *addresses, uint64_t features) {
    bool packed = features & FEATURE(VIRTIO_F_RING_PACKED);
    size_t driver_size = sizeof(struct split_ring) + (size + 1u) * sizeof(uint16_t);
    size_t device_size =
        sizeof(struct split_ring) + size * sizeof(struct vring_used_elem) + sizeof(uint16_t);

    if (!size || size > VIRTQUEUE_SIZE_MAX || (!packed && (size & (size - 1))))
        return -EINVAL;
    if (packed)
        driver_size = device_size = sizeof(struct vring_packed_desc_event);
    if (addresses->descriptors % 16 || addresses->driver % (packed ? 4 : 2) ||
        addresses->device % 4)
        return -EINVAL;
    *queue = (struct virtqueue){
        .memory = memory,
        .descriptors =
            guest_memory_whole(memory, addresses->descriptors, size * sizeof(struct vring_desc)),
        .driver = guest_memory_whole(memory, addresses->driver, driver_size),
        .device = guest_memory_whole(memory, addresses->device, device_size),
        .size = size,
        .packed = packed,
        .event_index = features & FEATURE(VIRTIO_RING_F_EVENT_IDX),
        .indirect = features & FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
        .available_wrap = true,
        .used_wrap = true,
        .signalled_wrap = true,
    };
    return queue->descriptors && queue->driver && queue->device ? 0 : -EFAULT;
}

static int add_segments(const struct virtqueue *queue, struct virtqueue_buffer *buffer,
                        uint64_t address, uint32_t length, bool writable) {
    uint32_t *total = writable ? &buffer->writable_bytes : &buffer->readable_bytes;

    // 2.7.4.2: what the device writes comes after all that it reads.
    if (!length || (!writable && buffer->writable) || length > UINT32_MAX - *total)
        return -EPROTO;
    *total += length;
    while (length) {
        uint64_t piece = length;
        void *host = guest_memory_piece(queue->memory, address, &piece);
        unsigned used = buffer->readable + buffer->writable;

        if (!host || used == VIRTQUEUE_SEGMENTS_MAX)
            return -EPROTO;
        buffer->segments[used] = (struct iovec){.iov_base = host, .iov_len = piece};
        if (writable)
            buffer->writable++;
        else
            buffer->readable++;
        address += piece;
        length -= (uint32_t)piece;
    }
    return 0;
}

static void copy_descriptor(void *copy, const void *descriptor) {
    const volatile uint64_t *from = descriptor;
    uint64_t words[2] = {from[0], from[1]};

    memcpy(copy, words, sizeof(words));
}

struct split_table {
    const struct vring_desc *entries;
    uint32_t count;
    bool indirect; // said, not told by its address: a guest may name the ring itself as a table
};

static int add_split_chain(const struct virtqueue *queue, struct virtqueue_buffer *buffer,
                           const struct split_table *table, uint16_t head);

static int add_indirect(const struct virtqueue *queue, struct virtqueue_buffer *buffer,
                        uint64_t address, uint32_t length) {
    uint32_t count = length / sizeof(struct vring_desc);
    const void *table = guest_memory_whole(queue->memory, address, length);

    if (!queue->indirect || !table || !count || length % sizeof(struct vring_desc) ||
        address % 16 || count > VIRTQUEUE_SIZE_MAX)
        return -EPROTO;
    if (!queue->packed)
        return add_split_chain(queue, buffer, &(struct split_table){table, count, true}, 0);
    // 2.8.7: all entries in order; NEXT means nothing there.
    for (uint32_t i = 0; i < count; i++) {
        struct vring_packed_desc entry;

        copy_descriptor(&entry, (const struct vring_packed_desc *)table + i);
        if (entry.flags & VRING_DESC_F_INDIRECT)
            return -EPROTO;
        int error =
            add_segments(queue, buffer, entry.addr, entry.len, entry.flags & VRING_DESC_F_WRITE);
        if (error)
            return error;
    }
    return 0;
}

static int add_split_chain(const struct virtqueue *queue, struct virtqueue_buffer *buffer,
                           const struct split_table *table, uint16_t head) {
    uint32_t index = head;

    for (uint32_t steps = 0; steps < table->count; steps++) {
        struct vring_desc entry;

        if (index >= table->count)
            return -EPROTO;
        copy_descriptor(&entry, &table->entries[index]);
        int error;
        if (entry.flags & VRING_DESC_F_INDIRECT) {
            // 2.7.5.3.1: no table within a table, none together with NEXT.
            if (table->indirect || entry.flags & VRING_DESC_F_NEXT)
                return -EPROTO;
            error = add_indirect(queue, buffer, entry.addr, entry.len);
        } else {
            error = add_segments(queue, buffer, entry.addr, entry.len,
                                 entry.flags & VRING_DESC_F_WRITE);
        }
        if (error || !(entry.flags & VRING_DESC_F_NEXT))
            return error;
        index = entry.next;
    }
    return -EPROTO; // a loop
}

static int add_ring_chain(const struct virtqueue *queue, struct virtqueue_buffer *buffer,
                          uint16_t head) {
    return add_split_chain(queue, buffer,
                           &(struct split_table){queue->descriptors, queue->size, false}, head);
}

static int pop_split(struct virtqueue *queue, struct virtqueue_buffer *buffer) {
    const struct split_ring *ring = queue->driver;
    uint16_t waiting =
        (uint16_t)(__atomic_load_n(&ring->index, __ATOMIC_ACQUIRE) - queue->next_available);

    if (!waiting)
        return 0;
    if (waiting > queue->size)
        return -EPROTO;
    uint16_t head = __atomic_load_n(&available_ring(queue)[queue->next_available % queue->size],
                                    __ATOMIC_RELAXED);
    buffer->id = head;
    int error = add_ring_chain(queue, buffer, head);
    if (error)
        return error;
    queue->next_available++;
    return 1;
}

static bool packed_is_available(const struct virtqueue *queue) {
    const struct vring_packed_desc *ring = queue->descriptors;
    uint16_t flags = __atomic_load_n(&ring[queue->next_available].flags, __ATOMIC_ACQUIRE);
    bool available = flags & (1u << VRING_PACKED_DESC_F_AVAIL);
    bool used = flags & (1u << VRING_PACKED_DESC_F_USED);

    return available == queue->available_wrap && used != queue->available_wrap;
}

static void advance(const struct virtqueue *queue, uint16_t *index, bool *wrap, uint16_t by) {
    *index = (uint16_t)(*index + by);
    if (*index >= queue->size) {
        *index = (uint16_t)(*index - queue->size);
        *wrap = !*wrap;
    }
}

// One more descriptor of a chain. Returns 1 where others follow, 0 where it is the last.
static int add_packed(const struct virtqueue *queue, struct virtqueue_buffer *buffer,
                      const struct vring_packed_desc *entry) {
    int error;

    buffer->descriptors++;
    buffer->id = entry->id; // the last one's counts (2.8.6)
    if (entry->flags & VRING_DESC_F_INDIRECT) {
        if (entry->flags & VRING_DESC_F_NEXT)
            return -EPROTO;
        error = add_indirect(queue, buffer, entry->addr, entry->len);
    } else {
        error =
            add_segments(queue, buffer, entry->addr, entry->len, entry->flags & VRING_DESC_F_WRITE);
    }
    return error ? error : (entry->flags & VRING_DESC_F_NEXT) != 0;
}

static int pop_packed(struct virtqueue *queue, struct virtqueue_buffer *buffer) {
    const struct vring_packed_desc *ring = queue->descriptors;
    int more = 1;

    if (!packed_is_available(queue))
        return 0;
    while (more) {
        struct vring_packed_desc entry;

        if (buffer->descriptors == queue->size)
            return -EPROTO;
        copy_descriptor(&entry, &ring[(queue->next_available + buffer->descriptors) % queue->size]);
        more = add_packed(queue, buffer, &entry);
        if (more < 0)
            return more;
    }
    advance(queue, &queue->next_available, &queue->available_wrap, buffer->descriptors);
    return 1;
}

int virtqueue_take_packed(struct virtqueue *queue, const struct vring_packed_desc *chain,
                          uint16_t count, struct virtqueue_buffer *buffer) {
    int more = 1;

    *buffer = (struct virtqueue_buffer){0};
    while (more == 1 && buffer->descriptors < count)
        more = add_packed(queue, buffer, &chain[buffer->descriptors]);
    return more < 0 ? more : more || buffer->descriptors != count ? -EPROTO : 1;
}

void virtqueue_copy_packed(const struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                           struct vring_packed_desc *chain) {
    const struct vring_packed_desc *ring = queue->descriptors;
    unsigned first = queue->next_available + queue->size - buffer->descriptors;

    for (unsigned i = 0; i < buffer->descriptors; i++)
        copy_descriptor(&chain[i], &ring[(first + i) % queue->size]);
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_buffer *buffer) {
    buffer->descriptors = 0;
    buffer->readable = buffer->writable = 0;
    buffer->readable_bytes = buffer->writable_bytes = 0;
    return queue->packed ? pop_packed(queue, buffer) : pop_split(queue, buffer);
}

int virtqueue_take(struct virtqueue *queue, uint16_t head, struct virtqueue_buffer *buffer) {
    *buffer = (struct virtqueue_buffer){.id = head};
    int error = add_ring_chain(queue, buffer, head);
    return error ? error : 1;
}

uint32_t virtqueue_base(const struct virtqueue *queue) {
    if (!queue->packed)
        return queue->next_available;
    return queue->next_available | (uint32_t)queue->available_wrap << 15 |
           (uint32_t)queue->next_used << 16 | (uint32_t)queue->used_wrap << 31;
}

void virtqueue_set_base(struct virtqueue *queue, uint32_t base) {
    queue->signalled_valid = false;
    if (queue->packed) {
        queue->next_available = (uint16_t)((base & 0x7fff) % queue->size);
        queue->available_wrap = base >> 15 & 1;
        queue->next_used = (uint16_t)((base >> 16 & 0x7fff) % queue->size);
        queue->used_wrap = base >> 31;
    } else {
        queue->next_available = (uint16_t)base;
        queue->next_used =
            __atomic_load_n(&((struct split_ring *)queue->device)->index, __ATOMIC_RELAXED);
    }
}

uint16_t virtqueue_used_after(const struct virtqueue *queue, uint16_t descriptors) {
    uint16_t index = queue->next_used;
    bool wrap = queue->used_wrap;

    advance(queue, &index, &wrap, descriptors);
    return (uint16_t)(index | wrap << 15);
}

void virtqueue_unpop(struct virtqueue *queue, uint16_t descriptors) {
    if (!queue->packed) {
        queue->next_available--;
        return;
    }
    if (queue->next_available < descriptors) {
        queue->next_available = (uint16_t)(queue->next_available + queue->size);
        queue->available_wrap = !queue->available_wrap;
    }
    queue->next_available = (uint16_t)(queue->next_available - descriptors);
}

// The driver looks at the first entry only; it is stored last.
static void push_packed(struct virtqueue *queue, const struct virtqueue_used *used,
                        unsigned count) {
    struct vring_packed_desc *ring = queue->descriptors, *first = &ring[queue->next_used];
    uint16_t first_flags = 0;

    for (unsigned i = 0; i < count; i++) {
        struct vring_packed_desc *entry = &ring[queue->next_used];
        uint16_t flags = (uint16_t)(queue->used_wrap ? 1u << VRING_PACKED_DESC_F_AVAIL |
                                                           1u << VRING_PACKED_DESC_F_USED
                                                     : 0);

        entry->id = used[i].id;
        entry->len = used[i].written;
        if (used[i].written)
            flags |= VRING_DESC_F_WRITE;
        if (i == 0)
            first_flags = flags;
        else
            __atomic_store_n(&entry->flags, flags, __ATOMIC_RELAXED);
        advance(queue, &queue->next_used, &queue->used_wrap, used[i].descriptors);
    }
    __atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
}

void virtqueue_push_all(struct virtqueue *queue, const struct virtqueue_used *used,
                        unsigned count) {
    struct split_ring *ring = queue->device;

    if (queue->packed) {
        push_packed(queue, used, count);
        return;
    }
    for (unsigned i = 0; i < count; i++, queue->next_used++)
        used_ring(queue)[queue->next_used % queue->size] =
            (struct vring_used_elem){.id = used[i].id, .len = used[i].written};
    __atomic_store_n(&ring->index, queue->next_used, __ATOMIC_RELEASE);
}

void virtqueue_push(struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                    uint32_t written) {
    const struct virtqueue_used used = {buffer->id, buffer->descriptors, written};

    virtqueue_push_all(queue, &used, 1);
}

static bool packed_must_signal(struct virtqueue *queue, uint16_t before, bool before_valid) {
    const struct vring_packed_desc_event *event = queue->driver;
    uint16_t flags = __atomic_load_n(&event->flags, __ATOMIC_RELAXED) & 3;

    if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
        return false;
    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !queue->event_index)
        return true;
    uint16_t offset_wrap = __atomic_load_n(&event->off_wrap, __ATOMIC_RELAXED);
    uint16_t wanted = offset_wrap & 0x7fff;

    // Where the driver's wrap counter is the other one, its index is of the round before.
    if (offset_wrap >> 15 != queue->used_wrap)
        wanted = (uint16_t)(wanted - queue->size);
    if (queue->signalled_wrap != queue->used_wrap)
        before = (uint16_t)(before - queue->size);
    return !before_valid || vring_need_event(wanted, queue->next_used, before);
}

static bool split_must_signal(const struct virtqueue *queue, uint16_t before, bool before_valid) {
    const struct split_ring *ring = queue->driver;

    if (queue->event_index)
        return !before_valid ||
               vring_need_event(__atomic_load_n(used_event(queue), __ATOMIC_RELAXED),
                                queue->next_used, before);
    return !(__atomic_load_n(&ring->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
}

bool virtqueue_must_signal(struct virtqueue *queue) {
    uint16_t before = queue->signalled_used;
    bool valid = queue->signalled_valid;

    if (valid && before == queue->next_used && queue->signalled_wrap == queue->used_wrap)
        return false; // nothing was pushed
    // The used entry must be seen before the driver's wish is read (2.7.7.2).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool signal = queue->packed ? packed_must_signal(queue, before, valid)
                                : split_must_signal(queue, before, valid);
    queue->signalled_used = queue->next_used;
    queue->signalled_wrap = queue->used_wrap;
    queue->signalled_valid = true;
    return signal;
}

bool virtqueue_enable_kicks(struct virtqueue *queue) {
    const struct split_ring *available = queue->driver;

    if (queue->packed) {
        struct vring_packed_desc_event *event = queue->device;
        event->off_wrap = (uint16_t)(queue->next_available | queue->available_wrap << 15);
        __atomic_store_n(&event->flags,
                         queue->event_index ? VRING_PACKED_EVENT_FLAG_DESC
                                            : VRING_PACKED_EVENT_FLAG_ENABLE,
                         __ATOMIC_RELEASE);
    } else if (queue->event_index) {
        __atomic_store_n(available_event(queue), queue->next_available, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&((struct split_ring *)queue->device)->flags, 0, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return queue->packed
               ? packed_is_available(queue)
               : __atomic_load_n(&available->index, __ATOMIC_ACQUIRE) != queue->next_available;
}

void virtqueue_disable_kicks(struct virtqueue *queue) {
    if (queue->packed)
        __atomic_store_n(&((struct vring_packed_desc_event *)queue->device)->flags,
                         VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
    else if (!queue->event_index) // with event indices an old index asks for nothing
        __atomic_store_n(&((struct split_ring *)queue->device)->flags, VRING_USED_F_NO_NOTIFY,
                         __ATOMIC_RELAXED);
}

static uint32_t copy_segments(const struct iovec *segments, unsigned count, uint32_t offset,
                              void *data, uint32_t length, bool into) {
    uint32_t done = 0;

    for (unsigned i = 0; i < count && done < length; i++) {
        uint32_t size = (uint32_t)segments[i].iov_len;

        if (offset >= size) {
            offset -= size;
            continue;
        }
        uint32_t piece = size - offset < length - done ? size - offset : length - done;
        uint8_t *host = (uint8_t *)segments[i].iov_base + offset;
        if (into)
            memcpy(host, (uint8_t *)data + done, piece);
        else
            memcpy((uint8_t *)data + done, host, piece);
        done += piece;
        offset = 0;
    }
    return done;
}

uint32_t virtqueue_read(const struct virtqueue_buffer *buffer, uint32_t offset, void *data,
                        uint32_t length) {
    return copy_segments(buffer->segments, buffer->readable, offset, data, length, false);
}

uint32_t virtqueue_write(const struct virtqueue_buffer *buffer, uint32_t offset, const void *data,
                         uint32_t length) {
    return copy_segments(buffer->segments + buffer->readable, buffer->writable, offset,
                         (void *)(uintptr_t)data, length, true);
}
