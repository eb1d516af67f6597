// SPDX-License-Identifier: BSD-2-Clause
// Ports, their clients, and the two control queues on which driver and device tell each other of
// them (5.3.6.2).
#define _GNU_SOURCE
#include "virtio_channels.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "error.h"
#include "listener.h"
#include "virtio_worker.h"
#include "vm.h"

// Port 0 has the first two queues; the control queues lie between them and the others'.
enum { CONTROL_RECEIVE = 2, CONTROL_TRANSMIT = 3 };

#define CHUNK        512u
#define MESSAGE(bit) (1u << (bit))

_Static_assert(2 * (OPTIONS_CHANNELS_MAX + 1) <= VIRTIO_QUEUES_MAX, "a port has two queues");

struct port {
    const struct channel_options *options;
    int client;       // -1: nobody
    bool opened;      // by a program of the guest
    bool blocked;     // what the guest sends waits for the client
    uint32_t sent;    // of the buffer that is being sent
    unsigned waiting; // control messages that the driver shall get
    uint32_t input_length;
    uint8_t input[CHUNK];
};

struct virtio_channels {
    struct virtio_worker worker; // first: it is the device
    unsigned count;
    struct port ports[OPTIONS_CHANNELS_MAX];
};

static unsigned receive_queue(unsigned port) {
    return port ? 2 * port + 2 : 0;
}

static void watch(const struct virtio_channels *channels, unsigned number, int fd,
                  uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = number};

    if (epoll_ctl(channels->worker.extra_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        fatal_errno("epoll_ctl");
    }
}

// While a program of the guest has the port open, a client is listened to as far as there is room;
// while none has, only its end counts.
static void watch_client(const struct virtio_channels *channels, unsigned number) {
    const struct port *port = &channels->ports[number];
    uint32_t events =
        (port->opened && !port->input_length ? EPOLLIN : 0u) | (port->blocked ? EPOLLOUT : 0u);

    if (port->client < 0) {
        return;
    }
    epoll_ctl(channels->worker.extra_fd, EPOLL_CTL_DEL, port->client, NULL);
    if (events || !port->opened) {
        watch(channels, number, port->client, events);
    }
}

// Lets the worker look at a queue when it is done with what it has in its hands.
static void kick(const struct virtio_channels *channels, unsigned queue) {
    const uint64_t one = 1;

    // It can only fail by being signalled already.
    if (write(channels->worker.device.queues[queue].kick_fd, &one, sizeof(one)) < 0) {
        return;
    }
}

static void tell_driver(const struct virtio_channels *channels, struct port *port,
                        unsigned messages) {
    port->waiting |= messages;
    kick(channels, CONTROL_RECEIVE);
}

static void hang_up(struct virtio_channels *channels, unsigned number) {
    struct port *port = &channels->ports[number];

    close(port->client); // and out of the epoll
    port->client = -1;
    port->blocked = false;
    port->sent = 0;
    tell_driver(channels, port, MESSAGE(VIRTIO_CONSOLE_PORT_OPEN));
    kick(channels, receive_queue(number) + 1); // what was blocked
}

static int64_t send_control(struct virtio_channels *channels,
                            const struct virtqueue_buffer *buffer) {
    // In this order: the driver knows a port before its name.
    static const uint16_t order[] = {VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_PORT_NAME,
                                     VIRTIO_CONSOLE_PORT_OPEN};

    for (unsigned i = 0; i < 3 * channels->count; i++) {
        struct port *port = &channels->ports[i / 3];
        struct virtio_console_control message = {
            .id = i / 3,
            .event = order[i % 3],
            .value = order[i % 3] != VIRTIO_CONSOLE_PORT_OPEN || port->client >= 0};

        if (port->waiting & MESSAGE(message.event)) {
            uint32_t written = virtqueue_write(buffer, 0, &message, sizeof(message));

            port->waiting &= ~MESSAGE(message.event);
            if (message.event == VIRTIO_CONSOLE_PORT_NAME) {
                written += virtqueue_write(buffer, written, port->options->name,
                                           (uint32_t)strlen(port->options->name));
            }
            return written;
        }
    }
    return -EAGAIN;
}

static void set_opened(struct port *port, bool opened) {
    char event[64 + sizeof(port->options->name)];

    if (port->opened != opened) {
        port->opened = opened;
        snprintf(event, sizeof(event), "channel-%s %s", opened ? "opened" : "closed",
                 port->options->name);
        control_event(event);
    }
}

static void obey_control(struct virtio_channels *channels, const struct virtqueue_buffer *buffer) {
    struct virtio_console_control message;

    if (virtqueue_read(buffer, 0, &message, sizeof(message)) < sizeof(message)) {
        return;
    }
    if (message.event == VIRTIO_CONSOLE_DEVICE_READY) {
        for (unsigned i = 0; message.value && i < channels->count; i++) {
            tell_driver(channels, &channels->ports[i], MESSAGE(VIRTIO_CONSOLE_PORT_ADD));
        }
    } else if (message.id < channels->count) {
        struct port *port = &channels->ports[message.id];

        if (message.event == VIRTIO_CONSOLE_PORT_READY && message.value) {
            tell_driver(channels, port,
                        MESSAGE(VIRTIO_CONSOLE_PORT_NAME) | MESSAGE(VIRTIO_CONSOLE_PORT_OPEN));
        } else if (message.event == VIRTIO_CONSOLE_PORT_OPEN) {
            set_opened(port, message.value);
            port->input_length = 0; // for the program that has gone
            watch_client(channels, message.id);
        }
    }
}

static int64_t receive(struct virtio_channels *channels, unsigned number,
                       const struct virtqueue_buffer *buffer) {
    struct port *port = &channels->ports[number];

    if (port->input_length == 0) {
        return -EAGAIN;
    }
    uint32_t written = virtqueue_write(buffer, 0, port->input, port->input_length);
    port->input_length -= written;
    memmove(port->input, port->input + written, port->input_length);
    watch_client(channels, number);
    return written;
}

// What nobody is there to read is lost; a client that reads slowly is waited for.
static int64_t transmit(struct virtio_channels *channels, unsigned number,
                        const struct virtqueue_buffer *buffer) {
    struct port *port = &channels->ports[number];
    uint8_t bytes[4096];
    uint32_t length;

    while (port->client >= 0 &&
           (length = virtqueue_read(buffer, port->sent, bytes, sizeof(bytes)))) {
        ssize_t done = send(port->client, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (done >= 0) {
            port->sent += (uint32_t)done;
        } else if (errno == EAGAIN) {
            port->blocked = true;
            watch_client(channels, number);
            return -EAGAIN;
        } else if (errno != EINTR) {
            hang_up(channels, number);
        }
    }
    port->sent = 0;
    return 0;
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    struct virtio_channels *channels = (struct virtio_channels *)worker;
    unsigned number = queue < CONTROL_RECEIVE ? 0 : queue / 2 - 1;

    if (queue % 2 ? buffer->writable : buffer->readable) {
        return -EPROTO;
    }
    if (queue == CONTROL_RECEIVE) {
        return send_control(channels, buffer);
    }
    if (queue == CONTROL_TRANSMIT) {
        obey_control(channels, buffer);
        return 0;
    }
    return queue % 2 ? transmit(channels, number, buffer) : receive(channels, number, buffer);
}

static void serve_client(struct virtio_channels *channels, unsigned number, uint32_t events) {
    struct port *port = &channels->ports[number];

    if (port->blocked && events & (EPOLLOUT | EPOLLHUP)) {
        port->blocked = false;
        watch_client(channels, number);
        virtio_worker_serve(&channels->worker, receive_queue(number) + 1);
    }
    if (port->client < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || port->input_length) {
        return;
    }
    ssize_t got = port->opened ? recv(port->client, port->input, CHUNK, MSG_DONTWAIT) : 0;
    if (got > 0) {
        port->input_length = (uint32_t)got;
        watch_client(channels, number);
        virtio_worker_serve(&channels->worker, receive_queue(number));
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        hang_up(channels, number);
    }
}

static bool has_gone(int client) {
    struct pollfd fd = {.fd = client};

    return poll(&fd, 1, 0) > 0 && fd.revents & (POLLHUP | POLLERR);
}

static void accept_client(struct virtio_channels *channels, unsigned number) {
    struct port *port = &channels->ports[number];
    int client = accept4(port->options->listener, NULL, NULL, SOCK_CLOEXEC);

    if (port->client >= 0 && client >= 0) {
        if (!has_gone(port->client)) {
            close(client);
            return;
        }
        hang_up(channels, number);
    }
    if (client >= 0) {
        port->client = client;
        watch_client(channels, number);
        tell_driver(channels, port, MESSAGE(VIRTIO_CONSOLE_PORT_OPEN));
    }
}

static void look_at_sockets(struct virtio_worker *worker) {
    struct virtio_channels *channels = (struct virtio_channels *)worker;
    struct epoll_event events[2 * OPTIONS_CHANNELS_MAX];
    int count = epoll_wait(worker->extra_fd, events, 2 * OPTIONS_CHANNELS_MAX, 0);

    for (int i = 0; i < count; i++) {
        unsigned number = events[i].data.u32;

        if (number >= OPTIONS_CHANNELS_MAX) {
            accept_client(channels, number - OPTIONS_CHANNELS_MAX);
        } else if (channels->ports[number].client >= 0) {
            serve_client(channels, number, events[i].events);
        }
    }
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    const struct virtio_console_config config = {.max_nr_ports =
                                                     ((struct virtio_channels *)device)->count};

    memcpy(data, (const uint8_t *)&config + offset, length);
}

// The driver knows no port yet.
static int start(struct virtio_device *device) {
    struct virtio_channels *channels = (struct virtio_channels *)device;

    for (unsigned i = 0; i < channels->count; i++) {
        struct port *port = &channels->ports[i];

        set_opened(port, false);
        port->blocked = false;
        port->sent = port->waiting = port->input_length = 0;
        watch_client(channels, i);
    }
    return virtio_worker_start(device);
}

static void destroy(struct virtio_device *device) {
    struct virtio_channels *channels = (struct virtio_channels *)device;

    virtio_detach(device);
    for (unsigned i = 0; i < channels->count; i++) {
        set_opened(&channels->ports[i], false);
        if (channels->ports[i].client >= 0) {
            close(channels->ports[i].client);
        }
    }
    close(channels->worker.extra_fd);
    free(channels);
}

static const struct virtio_class class = {.name = "virtio-serial",
                                          .id = VIRTIO_ID_CONSOLE,
                                          .pci_class = 0x078000,
                                          .queue_size = 64,
                                          .config_size = sizeof(struct virtio_console_config),
                                          .read_config = read_config,
                                          .start = start,
                                          .stop = virtio_worker_stop,
                                          .destroy = destroy};

void virtio_channels_listen(struct options *options) {
    for (unsigned i = 0; i < options->channel_count; i++) {
        options->channels[i].listener = listener_open("--channel", options->channels[i].socket, 1);
    }
}

void virtio_channels_print(const struct virtio_device *device, FILE *to) {
    const struct virtio_channels *channels = (const struct virtio_channels *)device;

    for (unsigned i = 0; i < channels->count; i++) {
        if (channels->ports[i].opened) {
            fprintf(to, "channel=%s\n", channels->ports[i].options->name);
        }
    }
}

struct virtio_device *virtio_channels_create(struct vm *vm, const struct options *options) {
    struct virtio_channels *channels = virtio_worker_create(sizeof(*channels), vm, &class, serve,
                                                            2 * (options->channel_count + 1));

    channels->count = options->channel_count;
    channels->worker.extra = look_at_sockets;
    channels->worker.extra_fd = epoll_create1(EPOLL_CLOEXEC);
    channels->worker.device.features |= 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
    if (channels->worker.extra_fd < 0) {
        fatal_errno("epoll_create1");
    }
    for (unsigned i = 0; i < channels->count; i++) {
        channels->ports[i] = (struct port){.options = &options->channels[i], .client = -1};
        watch(channels, OPTIONS_CHANNELS_MAX + i, options->channels[i].listener, EPOLLIN);
    }
    virtio_attach(&channels->worker.device);
    return &channels->worker.device;
}
