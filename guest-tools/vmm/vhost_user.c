// SPDX-License-Identifier: BSD-2-Clause
// Starting and stopping rings, and starting again with a new back end.
#include "vhost_user.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"
#include "vhost_user_back_end.h"
#include "virtio.h"
#include "vm.h"

#define BIT(number)        (1ull << (number))
#define RECONNECT_PAUSE_MS 10
#define DISMISSAL_MS       100 // between looks whether the machine has ended
// Of the fields for the features below: older back ends refuse to tell more than they know.
#define BLOCK_CONFIG_SIZE (offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 1)
#define PACKED_START      0x80008000u // SET_VRING_BASE: both at 0, wrap counters 1

#define RING_FEATURES                                                                              \
    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC))

struct vhost_user {
    struct virtio_device device;
    pthread_mutex_t lock; // of what follows
    struct back_end back_end;
    bool started;    // the driver's queues are, or are to be, served
    int inflight_fd; // -1: none
    struct vhost_user_inflight inflight;
    uint8_t config[VHOST_USER_CONFIG_MAX];
    unsigned served;          // queues that the back end serves; a control queue is behind them
    unsigned pairs;           // of a network device's queues that the driver uses
    struct virtqueue control; // served here
    bool controlled;          // it is
    struct virtqueue_buffer buffer; // of the control queue
    pthread_t watcher;
    int wake_fd; // eventfd: the watcher has something to look at
    bool ending;
};

static void signal_fd(int fd) {
    const uint64_t one = 1;

    // It can only fail by being signalled already.
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        return;
    }
}

static int read_device_config(struct vhost_user *front) {
    struct vhost_user_message message = {.request = VHOST_USER_GET_CONFIG,
                                         .size = 12 + front->device.class->config_size,
                                         .config = {.size = front->device.class->config_size}};

    if (!(front->back_end.protocol_features & BIT(VHOST_USER_PROTOCOL_F_CONFIG))) {
        return 0;
    }
    int error = back_end_ask(&front->back_end, &message, true);
    if (!error && message.size < 12 + front->device.class->config_size) {
        error = -EPROTO; // how some say that it is too much
    }
    if (!error) {
        memcpy(front->config, message.config.bytes, front->device.class->config_size);
    }
    return error;
}

static int share_memory(struct vhost_user *front) {
    const struct guest_memory *memory = &front->device.vm->memory;
    const struct guest_memory_map *map = &front->device.vm->memory_map;
    struct vhost_user_message message = {
        .request = VHOST_USER_SET_MEM_TABLE,
        .size = (uint32_t)(8 + map->count * sizeof(struct vhost_user_region)),
        .fd_count = (unsigned)map->count};

    message.table.count = (uint32_t)map->count;
    for (size_t i = 0; i < map->count; i++) {
        const struct guest_region *region = &map->regions[i];

        message.fds[i] = memory->fd;
        message.table.regions[i] =
            (struct vhost_user_region){.guest_address = region->address,
                                       .size = region->size,
                                       .user_address = (uintptr_t)region->host,
                                       .mmap_offset = (uint64_t)(region->host - memory->host)};
    }
    return back_end_ask(&front->back_end, &message, false);
}

// The record of what is in flight is kept here, so that it outlives the back end.
static int share_inflight(struct vhost_user *front) {
    if (!(front->back_end.protocol_features & BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))) {
        return 0;
    }
    if (front->inflight_fd < 0) {
        struct vhost_user_message message = {
            .request = VHOST_USER_GET_INFLIGHT_FD,
            .size = sizeof(message.inflight),
            .inflight = {.queues = (uint16_t)front->served,
                         .queue_size = front->device.class->queue_size}};
        int error = back_end_ask(&front->back_end, &message, true);

        if (error) {
            return error;
        }
        if (message.fd_count != 1) {
            vhost_user_close_fds(&message);
            return -EPROTO;
        }
        front->inflight_fd = message.fds[0];
        front->inflight = message.inflight;
        front->inflight.queues = (uint16_t)front->served;
        front->inflight.queue_size = front->device.class->queue_size;
    }
    struct vhost_user_message message = {.request = VHOST_USER_SET_INFLIGHT_FD,
                                         .size = sizeof(message.inflight),
                                         .inflight = front->inflight,
                                         .fds = {front->inflight_fd},
                                         .fd_count = 1};
    return back_end_ask(&front->back_end, &message, false);
}

// A back end's successor goes on behind what was given back (2.7.8: the used ring's index). Where a
// packed ring stands only the record says.
static uint32_t ring_base(const struct vhost_user *front, const struct virtio_queue *queue) {
    if (front->device.driver_features & BIT(VIRTIO_F_RING_PACKED)) {
        return PACKED_START;
    }
    const uint16_t *used =
        guest_memory_whole(&front->device.vm->memory_map, queue->addresses.device, 4);

    return used ? __atomic_load_n(&used[1], __ATOMIC_ACQUIRE) : 0;
}

static int enable_ring(struct vhost_user *front, unsigned index) {
    bool enabled = front->device.class->id != VIRTIO_ID_NET || index / 2 < front->pairs;

    return front->back_end.protocol_features
               ? back_end_tell_ring(&front->back_end, VHOST_USER_SET_VRING_ENABLE, index, enabled)
               : 0;
}

static int start_ring(struct vhost_user *front, unsigned index) {
    const struct virtio_queue *queue = &front->device.queues[index];
    const struct guest_memory_map *map = &front->device.vm->memory_map;
    uint64_t descriptors = (uintptr_t)guest_memory_whole(map, queue->addresses.descriptors, 1);
    uint64_t driver = (uintptr_t)guest_memory_whole(map, queue->addresses.driver, 1);
    uint64_t device = (uintptr_t)guest_memory_whole(map, queue->addresses.device, 1);
    struct vhost_user_message message = {
        .request = VHOST_USER_SET_VRING_ADDR,
        .size = sizeof(message.address),
        .address = {
            .index = index, .descriptors = descriptors, .available = driver, .used = device}};

    if (!descriptors || !driver || !device) {
        return -EFAULT;
    }
    int error = back_end_tell_ring(&front->back_end, VHOST_USER_SET_VRING_NUM, index, queue->size);
    error = error ? error
                  : back_end_tell_ring(&front->back_end, VHOST_USER_SET_VRING_BASE, index,
                                       ring_base(front, queue));
    error = error ? error : back_end_ask(&front->back_end, &message, false);
    error = error ? error
                  : back_end_tell_fd(&front->back_end, VHOST_USER_SET_VRING_CALL, index,
                                     virtio_call_fd(&front->device, index));
    error = error ? error
                  : back_end_tell_fd(&front->back_end, VHOST_USER_SET_VRING_KICK, index,
                                     queue->kick_fd);
    return error ? error : enable_ring(front, index);
}

static int start_rings(struct vhost_user *front) {
    // Some features are between the driver and this program only.
    uint64_t features = (front->device.driver_features | BIT(VHOST_USER_F_PROTOCOL_FEATURES)) &
                        front->back_end.features;
    int error = back_end_tell(&front->back_end, VHOST_USER_SET_FEATURES, features);

    error = error ? error : share_memory(front);
    error = error ? error : share_inflight(front);
    for (unsigned i = 0; !error && i < front->served; i++) {
        if (front->device.queues[i].enabled) {
            error = start_ring(front, i);
        }
    }
    // An interrupt may have died with the back end that was about to raise it: to look once more
    // costs the driver nothing.
    for (unsigned i = 0; !error && i < front->device.queue_count; i++) {
        signal_fd(virtio_call_fd(&front->device, i));
    }
    return error;
}

// 5.1.2: where the control queue is depends on what was negotiated.
static int start_control(struct vhost_user *front) {
    const struct virtio_device *device = &front->device;
    bool several = device->driver_features & BIT(VIRTIO_NET_F_MQ);
    const struct virtio_queue *queue;

    front->pairs = 1;
    front->served = several ? device->queue_count - 1 : 2;
    queue = &device->queues[front->served];
    if (!(device->driver_features & BIT(VIRTIO_NET_F_CTRL_VQ)) || !queue->enabled) {
        return 0;
    }
    int error = virtqueue_attach(&front->control, &device->vm->memory_map, queue->size,
                                 &queue->addresses, device->driver_features);
    front->controlled = !error;
    signal_fd(front->wake_fd); // the watcher looks for its kicks
    return error;
}

// A back end that has gone touches nothing any more; any other may have requests under way.
static void dismiss(const struct vhost_user *front) {
    struct pollfd fd = {.fd = front->back_end.socket};

    back_end_dismiss(&front->back_end);
    while (fd.fd >= 0 && front->device.vm->outcome == VM_RUNNING &&
           poll(&fd, 1, DISMISSAL_MS) != 1) {
    }
}

static int start(struct virtio_device *device) {
    struct vhost_user *front = (struct vhost_user *)device;
    int error = 0;

    pthread_mutex_lock(&front->lock);
    front->started = true;
    if (device->class->id == VIRTIO_ID_NET) {
        error = start_control(front);
    }
    if (!error && front->back_end.socket >= 0) {
        error = start_rings(front);
    }
    if (back_end_is_gone(error)) {
        error = 0; // the back end went just now: its successor starts the rings
    }
    if (error) {
        front->started = front->controlled = false;
        dismiss(front); // some rings may have been started
    }
    pthread_mutex_unlock(&front->lock);
    return error;
}

static void stop(struct virtio_device *device) {
    struct vhost_user *front = (struct vhost_user *)device;

    pthread_mutex_lock(&front->lock);
    front->started = front->controlled = false;
    for (unsigned i = 0; front->back_end.socket >= 0 && i < front->served; i++) {
        struct vhost_user_message message = {.request = VHOST_USER_GET_VRING_BASE,
                                             .size = sizeof(message.state),
                                             .state = {.index = i}};

        if (device->queues[i].enabled && back_end_ask(&front->back_end, &message, true)) {
            dismiss(front);
            break;
        }
    }
    if (front->inflight_fd >= 0) {
        close(front->inflight_fd);
    }
    front->inflight_fd = -1;
    pthread_mutex_unlock(&front->lock);
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    memcpy(data, ((struct vhost_user *)device)->config + offset, length);
}

static bool is_ending(const struct vhost_user *front) {
    return __atomic_load_n(&front->ending, __ATOMIC_SEQ_CST);
}

// False where there is none, or one that cannot go on.
static bool reconnect(struct vhost_user *front) {
    int error = -ENOENT;

    pthread_mutex_lock(&front->lock);
    if (back_end_connect(&front->back_end, false)) {
        error = back_end_introduce(&front->back_end, front->served);

        if (!error && front->device.driver_features & (RING_FEATURES | BIT(VIRTIO_F_RING_PACKED)) &
                          ~front->back_end.features) {
            error = -EOPNOTSUPP;
        }
        if (!error && front->started) {
            error = start_rings(front);
        }
        if (error) {
            if (!back_end_is_gone(error)) {
                warning("%s: the new back end cannot go on: %s", front->back_end.path,
                        strerror(-error));
            }
            back_end_dismiss(&front->back_end);
        } else {
            warning("%s: a new back end goes on", front->back_end.path);
        }
    }
    pthread_mutex_unlock(&front->lock);
    return !error;
}

// 5.1.6.5.5: how many pairs of queues the driver uses, the only thing to be controlled.
static uint8_t control(struct vhost_user *front) {
    const unsigned most = (front->device.queue_count - 1) / 2;
    uint8_t request[4] = {0};

    virtqueue_read(&front->buffer, 0, request, sizeof(request));
    unsigned pairs = request[2] | request[3] << 8;
    if (request[0] != VIRTIO_NET_CTRL_MQ || request[1] != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET ||
        !pairs || pairs > most || front->served < 2 * most) {
        return VIRTIO_NET_ERR;
    }
    front->pairs = pairs;
    // A back end that has just gone is told when its successor starts.
    for (unsigned i = 0; front->back_end.socket >= 0 && i < front->served; i++) {
        if (front->device.queues[i].enabled && enable_ring(front, i)) {
            break;
        }
    }
    return VIRTIO_NET_OK;
}

// Returns where the next kick comes. -1: there is no control queue now.
static int serve_control(struct vhost_user *front) {
    const struct virtio_device *device = &front->device;

    pthread_mutex_lock(&front->lock);
    while (front->controlled) {
        int got = virtqueue_pop(&front->control, &front->buffer);

        if (got == 0 && !virtqueue_enable_kicks(&front->control)) {
            break;
        }
        if (got < 0) {
            front->controlled = false;
            virtio_needs_reset(&front->device);
        }
        if (got != 1) {
            continue;
        }
        uint8_t status = control(front);
        virtqueue_push(&front->control, &front->buffer,
                       virtqueue_write(&front->buffer, 0, &status, sizeof(status)));
        if (virtqueue_must_signal(&front->control)) {
            signal_fd(virtio_call_fd(device, front->served));
        }
    }
    int kick_fd = front->controlled ? device->queues[front->served].kick_fd : -1;
    pthread_mutex_unlock(&front->lock);
    return kick_fd;
}

// Waits for a hang-up, for wake_fd, or a kick of the control queue (-1: none). What can be read is
// for who asked.
static bool hung_up(struct vhost_user *front, int control_fd) {
    uint64_t kicks;
    struct pollfd fds[3] = {{.fd = front->back_end.socket, .events = 0},
                            {.fd = front->wake_fd, .events = POLLIN},
                            {.fd = control_fd, .events = POLLIN}};
    int ready = poll(fds, 3, -1);

    for (unsigned i = 1; ready > 0 && i < 3; i++) {
        if (fds[i].revents && read(fds[i].fd, &kicks, sizeof(kicks)) < 0) {
            return false;
        }
    }
    return ready > 0 && fds[0].revents;
}

static void *watch(void *argument) {
    struct vhost_user *front = argument;
    int control_fd = -1;

    while (!is_ending(front)) {
        int before = control_fd;

        control_fd = serve_control(front);
        if (before != control_fd) {
            signal_fd(before); // the back end's queue now, whose kick may have been taken here
        }
        if (front->back_end.socket >= 0) {
            if (!hung_up(front, control_fd)) {
                continue;
            }
            pthread_mutex_lock(&front->lock);
            back_end_disconnect(&front->back_end);
            pthread_mutex_unlock(&front->lock);
        }
        if (!reconnect(front)) {
            usleep(RECONNECT_PAUSE_MS * 1000);
        }
    }
    return NULL;
}

static struct vhost_user *create(struct vm *vm, const struct virtio_class *class, const char *path,
                                 unsigned queues, uint64_t wanted) {
    struct vhost_user *front = calloc(1, sizeof(*front));
    int error = 0;

    if (!front) {
        fatal("out of memory");
    }
    front->back_end.path = path;
    front->inflight_fd = -1;
    pthread_mutex_init(&front->lock, NULL);
    front->served = queues;
    front->device = (struct virtio_device){.class = class, .vm = vm, .queue_count = queues};
    // When the machine is made, its back ends may be starting.
    if (!back_end_connect(&front->back_end, !vm->vcpus)) {
        error = -errno;
    }
    error = error ? error : back_end_introduce(&front->back_end, front->served);
    error = error ? error : read_device_config(front);
    // A back end of a disk tells its size.
    if (!error && class->id == VIRTIO_ID_BLOCK &&
        !(front->back_end.protocol_features & BIT(VHOST_USER_PROTOCOL_F_CONFIG))) {
        error = -EPROTONOSUPPORT;
    }
    if (error) {
        back_end_disconnect(&front->back_end);
        free(front);
        errno = -error;
        return NULL;
    }
    front->device.features = front->back_end.features & (wanted | RING_FEATURES);
    return front;
}

static struct virtio_device *finish(struct vhost_user *front) {
    front->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (front->wake_fd < 0) {
        fatal_errno("eventfd");
    }
    virtio_attach(&front->device);
    errno = pthread_create(&front->watcher, NULL, watch, front);
    if (errno) {
        fatal_errno("cannot start the thread that watches %s", front->back_end.path);
    }
    return &front->device;
}

static void destroy(struct virtio_device *device) {
    struct vhost_user *front = (struct vhost_user *)device;

    __atomic_store_n(&front->ending, true, __ATOMIC_SEQ_CST);
    signal_fd(front->wake_fd);
    pthread_join(front->watcher, NULL);
    virtio_detach(device);
    back_end_disconnect(&front->back_end);
    close(front->wake_fd);
    free(front);
}

static const struct virtio_class block_class = {.name = "vhost-user-blk",
                                                .id = VIRTIO_ID_BLOCK,
                                                .pci_class = 0x018000,
                                                .queue_size = 256,
                                                .config_size = BLOCK_CONFIG_SIZE,
                                                .read_config = read_config,
                                                .start = start,
                                                .stop = stop,
                                                .destroy = destroy};

struct virtio_device *vhost_user_block_create(struct vm *vm, const struct disk_options *options) {
    // Not CONFIG_WCE: back ends exist that begin in write-through mode and lose the flushes.
    const uint64_t wanted =
        BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_RO) |
        BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
        BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
    struct vhost_user *front = create(vm, &block_class, options->socket, options->queues,
                                      wanted | (options->packed ? BIT(VIRTIO_F_RING_PACKED) : 0));

    if (!front) {
        return NULL;
    }
    if (!(front->back_end.protocol_features & BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))) {
        front->device.features &= ~BIT(VIRTIO_F_RING_PACKED); // its successor could not go on
    }
    ((struct virtio_blk_config *)front->config)->num_queues = (uint16_t)options->queues;
    return finish(front);
}

static const struct virtio_class net_class = {.name = "vhost-user-net",
                                              .id = VIRTIO_ID_NET,
                                              .pci_class = 0x020000,
                                              .queue_size = 256,
                                              .config_size = sizeof(struct virtio_net_config),
                                              .read_config = read_config,
                                              .start = start,
                                              .stop = stop,
                                              .destroy = destroy};

struct virtio_device *vhost_user_net_create(struct vm *vm, const struct net_options *options) {
    // Offloads whose work a back end may leave to the receiver.
    const uint64_t wanted =
        BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
        BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_HOST_TSO4) |
        BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_MRG_RXBUF);
    struct vhost_user *front = create(vm, &net_class, options->socket, options->queues, wanted);
    struct virtio_net_config *config;

    if (!front) {
        return NULL;
    }
    config = (struct virtio_net_config *)front->config;
    front->device.features |= BIT(VIRTIO_NET_F_MAC);
    memcpy(config->mac, options->mac, sizeof(config->mac));
    if (options->mtu) {
        front->device.features |= BIT(VIRTIO_NET_F_MTU);
        config->mtu = options->mtu;
    }
    if (options->queues > 2) {
        front->device.features |= BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ);
        config->max_virtqueue_pairs = (uint16_t)(options->queues / 2);
        front->device.queue_count++;
    }
    return finish(front);
}
