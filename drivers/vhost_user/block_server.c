// SPDX-License-Identifier: BSD-2-Clause
// Requests complete on the disk's threads; an eventfd brings them back to the session's.
#include "drivers/vhost_user/block_server.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "drivers/block/virtio_block.h"
#include "drivers/vhost_user/rings.h"

#define PENDING_MAX 512 // requests of a session under way

struct server {
    struct block_device *disk;
    unsigned queues;
};

struct pending {
    struct virtio_block_request request; // first: finished() is given it
    struct state *state;
    unsigned queue;
    struct pending *next;
};

struct state {
    struct vhost_user_session *session;
    struct server *server;
    struct pending *free;
    unsigned allocated; // under way or free
    unsigned under_way[VHOST_USER_QUEUES_MAX];
    pthread_mutex_t lock; // of finished
    struct pending *finished;
    int finished_fd;
};

static void finished(struct virtio_block_request *request) {
    struct pending *pending = (struct pending *)request;
    struct state *state = pending->state;

    pthread_mutex_lock(&state->lock);
    // With the lock: who takes the last request off the list may end the session.
    if (!state->finished)
        ring_signal_fd(state->finished_fd);
    pending->next = state->finished;
    state->finished = pending;
    pthread_mutex_unlock(&state->lock);
}

static bool give_back_list(struct state *state) {
    pthread_mutex_lock(&state->lock);
    struct pending *list = state->finished;
    bool some = list;
    state->finished = NULL;
    pthread_mutex_unlock(&state->lock);
    while (list) {
        struct pending *pending = list;

        list = pending->next;
        vhost_user_complete(state->session, pending->queue, &pending->request.buffer,
                            pending->request.written);
        state->under_way[pending->queue]--;
        pending->next = state->free;
        state->free = pending;
    }
    return some;
}

static void give_back(void *context) {
    struct state *state = context;
    uint64_t count;

    if (read(state->finished_fd, &count, sizeof(count)) > 0 || errno == EAGAIN)
        give_back_list(state);
}

static bool poll_disk(void *context) {
    struct state *state = context;
    struct block_device *disk = state->server->disk;

    for (unsigned i = 0; disk->poll && i < state->server->queues; i++)
        if (state->under_way[i])
            disk->poll(disk, i);
    return give_back_list(state);
}

static struct pending *new_pending(struct state *state) {
    struct pending *pending = state->free;

    if (pending)
        state->free = pending->next;
    else if (state->allocated < PENDING_MAX && (pending = malloc(sizeof(*pending))))
        state->allocated++;
    return pending;
}

static int serve(void *context, unsigned queue, const struct virtqueue_buffer *buffer) {
    struct state *state = context;
    struct pending *pending = new_pending(state);

    if (!pending)
        return -EAGAIN;
    pending->request.finished = finished;
    pending->state = state;
    pending->queue = queue;
    state->under_way[queue]++;
    int error = virtio_block_submit(&pending->request, state->server->disk, queue, buffer);
    if (error) {
        state->under_way[queue]--;
        pending->next = state->free;
        state->free = pending;
    }
    return error;
}

static void drain(void *context, unsigned queue) {
    struct state *state = context;

    while (state->under_way[queue]) {
        struct pollfd fd = {.fd = state->finished_fd, .events = POLLIN};

        if (poll(&fd, 1, -1) == 1)
            give_back(state);
    }
}

static int map(void *context, void *memory, size_t size) {
    struct block_device *disk = ((struct server *)context)->disk;

    return disk->map ? disk->map(disk, memory, size) : -EOPNOTSUPP;
}

static void unmap(void *context, void *memory, size_t size) {
    struct block_device *disk = ((struct server *)context)->disk;

    disk->unmap(disk, memory, size);
}

static int finished_fd(void *context) {
    return ((struct state *)context)->finished_fd;
}

static void *open_state(struct vhost_user_session *session, void *server) {
    struct state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->session = session;
    state->server = server;
    pthread_mutex_init(&state->lock, NULL);
    state->finished_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (state->finished_fd < 0) {
        free(state);
        return NULL;
    }
    return state;
}

static void close_state(void *context) {
    struct state *state = context;

    while (state->free) {
        struct pending *pending = state->free;

        state->free = pending->next;
        free(pending);
    }
    close(state->finished_fd);
    free(state);
}

static void read_config(void *context, void *config) {
    const struct server *server = context;
    struct virtio_blk_config block;

    virtio_block_config(server->disk, server->queues, &block);
    memcpy(config, &block, sizeof(block));
}

void block_server_run(struct block_device *disk, unsigned queues, int socket) {
    struct server server = {.disk = disk, .queues = queues};
    const struct vhost_user_device device = {
        .name = "vhost-user-blk",
        .features = virtio_block_features(disk, queues) | 1ull << VIRTIO_F_RING_PACKED,
        .queues = queues,
        .device = &server,
        .read_config = read_config,
        .open = open_state,
        .close = close_state,
        .serve = serve,
        .drain = drain,
        .poll = poll_disk,
        .map = map,
        .unmap = unmap,
        .extra_fd = finished_fd,
        .extra = give_back,
    };

    vhost_user_session_run(&device, socket);
}
