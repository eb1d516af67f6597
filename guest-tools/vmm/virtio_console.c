// SPDX-License-Identifier: BSD-2-Clause
// Moves bytes between the terminal and the driver's two queues.
#include "virtio_console.h"

#include <errno.h>
#include <limits.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "terminal.h"
#include "virtio_worker.h"
#include "vm.h"

enum { RECEIVE, TRANSMIT };

#define INPUT_MAX 512u

struct virtio_console {
    struct virtio_worker worker; // first: it is the device
    bool connected;              // to the terminal; else to nothing
    uint8_t input[INPUT_MAX];
    uint32_t input_length;
};

// Typed bytes go to the driver's next buffer, and wait while it has none.
static int64_t receive(struct virtio_console *console, const struct virtqueue_buffer *buffer) {
    if (buffer->readable || !buffer->writable) {
        return -EPROTO;
    }
    if (console->input_length == 0) {
        return -EAGAIN;
    }
    uint32_t written = virtqueue_write(buffer, 0, console->input, console->input_length);
    console->input_length -= written;
    memmove(console->input, console->input + written, console->input_length);
    return written;
}

// A buffer may have gigabytes, and nobody may read them: the device's end, for which those who read
// may wait themselves, does not wait. A write of PIPE_BUF bytes does not block where there is room.
static int64_t transmit(const struct virtio_console *console,
                        const struct virtqueue_buffer *buffer) {
    struct pollfd fds[] = {{.fd = terminal_output(), .events = POLLOUT},
                           {.fd = console->worker.stop_fd, .events = POLLIN}};

    for (unsigned i = 0; i < buffer->readable; i++) {
        const uint8_t *bytes = buffer->segments[i].iov_base;
        size_t left = buffer->segments[i].iov_len;

        while (left && fds[0].fd >= 0 && (poll(fds, 2, -1) < 0 || !fds[1].revents)) {
            ssize_t done = write(fds[0].fd, bytes, left < PIPE_BUF ? left : PIPE_BUF);

            if (done < 0 && errno != EINTR && errno != EAGAIN) {
                break; // nobody reads: what a pulled cable does
            }
            if (done > 0) {
                bytes += done;
                left -= (size_t)done;
            }
        }
    }
    return 0;
}

static void listen_to_terminal(struct virtio_console *console) {
    console->worker.extra_fd = console->input_length || !console->connected ? -1 : terminal_input();
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    struct virtio_console *console = (struct virtio_console *)worker;

    if (queue == TRANSMIT) {
        return console->connected ? transmit(console, buffer) : 0;
    }
    int64_t written = receive(console, buffer);
    listen_to_terminal(console);
    return written;
}

static void take_input(struct virtio_worker *worker) {
    struct virtio_console *console = (struct virtio_console *)worker;
    size_t count = INPUT_MAX;

    if (terminal_read(console->input, &count) == TERMINAL_ESCAPE) {
        vm_end(console->worker.device.vm, VM_ENDED);
    }
    console->input_length = (uint32_t)count;
    listen_to_terminal(console);
    virtio_worker_serve(worker, RECEIVE);
}

static int start(struct virtio_device *device) {
    listen_to_terminal((struct virtio_console *)device);
    return virtio_worker_start(device);
}

static const struct virtio_class class = {.name = "virtio-console",
                                          .id = VIRTIO_ID_CONSOLE,
                                          .pci_class = 0x078000,
                                          .queue_size = 64,
                                          .start = start,
                                          .stop = virtio_worker_stop,
                                          .destroy = virtio_worker_destroy};

struct virtio_device *virtio_console_create(struct vm *vm, bool connected) {
    struct virtio_console *console = virtio_worker_create(sizeof(*console), vm, &class, serve, 2);

    console->connected = connected;
    console->worker.extra = take_input;
    virtio_attach(&console->worker.device);
    return &console->worker.device;
}
