// SPDX-License-Identifier: BSD-2-Clause
// The same steps for both kinds of rings.
#include "drivers/vhost_user/record.h"

#include <errno.h>
#include <linux/virtio_config.h>

size_t record_size(uint64_t features, uint16_t queue_size) {
    return features >> VIRTIO_F_RING_PACKED & 1 ? inflight_packed_size(queue_size)
                                                : inflight_ring_size(queue_size);
}

int record_open(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];
    struct virtqueue *ring = &queue->ring;
    uint32_t base = virtqueue_base(ring);

    queue->inflight = NULL;
    queue->packed = NULL;
    queue->replay_next = queue->replay_count = 0;
    if (!session->inflight || index >= session->inflight_queues ||
        queue->size > session->inflight_queue_size)
        return 0;
    size_t size = record_size(session->features, session->inflight_queue_size);
    void *record = (uint8_t *)session->inflight + index * size;
    if (index * size + size > session->inflight_size)
        return -EINVAL; // it was shared for rings of the other kind
    if (ring->packed) {
        if (inflight_packed_open(record, queue->size, ring->descriptors, &base) < 0)
            return -EINVAL;
        queue->packed = record;
        queue->replay_count =
            inflight_packed_list(record, queue->size, queue->replay, &queue->next_number);
    } else {
        if (inflight_open(record, queue->size, ring->next_used) < 0)
            return -EINVAL;
        queue->inflight = record;
        queue->replay_count =
            inflight_list(record, queue->size, queue->replay, &queue->next_number);
        base = (uint16_t)(ring->next_used + queue->replay_count);
    }
    virtqueue_set_base(ring, base);
    return 0;
}

int record_next(struct vhost_user_session *session, struct vhost_user_queue *queue) {
    uint16_t entry = queue->replay[queue->replay_next];

    if (!queue->packed)
        return virtqueue_take(&queue->ring, entry, &session->buffer);
    int count = inflight_packed_chain(queue->packed, queue->size, entry, session->chain);
    if (count > 0)
        count =
            virtqueue_take_packed(&queue->ring, session->chain, (uint16_t)count, &session->buffer);
    session->buffer.record = entry;
    return count;
}

int record_begin(struct vhost_user_session *session, struct vhost_user_queue *queue) {
    struct virtqueue_buffer *buffer = &session->buffer;

    if (queue->inflight)
        inflight_begin(queue->inflight, buffer->id, queue->next_number++);
    if (!queue->packed)
        return 0;
    virtqueue_copy_packed(&queue->ring, buffer, session->chain);
    int entry = inflight_packed_begin(queue->packed, queue->size, session->chain,
                                      buffer->descriptors, queue->next_number++);
    buffer->record = (uint16_t)entry;
    return entry < 0 ? entry : 0;
}

void record_cancel(struct vhost_user_session *session, struct vhost_user_queue *queue) {
    if (queue->inflight)
        inflight_cancel(queue->inflight, session->buffer.id);
    if (queue->packed)
        inflight_packed_cancel(queue->packed, queue->size, session->buffer.record);
}

void record_push(struct vhost_user_queue *queue, const struct virtqueue_buffer *buffer,
                 uint32_t written) {
    struct virtqueue *ring = &queue->ring;

    if (queue->inflight)
        inflight_commit(queue->inflight, buffer->id);
    if (queue->packed)
        inflight_packed_commit(queue->packed, queue->size, buffer->record,
                               virtqueue_used_after(ring, buffer->descriptors));
    virtqueue_push(ring, buffer, written);
    if (queue->inflight)
        inflight_end(queue->inflight, buffer->id, ring->next_used);
    if (queue->packed)
        inflight_packed_end(queue->packed, buffer->record);
}
