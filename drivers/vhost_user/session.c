// SPDX-License-Identifier: BSD-2-Clause
// The back end's answers to each message, and the loop that serves rings between them.
#define _GNU_SOURCE // memfd_create
#include "drivers/vhost_user/session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/vhost_user/record.h"
#include "drivers/vhost_user/shared_mapping.h"

#define BIT(number) (1ull << (number))

#define SERVED_AT_ONCE  32 // buffers of a queue, before others and the socket are looked at
#define MEMORY_PAUSE_MS 10

#define TRANSPORT_FEATURES                                                                         \
    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |   \
     BIT(VHOST_USER_F_PROTOCOL_FEATURES))

#define PROTOCOL_FEATURES                                                                          \
    (BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                        \
     BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |               \
     BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))

static void signal_fd(int fd) {
    const uint64_t one = 1;

    // It can only fail by being signalled already.
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
        return;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int take_fd(struct vhost_user_message *message) {
    int fd = message->fds[0];

    message->fds[0] = -1;
    return fd;
}

void vhost_user_signal(struct vhost_user_session *session, unsigned index) {
    if (virtqueue_must_signal(&session->queues[index].ring))
        signal_fd(session->queues[index].call);
}

void vhost_user_complete(struct vhost_user_session *session, unsigned index,
                         const struct virtqueue_buffer *buffer, uint32_t written) {
    struct vhost_user_queue *queue = &session->queues[index];

    record_push(queue, buffer, written);
    vhost_user_signal(session, index);
}

// The front end is told.
void vhost_user_break(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    fprintf(stderr, "%s: queue %u is malformed and no longer served\n", session->device->name,
            index);
    queue->enabled = false;
    signal_fd(queue->error);
}

static int queue_next(struct vhost_user_session *session, struct vhost_user_queue *queue) {
    if (queue->replay_next < queue->replay_count)
        return record_next(session, queue);
    return virtqueue_pop(&queue->ring, &session->buffer);
}

static int queue_serve_one(struct vhost_user_session *session, unsigned index) {
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

static void queue_serve(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    queue->busy = false;
    if (session->device->fill && session->device->fill(session->state, index))
        return;
    for (unsigned served = 0; queue->started && queue->enabled; served++) {
        int got = queue_next(session, queue);

        if (got == 0 && !virtqueue_enable_kicks(&queue->ring))
            return;
        if (got == 1)
            got = queue_serve_one(session, index);
        if (got == -EAGAIN || served == SERVED_AT_ONCE) {
            queue->busy = true;
            session->waits_for_memory |= got == -EAGAIN;
            return;
        }
        if (got < 0)
            vhost_user_break(session, index);
    }
}

static int queue_start(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    if (queue->started || queue->kick < 0 || !queue->has_addresses)
        return 0;
    int error = virtqueue_attach(&queue->ring, &session->memory, queue->size, &queue->addresses,
                                 session->features);
    if (error)
        return error;
    virtqueue_set_base(&queue->ring, queue->base);
    if (!(session->features & BIT(VHOST_USER_F_PROTOCOL_FEATURES)))
        queue->enabled = true;
    error = record_open(session, index);
    if (error)
        return error;
    queue->started = true;
    signal_fd(queue->kick); // what came before the first kick
    return 0;
}

static void queue_stop(struct vhost_user_session *session, unsigned index) {
    struct vhost_user_queue *queue = &session->queues[index];

    if (queue->started && session->device->drain) {
        while (queue->enabled && queue->replay_next < queue->replay_count) {
            queue_serve(session, index);
            session->device->drain(session->state, index);
        }
        session->device->drain(session->state, index);
    }
    if (queue->started)
        queue->base = virtqueue_base(&queue->ring);
    queue->started = false;
}

static void stop_all(struct vhost_user_session *session) {
    for (unsigned i = 0; i < session->device->queues; i++)
        queue_stop(session, i);
}

// While the memory changes: queues stop and go on where they stood. One whose ring is gone is not
// served any more.
static void pause_all(struct vhost_user_session *session, bool *running) {
    for (unsigned i = 0; i < session->device->queues; i++)
        running[i] = session->queues[i].started;
    stop_all(session);
}

static void resume_all(struct vhost_user_session *session, const bool *running) {
    for (unsigned i = 0; i < session->device->queues; i++)
        if (running[i] && queue_start(session, i) < 0)
            vhost_user_break(session, i);
}

static struct vhost_user_queue *queue_of(struct vhost_user_session *session, uint64_t index) {
    return index < session->device->queues ? &session->queues[index] : NULL;
}

static int get_features(struct vhost_user_session *session, struct vhost_user_message *message) {
    message->value = session->device->features | TRANSPORT_FEATURES;
    message->size = sizeof(message->value);
    return 0;
}

static int set_features(struct vhost_user_session *session, struct vhost_user_message *message) {
    if (message->value & ~(session->device->features | TRANSPORT_FEATURES))
        return -EINVAL;
    session->features = message->value;
    return 0;
}

static int get_protocol_features(struct vhost_user_session *session,
                                 struct vhost_user_message *message) {
    (void)session;
    message->value = PROTOCOL_FEATURES;
    message->size = sizeof(message->value);
    return 0;
}

static int set_protocol_features(struct vhost_user_session *session,
                                 struct vhost_user_message *message) {
    if (message->value & ~PROTOCOL_FEATURES)
        return -EINVAL;
    session->protocol_features = message->value;
    return 0;
}

static int get_queue_num(struct vhost_user_session *session, struct vhost_user_message *message) {
    message->value = session->device->queues;
    message->size = sizeof(message->value);
    return 0;
}

static int get_max_mem_slots(struct vhost_user_session *session,
                             struct vhost_user_message *message) {
    (void)session;
    message->value = VHOST_USER_MEM_SLOTS;
    message->size = sizeof(message->value);
    return 0;
}

static int nothing(struct vhost_user_session *session, struct vhost_user_message *message) {
    (void)session;
    (void)message;
    return 0;
}

static int reset_device(struct vhost_user_session *session, struct vhost_user_message *message) {
    (void)message;
    stop_all(session);
    for (unsigned i = 0; i < session->device->queues; i++)
        session->queues[i].enabled = false;
    return 0;
}

static void remove_memory(struct vhost_user_session *session, size_t slot) {
    size_t last = --session->memory.count;
    const struct guest_region *region = &session->memory.regions[slot];

    if (session->mappings[slot].mapped)
        session->device->unmap(session->device->device, region->host, region->size);
    shared_mapping_destroy(session->mappings[slot].mapping, session->mappings[slot].mapping_size);
    session->mappings[slot] = session->mappings[last];
    session->memory.regions[slot] = session->memory.regions[last];
}

static int add_memory(struct vhost_user_session *session, const struct vhost_user_region *region,
                      int fd) {
    size_t slot = session->memory.count;
    uint64_t end;

    if (slot == VHOST_USER_MEM_SLOTS)
        return -ENOSPC;
    if (fd < 0 || !region->size ||
        __builtin_add_overflow(region->mmap_offset, region->size, &end) ||
        region->guest_address + region->size < region->guest_address ||
        region->user_address + region->size < region->user_address)
        return -EINVAL;
    void *mapping = shared_mapping_create(fd, end, &session->memory_lost);
    if (mapping == MAP_FAILED)
        return -errno;
    session->mappings[slot].user_address = region->user_address;
    session->mappings[slot].mapping = mapping;
    session->mappings[slot].mapping_size = end;
    session->memory.regions[slot] =
        (struct guest_region){.address = region->guest_address,
                              .size = region->size,
                              .host = (uint8_t *)mapping + region->mmap_offset};
    session->mappings[slot].mapped =
        session->device->map &&
        session->device->map(session->device->device, session->memory.regions[slot].host,
                             region->size) == 0;
    session->memory.count++;
    return 0;
}

static int set_mem_table(struct vhost_user_session *session, struct vhost_user_message *message) {
    uint32_t count = message->table.count;
    bool running[VHOST_USER_QUEUES_MAX] = {0};
    int error = 0;

    if (count > VHOST_USER_REGIONS_MAX || count != message->fd_count ||
        message->size < 8 + count * sizeof(struct vhost_user_region))
        return -EINVAL;
    pause_all(session, running);
    while (session->memory.count)
        remove_memory(session, session->memory.count - 1);
    for (uint32_t i = 0; i < count && !error; i++) {
        struct vhost_user_region region = message->table.regions[i];

        error = add_memory(session, &region, message->fds[i]);
    }
    resume_all(session, running);
    return error;
}

static int add_mem_reg(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_region region = message->single.region;

    return add_memory(session, &region, message->fds[0]);
}

static int rem_mem_reg(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_region region = message->single.region;

    for (size_t i = 0; i < session->memory.count; i++) {
        if (session->memory.regions[i].address == region.guest_address &&
            session->memory.regions[i].size == region.size &&
            session->mappings[i].user_address == region.user_address) {
            bool running[VHOST_USER_QUEUES_MAX] = {0};

            pause_all(session, running); // requests may lie in it
            remove_memory(session, i);
            resume_all(session, running);
            return 0;
        }
    }
    return -EINVAL;
}

static int set_vring_num(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_queue *queue = queue_of(session, message->state.index);

    if (!queue || queue->started || !message->state.value ||
        message->state.value > VIRTQUEUE_SIZE_MAX)
        return -EINVAL;
    queue->size = (uint16_t)message->state.value;
    return 0;
}

// Rings are named by the front end's own addresses.
static bool guest_address(const struct vhost_user_session *session, uint64_t user,
                          uint64_t *guest) {
    for (size_t i = 0; i < session->memory.count; i++) {
        uint64_t offset = user - session->mappings[i].user_address;

        if (user >= session->mappings[i].user_address && offset < session->memory.regions[i].size) {
            *guest = session->memory.regions[i].address + offset;
            return true;
        }
    }
    return false;
}

static int set_vring_addr(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_queue *queue = queue_of(session, message->address.index);
    struct virtqueue_addresses addresses;

    if (!queue || queue->started ||
        !guest_address(session, message->address.descriptors, &addresses.descriptors) ||
        !guest_address(session, message->address.available, &addresses.driver) ||
        !guest_address(session, message->address.used, &addresses.device))
        return -EINVAL;
    queue->addresses = addresses;
    queue->has_addresses = true;
    return 0;
}

static int set_vring_base(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_queue *queue = queue_of(session, message->state.index);

    if (!queue || queue->started)
        return -EINVAL;
    queue->base = message->state.value;
    return 0;
}

static int get_vring_base(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_queue *queue = queue_of(session, message->state.index);

    if (!queue)
        return -EINVAL;
    queue_stop(session, message->state.index);
    close_fd(&queue->kick);
    message->state.value = queue->base;
    message->size = sizeof(message->state);
    return 0;
}

static int set_fd(struct vhost_user_session *session, struct vhost_user_message *message,
                  size_t member) {
    struct vhost_user_queue *queue =
        queue_of(session, message->value & VHOST_USER_VRING_INDEX_MASK);

    if (!queue || (message->value & VHOST_USER_VRING_NO_FD ? 0 : 1) != message->fd_count)
        return -EINVAL;
    int *fd = (int *)((uint8_t *)queue + member);
    close_fd(fd);
    *fd = take_fd(message);
    // Another may read it before us, or fill it: neither may stop this thread.
    if (*fd >= 0 && fcntl(*fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

static int set_vring_kick(struct vhost_user_session *session, struct vhost_user_message *message) {
    int error = set_fd(session, message, offsetof(struct vhost_user_queue, kick));

    return error ? error : queue_start(session, message->value & VHOST_USER_VRING_INDEX_MASK);
}

static int set_vring_call(struct vhost_user_session *session, struct vhost_user_message *message) {
    return set_fd(session, message, offsetof(struct vhost_user_queue, call));
}

static int set_vring_err(struct vhost_user_session *session, struct vhost_user_message *message) {
    return set_fd(session, message, offsetof(struct vhost_user_queue, error));
}

static int set_vring_enable(struct vhost_user_session *session,
                            struct vhost_user_message *message) {
    struct vhost_user_queue *queue = queue_of(session, message->state.index);

    if (!queue || message->state.value > 1)
        return -EINVAL;
    queue->enabled = message->state.value;
    if (queue->enabled && queue->started)
        signal_fd(queue->kick);
    return 0;
}

static int get_config(struct vhost_user_session *session, struct vhost_user_message *message) {
    uint8_t config[VHOST_USER_CONFIG_MAX] = {0};
    uint32_t offset = message->config.offset, size = message->config.size;

    // What reaches beyond the device's fields reads as zeros: front ends differ in the length.
    if (size > VHOST_USER_CONFIG_MAX || offset > VHOST_USER_CONFIG_MAX - size ||
        message->size < 12 + size)
        return -EINVAL;
    session->device->read_config(session->device->device, config);
    memcpy(message->config.bytes, config + offset, size);
    message->size = 12 + size;
    return 0;
}

static int map_inflight(struct vhost_user_session *session, int fd,
                        const struct vhost_user_inflight *request, uint64_t size) {
    if (session->inflight)
        shared_mapping_destroy(session->inflight, session->inflight_size);
    session->inflight = NULL;
    void *mapping = shared_mapping_create(fd, size, &session->memory_lost);
    if (mapping == MAP_FAILED)
        return -errno;
    session->inflight = mapping;
    session->inflight_size = size;
    session->inflight_queues = request->queues;
    session->inflight_queue_size = request->queue_size;
    return 0;
}

static bool inflight_fits(const struct vhost_user_session *session,
                          const struct vhost_user_inflight *request) {
    return request->queues && request->queues <= session->device->queues && request->queue_size &&
           request->queue_size <= VIRTQUEUE_SIZE_MAX;
}

static int get_inflight_fd(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_inflight request = message->inflight;
    uint64_t size = request.queues * record_size(session->features, request.queue_size);

    if (!inflight_fits(session, &request))
        return -EINVAL;
    int fd = memfd_create("inflight", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return -errno;
    vhost_user_close_fds(message);
    message->fds[0] = fd; // closed when it is sent
    message->fd_count = 1;
    message->inflight = (struct vhost_user_inflight){
        .mmap_size = size, .queues = request.queues, .queue_size = request.queue_size};
    message->size = sizeof(message->inflight);
    return 0;
}

static int set_inflight_fd(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_inflight request = message->inflight;
    uint64_t size = request.queues * record_size(session->features, request.queue_size);

    if (!inflight_fits(session, &request) || request.mmap_offset || request.mmap_size != size ||
        message->fd_count != 1)
        return -EINVAL;
    stop_all(session);
    return map_inflight(session, message->fds[0], &request, size);
}

static const struct {
    int (*answer)(struct vhost_user_session *session, struct vhost_user_message *message);
    uint32_t size; // of the payload, at least
    bool replies;
} answers[VHOST_USER_REQUESTS] = {
    [VHOST_USER_GET_FEATURES] = {get_features, 0, true},
    [VHOST_USER_SET_FEATURES] = {set_features, 8, false},
    [VHOST_USER_SET_OWNER] = {nothing, 0, false},
    [VHOST_USER_RESET_OWNER] = {nothing, 0, false},
    [VHOST_USER_SET_MEM_TABLE] = {set_mem_table, 8, false},
    [VHOST_USER_SET_VRING_NUM] = {set_vring_num, 8, false},
    [VHOST_USER_SET_VRING_ADDR] = {set_vring_addr, 40, false},
    [VHOST_USER_SET_VRING_BASE] = {set_vring_base, 8, false},
    [VHOST_USER_GET_VRING_BASE] = {get_vring_base, 8, true},
    [VHOST_USER_SET_VRING_KICK] = {set_vring_kick, 8, false},
    [VHOST_USER_SET_VRING_CALL] = {set_vring_call, 8, false},
    [VHOST_USER_SET_VRING_ERR] = {set_vring_err, 8, false},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0, true},
    [VHOST_USER_SET_PROTOCOL_FEATURES] = {set_protocol_features, 8, false},
    [VHOST_USER_GET_QUEUE_NUM] = {get_queue_num, 0, true},
    [VHOST_USER_SET_VRING_ENABLE] = {set_vring_enable, 8, false},
    [VHOST_USER_GET_CONFIG] = {get_config, 12, true},
    [VHOST_USER_GET_INFLIGHT_FD] = {get_inflight_fd, 20, true},
    [VHOST_USER_SET_INFLIGHT_FD] = {set_inflight_fd, 20, false},
    [VHOST_USER_RESET_DEVICE] = {reset_device, 0, false},
    [VHOST_USER_GET_MAX_MEM_SLOTS] = {get_max_mem_slots, 0, true},
    [VHOST_USER_ADD_MEM_REG] = {add_mem_reg, 40, false},
    [VHOST_USER_REM_MEM_REG] = {rem_mem_reg, 40, false},
};

// One message. -errno ends the session.
static int answer(struct vhost_user_session *session, struct vhost_user_message *message) {
    uint32_t request = message->request;
    bool acknowledge = message->flags & VHOST_USER_NEED_REPLY &&
                       session->protocol_features & BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);

    if (request >= VHOST_USER_REQUESTS || !answers[request].answer ||
        message->size < answers[request].size) {
        fprintf(stderr, "%s: request %u of %u bytes is not understood\n", session->device->name,
                request, message->size);
        return -EPROTO;
    }
    int error = answers[request].answer(session, message);
    if (error)
        fprintf(stderr, "%s: request %u is refused: %s\n", session->device->name, request,
                strerror(-error));
    if (!answers[request].replies)
        vhost_user_close_fds(message);
    if (!answers[request].replies && !acknowledge)
        return error;
    if (!answers[request].replies) {
        message->value = error != 0;
        message->size = sizeof(message->value);
    } else if (error) {
        return error;
    }
    message->flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
    error = vhost_user_send(session->socket, message);
    vhost_user_close_fds(message);
    return error;
}

static void drain_fd(int fd) {
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        return; // it is not blocking, or was read by a back end before
}

// Serves what there is. Returns how long the session may sleep then, as poll takes it.
static int serve_busy(struct vhost_user_session *session) {
    bool busy = false;

    session->waits_for_memory = false;
    for (unsigned i = 0; i < session->device->queues; i++) {
        if (session->queues[i].busy)
            queue_serve(session, i);
        busy |= session->queues[i].busy;
    }
    if (session->device->poll && session->device->poll(session->state))
        return 0;
    return !busy ? -1 : session->waits_for_memory ? MEMORY_PAUSE_MS : 0;
}

static int loop(struct vhost_user_session *session) {
    struct pollfd fds[VHOST_USER_QUEUES_MAX + 2];
    unsigned queues = session->device->queues;

    for (;;) {
        int timeout = serve_busy(session);

        if (session->memory_lost)
            return -EFAULT;
        for (unsigned i = 0; i < queues; i++)
            fds[i] = (struct pollfd){.fd = session->queues[i].started && session->queues[i].enabled
                                               ? session->queues[i].kick
                                               : -1,
                                     .events = POLLIN};
        fds[queues] = (struct pollfd){.fd = session->socket, .events = POLLIN};
        fds[queues + 1] = (struct pollfd){
            .fd = session->device->extra_fd ? session->device->extra_fd(session->state) : -1,
            .events = POLLIN};
        int ready = poll(fds, queues + 2, timeout);
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready <= 0)
            continue;
        if (fds[queues + 1].revents)
            session->device->extra(session->state);
        for (unsigned i = 0; i < queues; i++) {
            if (fds[i].revents & POLLIN) {
                drain_fd(fds[i].fd);
                session->queues[i].busy = true;
            }
        }
        if (fds[queues].revents) {
            struct vhost_user_message message;
            int got = vhost_user_receive(session->socket, &message);

            if (got == 1) {
                got = answer(session, &message);
                vhost_user_close_fds(&message);
                if (!got)
                    continue;
            }
            return got;
        }
    }
}

void vhost_user_session_run(const struct vhost_user_device *device, int socket) {
    struct vhost_user_session *session = calloc(1, sizeof(*session));

    if (session) {
        session->device = device;
        session->socket = socket;
        for (unsigned i = 0; i < VHOST_USER_QUEUES_MAX; i++)
            session->queues[i].kick = session->queues[i].call = session->queues[i].error = -1;
        session->state = device->open(session, device->device);
    }
    if (!session || !session->state) {
        fprintf(stderr, "%s: no memory for another session\n", device->name);
    } else {
        int error = loop(session);

        if (error)
            fprintf(stderr, "%s: session ended: %s\n", device->name, strerror(-error));
        stop_all(session);
        device->close(session->state);
    }
    for (unsigned i = 0; session && i < VHOST_USER_QUEUES_MAX; i++) {
        close_fd(&session->queues[i].kick);
        close_fd(&session->queues[i].call);
        close_fd(&session->queues[i].error);
    }
    while (session && session->memory.count)
        remove_memory(session, session->memory.count - 1);
    if (session && session->inflight)
        shared_mapping_destroy(session->inflight, session->inflight_size);
    free(session);
    close(socket);
}
