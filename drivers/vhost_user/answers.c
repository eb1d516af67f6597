// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE // memfd_create
#include "drivers/vhost_user/answers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/vhost_user/record.h"
#include "drivers/vhost_user/rings.h"
#include "drivers/vhost_user/session_memory.h"
#include "drivers/vhost_user/shared_mapping.h"

#define BIT(number) (1ull << (number))

#define TRANSPORT_FEATURES                                                                         \
    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |   \
     BIT(VHOST_USER_F_PROTOCOL_FEATURES))

#define PROTOCOL_FEATURES                                                                          \
    (BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                        \
     BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |               \
     BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))

static int take_fd(struct vhost_user_message *message) {
    int fd = message->fds[0];

    message->fds[0] = -1;
    return fd;
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
    rings_stop(session);
    for (unsigned i = 0; i < session->device->queues; i++)
        session->queues[i].enabled = false;
    return 0;
}

static int set_mem_table(struct vhost_user_session *session, struct vhost_user_message *message) {
    uint32_t count = message->table.count;
    bool running[VHOST_USER_QUEUES_MAX] = {0};
    int error = 0;

    if (count > VHOST_USER_REGIONS_MAX || count != message->fd_count ||
        message->size < 8 + count * sizeof(struct vhost_user_region))
        return -EINVAL;
    rings_pause(session, running);
    while (session->memory.count)
        session_memory_remove(session, session->memory.count - 1);
    for (uint32_t i = 0; i < count && !error; i++) {
        struct vhost_user_region region = message->table.regions[i];

        error = session_memory_add(session, &region, message->fds[i]);
    }
    rings_resume(session, running);
    return error;
}

static int add_mem_reg(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_region region = message->single.region;

    return session_memory_add(session, &region, message->fds[0]);
}

static int rem_mem_reg(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_region region = message->single.region;

    for (size_t i = 0; i < session->memory.count; i++) {
        if (session->memory.regions[i].address == region.guest_address &&
            session->memory.regions[i].size == region.size &&
            session->mappings[i].user_address == region.user_address) {
            bool running[VHOST_USER_QUEUES_MAX] = {0};

            rings_pause(session, running); // requests may lie in it
            session_memory_remove(session, i);
            rings_resume(session, running);
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

static int set_vring_addr(struct vhost_user_session *session, struct vhost_user_message *message) {
    struct vhost_user_queue *queue = queue_of(session, message->address.index);
    struct virtqueue_addresses addresses;

    if (!queue || queue->started ||
        !session_memory_find(session, message->address.descriptors, &addresses.descriptors) ||
        !session_memory_find(session, message->address.available, &addresses.driver) ||
        !session_memory_find(session, message->address.used, &addresses.device))
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
    ring_stop(session, message->state.index);
    ring_replace_fd(&queue->kick, -1);
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
    ring_replace_fd(fd, take_fd(message));
    // Another may read it before us, or fill it: neither may stop this thread.
    if (*fd >= 0 && fcntl(*fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

static int set_vring_kick(struct vhost_user_session *session, struct vhost_user_message *message) {
    unsigned index = message->value & VHOST_USER_VRING_INDEX_MASK;
    int error = set_fd(session, message, offsetof(struct vhost_user_queue, kick));

    if (error)
        return error;
    session->queues[index].busy = true; // the one before may have had a kick that nobody read
    return ring_start(session, index);
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
    queue->busy = true; // what came before the first kick
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
    if (fd < 0)
        return -errno;
    vhost_user_close_fds(message);
    message->fds[0] = fd; // closed with the message
    message->fd_count = 1;
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
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
    rings_stop(session);
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

int vhost_user_answer(struct vhost_user_session *session, struct vhost_user_message *message) {
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
