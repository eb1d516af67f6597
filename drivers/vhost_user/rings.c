// SPDX-License-Identifier: BSD-2-Clause
#include "drivers/vhost_user/rings.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "drivers/vhost_user/record.h"

#define SERVED_AT_ONCE 32 // buffers of a queue, before others and the socket are looked at

void ring_signal_fd(int fd) {
    const uint64_t one = 1;

    // It can only fail by being signalled already.
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
        return;
}

void ring_replace_fd(int *fd, int by) {
    if (*fd >= 0)
        close(*fd);
    *fd = by;
}

void vhost_user_signal(struct vhost_user_session *session, unsigned index) {
    if (virtqueue_must_signal(&session->queues[index].ring))
        ring_signal_fd(session->queues[index].call);
}

void vhost_user_complete(struct vhost_user_session *session, unsigned index,
                         const struct virtqueue_buffer *buffer, uint32_t written) {
    struct vhost_user_queue *queue = &session->queues[index];

    record_push(queue, buffer, written);
    vhost_user_signal(session, index);
}

void vhost_user_break(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    fprintf(stderr, "%s: queue %u is malformed and no longer served\n", session->device->name,
            index);
    queue->enabled = false;
    ring_signal_fd(queue->error);
}

static int ring_next(struct vhost_user_session *session, struct vhost_user_queue *queue) {
    if (queue->replay_next < queue->replay_count)
        return record_next(session, queue);
    return virtqueue_pop(&queue->ring, &session->buffer);
}

static int ring_serve_one(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];
    bool replayed = queue->replay_next < queue->replay_count;
    int error = replayed ? 0 : record_begin(session, queue);

    queue->replay_next += replayed;
    if (!error)
        error = session->device->serve(session->state, index, &session->buffer);
    if (error == -EAGAIN && replayed) {
        queue->replay_next--;
    } else if (error == -EAGAIN) {
        record_cancel(session, queue);
        virtqueue_unpop(&queue->ring, session->buffer.descriptors);
    }
    return error;
}

void ring_serve(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    queue->busy = false;
    if (session->device->fill && session->device->fill(session->state, index))
        return;
    for (unsigned served = 0; queue->started && queue->enabled; served++) {
        int got = ring_next(session, queue);

        if (got == 0 && !virtqueue_enable_kicks(&queue->ring))
            return;
        if (got == 1)
            got = ring_serve_one(session, index);
        if (got == -EAGAIN || served == SERVED_AT_ONCE) {
            queue->busy = true;
            session->waits_for_memory |= got == -EAGAIN;
            return;
        }
        if (got < 0)
            vhost_user_break(session, index);
    }
}

int ring_start(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    if (queue->started || queue->kick < 0 || !queue->has_addresses)
        return 0;
    int error = virtqueue_attach(&queue->ring, &session->memory, queue->size, &queue->addresses,
                                 session->features);
    if (error)
        return error;
    virtqueue_set_base(&queue->ring, queue->base);
    if (!(session->features >> VHOST_USER_F_PROTOCOL_FEATURES & 1))
        queue->enabled = true;
    error = record_open(session, index);
    if (error)
        return error;
    queue->started = true;
    queue->busy = true; // what came before the first kick
    return 0;
}

void ring_stop(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    if (queue->started && session->device->drain) {
        while (queue->enabled && queue->replay_next < queue->replay_count) {
            ring_serve(session, index);
            session->device->drain(session->state, index);
        }
        session->device->drain(session->state, index);
    }
    if (queue->started)
        queue->base = virtqueue_base(&queue->ring);
    queue->started = false;
}

void rings_stop(struct vhost_user_session *session) {
    for (unsigned i = 0; i < session->device->queues; i++)
        ring_stop(session, i);
}

void rings_pause(struct vhost_user_session *session, bool *running) {
    for (unsigned i = 0; i < session->device->queues; i++)
        running[i] = session->queues[i].started;
    rings_stop(session);
}

void rings_resume(struct vhost_user_session *session, const bool *running) {
    for (unsigned i = 0; i < session->device->queues; i++)
        if (running[i] && ring_start(session, i) < 0)
            vhost_user_break(session, i);
}
