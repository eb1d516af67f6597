// SPDX-License-Identifier: BSD-2-Clause
// Events wait in a ring until their time has come and the driver has a buffer for them.
#include "virtio_input.h"

#include <errno.h>
#include <linux/input.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "virtio_worker.h"
#include "vm.h"

enum { EVENTS, STATUS };

#define RING      256u // events that wait
#define SECOND_NS 1000000000ull

struct virtio_input {
    struct virtio_worker worker; // first: it is the device; its extra fd is a timer
    struct virtio_input_config config;
    pthread_mutex_t lock; // of what follows
    uint32_t first, count;
    uint64_t last_time; // of the ring's last event, ns
    struct {
        uint64_t time;
        struct virtio_input_event event;
    } ring[RING];
};

static uint64_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

static void wake_at(const struct virtio_input *keyboard, uint64_t time) {
    const struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(time / SECOND_NS), .tv_nsec = (long)(time % SECOND_NS)}};

    timerfd_settime(keyboard->worker.extra_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static int64_t send_event(struct virtio_input *keyboard, const struct virtqueue_buffer *buffer) {
    int64_t written = -EAGAIN;

    pthread_mutex_lock(&keyboard->lock);
    if (keyboard->count && keyboard->ring[keyboard->first].time <= now()) {
        written = virtqueue_write(buffer, 0, &keyboard->ring[keyboard->first].event,
                                  sizeof(struct virtio_input_event));
        keyboard->first = (keyboard->first + 1) % RING;
        keyboard->count--;
    } else if (keyboard->count) {
        wake_at(keyboard, keyboard->ring[keyboard->first].time);
    }
    pthread_mutex_unlock(&keyboard->lock);
    return written;
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    if (queue == STATUS) { // the lights
        return 0;
    }
    return buffer->readable ? -EPROTO : send_event((struct virtio_input *)worker, buffer);
}

static void time_has_come(struct virtio_worker *worker) {
    uint64_t times;

    if (read(worker->extra_fd, &times, sizeof(times)) > 0) {
        virtio_worker_serve(worker, EVENTS);
    }
}

static void add(struct virtio_input *keyboard, uint64_t time, uint16_t type, uint16_t code,
                uint32_t value) {
    uint32_t at = (keyboard->first + keyboard->count++) % RING;

    keyboard->ring[at].time = keyboard->last_time = time;
    keyboard->ring[at].event =
        (struct virtio_input_event){.type = type, .code = code, .value = value};
}

bool virtio_input_type(struct virtio_input *keyboard, const uint16_t *keys, unsigned count,
                       uint32_t hold) {
    bool room;

    pthread_mutex_lock(&keyboard->lock);
    room = keyboard->worker.device.started && keyboard->count + 4 * count <= RING;
    if (room) {
        uint64_t time = now();

        if (keyboard->count && keyboard->last_time > time) {
            time = keyboard->last_time;
        }
        for (unsigned i = 0; i < 2 * count; i++) {
            bool pressed = i < count;

            add(keyboard, time, EV_KEY, keys[pressed ? i : 2 * count - 1 - i], pressed);
            add(keyboard, time, EV_SYN, SYN_REPORT, 0);
            if (i == count - 1) {
                time += hold * 1000000ull;
            }
        }
        wake_at(keyboard, keyboard->ring[keyboard->first].time);
    }
    pthread_mutex_unlock(&keyboard->lock);
    return room;
}

// 5.8.5.2: what the driver selects appears in the union, size says how much of it.
static void select_config(struct virtio_input *keyboard) {
    static const char name[] = "Ashlar keyboard";
    struct virtio_input_config *config = &keyboard->config;

    config->size = 0;
    memset(&config->u, 0, sizeof(config->u));
    if (config->select == VIRTIO_INPUT_CFG_ID_NAME && !config->subsel) {
        config->size = sizeof(name) - 1;
        memcpy(config->u.string, name, sizeof(name) - 1);
    } else if (config->select == VIRTIO_INPUT_CFG_ID_DEVIDS && !config->subsel) {
        config->size = sizeof(config->u.ids);
        config->u.ids.bustype = BUS_VIRTUAL;
    } else if (config->select == VIRTIO_INPUT_CFG_EV_BITS && config->subsel == EV_KEY) {
        config->size = KEYS_END / 8;
        memset(config->u.bitmap, 0xff, KEYS_END / 8);
        config->u.bitmap[0] = 0xfe;
    }
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    memcpy(data, (const uint8_t *)&((struct virtio_input *)device)->config + offset, length);
}

static void write_config(struct virtio_device *device, uint32_t offset, const void *data,
                         uint32_t length) {
    struct virtio_input *keyboard = (struct virtio_input *)device;

    if (offset + length <= offsetof(struct virtio_input_config, size)) {
        memcpy((uint8_t *)&keyboard->config + offset, data, length);
        select_config(keyboard);
    }
}

static int start(struct virtio_device *device) {
    ((struct virtio_input *)device)->count = 0;
    return virtio_worker_start(device);
}

static void destroy(struct virtio_device *device) {
    struct virtio_input *keyboard = (struct virtio_input *)device;

    virtio_detach(device);
    close(keyboard->worker.extra_fd);
    free(keyboard);
}

static const struct virtio_class class = {.name = "virtio-input",
                                          .id = VIRTIO_ID_INPUT,
                                          .pci_class = 0x090000,
                                          .queue_size = 64,
                                          .config_size = sizeof(struct virtio_input_config),
                                          .read_config = read_config,
                                          .write_config = write_config,
                                          .start = start,
                                          .stop = virtio_worker_stop,
                                          .destroy = destroy};

struct virtio_device *virtio_input_create(struct vm *vm) {
    struct virtio_input *keyboard = virtio_worker_create(sizeof(*keyboard), vm, &class, serve, 2);

    pthread_mutex_init(&keyboard->lock, NULL);
    keyboard->worker.extra = time_has_come;
    keyboard->worker.extra_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (keyboard->worker.extra_fd < 0) {
        fatal_errno("timerfd_create");
    }
    virtio_attach(&keyboard->worker.device);
    vm->devices.keyboard = keyboard;
    return &keyboard->worker.device;
}
