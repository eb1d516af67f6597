// SPDX-License-Identifier: BSD-2-Clause
// One thread serves the socket and carries the console; a machine that is being made or taken down
// makes requests wait.
#define _GNU_SOURCE
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "console_log.h"
#include "error.h"
#include "listener.h"
#include "statistics.h"
#include "terminal.h"
#include "vcpu.h"
#include "virtio.h"
#include "virtio_balloon.h"
#include "virtio_channels.h"
#include "virtio_input.h"
#include "vm.h"

#define CLIENTS_MAX 16u
#define LINE_MAX    1024u
#define PATIENCE    1 // seconds for a client to take an answer

struct client {
    int fd; // -1: free
    bool events, console;
    uint64_t position; // in the console's log
    int file;          // that came with what was received last, -1: none
    unsigned length;
    char line[LINE_MAX]; // of a request; of a console, what is typed
};

static struct {
    pthread_t thread;
    int listener, event_fds[2]; // events come through a pipe
    int console_fd;             // -1: the console is not ours
    pthread_mutex_t lock;
    struct vm *machine;
    struct console_log log;
    struct client clients[CLIENTS_MAX];
} control = {.listener = -1, .event_fds = {-1, -1}, .lock = PTHREAD_MUTEX_INITIALIZER};

// A file may have come that no request has taken.
static void keep_file(struct client *client, int fd) {
    if (client->file >= 0) {
        close(client->file);
    }
    client->file = fd;
}

static void drop(struct client *client) {
    keep_file(client, -1);
    close(client->fd);
    client->fd = -1;
}

// All or nothing: who does not read loses the connection.
static void answer(struct client *client, const char *text, size_t length) {
    if (client->fd >= 0 && send(client->fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) {
        drop(client);
    }
}

static void print_info(struct vm *vm, FILE *to) {
    fprintf(to, "state=%s\ncpus=%u\nmemory=%" PRIu64 "\n", vm->gate.closed ? "paused" : "running",
            vm_cpus(vm), vm->memory.size);
    for (unsigned i = 0; i < vm_cpus(vm); i++) {
        if (!vcpu_is_parked(&vm->vcpus[i])) {
            fprintf(to, "vcpu.%u.tid=%d\n", i, vm->vcpus[i].tid);
        }
    }
    for (unsigned i = 0; i < vm->devices.count; i++) {
        if (vm->devices.all[i]->id) {
            fprintf(to, "device=%s\n", vm->devices.all[i]->id);
        }
    }
    if (vm->devices.channels) {
        virtio_channels_print(vm->devices.channels, to);
    }
}

// Those inside the gate may be waiting for the console to be read.
static void carry_console(void) {
    if (control.console_fd >= 0 && !console_log_take(&control.log, control.console_fd)) {
        close(control.console_fd);
        control.console_fd = -1;
    }
}

// A request: NULL, or why it is refused.
static const char *info(struct vm *vm, const char *argument, FILE *to) {
    (void)argument;
    print_info(vm, to);
    return NULL;
}

static const char *statistics(struct vm *vm, const char *argument, FILE *to) {
    (void)argument;
    statistics_print(vm, to);
    return NULL;
}

static const char *pause_machine(struct vm *vm, const char *argument, FILE *to) {
    (void)argument, (void)to;
    vm_pause(vm, carry_console);
    control_event("paused");
    return NULL;
}

static const char *resume(struct vm *vm, const char *argument, FILE *to) {
    (void)argument, (void)to;
    vm_resume(vm);
    control_event("resumed");
    return NULL;
}

static const char *press_power_button(struct vm *vm, const char *argument, FILE *to) {
    (void)argument, (void)to;
    vm_press_power_button(vm);
    return NULL;
}

static const char *reset(struct vm *vm, const char *argument, FILE *to) {
    (void)argument, (void)to;
    vm_end(vm, VM_RESET);
    return NULL;
}

static const char *inject_nmi(struct vm *vm, const char *argument, FILE *to) {
    // SDM vol. 3, 11.11: a message to all, whose delivery mode is NMI.
    const struct kvm_msi nmi = {.address_lo = 0xfeeff000, .data = 4 << 8};

    (void)argument, (void)to;
    return ioctl(vm->fd, KVM_SIGNAL_MSI, &nmi) < 0 ? strerror(errno) : NULL;
}

static const char *end(struct vm *vm, const char *argument, FILE *to) {
    (void)argument, (void)to;
    vm_end(vm, VM_ENDED);
    return NULL;
}

static const char *set_balloon(struct vm *vm, const char *argument, FILE *to) {
    char *rest;
    uint64_t bytes = strtoull(argument, &rest, 10);

    (void)to;
    if (!vm->devices.balloon) {
        return "the machine has no balloon";
    }
    if (rest == argument || *rest || bytes > vm->memory.size) {
        return "not a number of bytes up to the machine's memory";
    }
    vm->options->balloon.bytes = vm->memory.size - bytes; // after a reset too
    virtio_balloon_resize(vm->devices.balloon, vm->memory.size - bytes);
    return NULL;
}

// Milliseconds, then the keys.
static const char *press_keys(struct vm *vm, const char *argument, FILE *to) {
    uint16_t keys[KEYS_MAX];
    unsigned count = 0;
    char *rest;
    unsigned long hold = strtoul(argument, &rest, 10);

    (void)to;
    for (; *rest == ' ' && count < KEYS_MAX; count++) {
        unsigned long key = strtoul(rest, &rest, 10);

        if (key < 1 || key >= KEYS_END) {
            return "the keyboard has no such key";
        }
        keys[count] = (uint16_t)key;
    }
    if (*rest || !count || hold > UINT32_MAX) {
        return "not a number of milliseconds and from one to 16 keys";
    }
    if (!vm->devices.keyboard) {
        return "the machine has no keyboard";
    }
    return virtio_input_type(vm->devices.keyboard, keys, count, (uint32_t)hold)
               ? NULL
               : "the guest does not take keys";
}

static const char *set_cpus(struct vm *vm, const char *argument, FILE *to) {
    char *rest;
    unsigned long count = strtoul(argument, &rest, 10);

    (void)to;
    return vm_set_cpus(vm, *rest || count > vm->cpus ? 0 : (unsigned)count);
}

static const char *remove_device(struct vm *vm, const char *argument, FILE *to) {
    (void)to;
    return devices_remove(vm, argument);
}

// A request whose file may have come with it.
static const char *plug(struct client *client, const char *argument,
                        const char *(*add)(struct vm *vm, char *argument, int fd)) {
    char *copy = strdup(argument);
    const char *refusal = copy ? add(control.machine, copy, client->file) : "out of memory";

    if (refusal) {
        free(copy);
    } else {
        client->file = -1;
    }
    return refusal;
}

static void obey(struct client *client, char *line) {
    static const struct {
        const char *name;
        const char *(*function)(struct vm *vm, const char *argument, FILE *to);
    } requests[] = {
        {"info", info},
        {"statistics", statistics},
        {"pause", pause_machine},
        {"resume", resume},
        {"power-button", press_power_button},
        {"reset", reset},
        {"nmi", inject_nmi},
        {"balloon", set_balloon},
        {"keys", press_keys},
        {"cpus", set_cpus},
        {"remove-device", remove_device},
        {"kill", end},
    };
    const char *argument = line + strcspn(line, " "), *refusal = "unknown request";
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    bool runs = control.machine && control.machine->outcome == VM_RUNNING;

    if (!to) {
        drop(client);
        return;
    }
    if (*argument) {
        line[argument++ - line] = '\0';
    }
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (strcmp(line, requests[i].name) == 0) {
            refusal = runs ? requests[i].function(control.machine, argument, to)
                           : "the machine has ended";
        }
    }
    if (strcmp(line, "events") == 0) {
        client->events = true;
        refusal = NULL;
    } else if (strcmp(line, "add-disk") == 0 && runs) {
        refusal = plug(client, argument, devices_add_disk);
    } else if (strcmp(line, "add-net") == 0 && runs) {
        refusal = plug(client, argument, devices_add_net);
    } else if (strcmp(line, "console") == 0) {
        client->console = control.console_fd >= 0;
        client->position = console_log_start(&control.log);
        refusal = client->console ? NULL : "the console is not the socket's";
    }
    if (refusal) {
        fprintf(to, "error: %s\n", refusal);
    } else {
        fputs("ok\n", to);
    }
    fclose(to);
    answer(client, text, length);
    free(text);
}

static void obey_lines(struct client *client) {
    char *newline;

    while (client->fd >= 0 && !client->console &&
           (newline = memchr(client->line, '\n', client->length))) {
        char line[LINE_MAX];
        size_t length = (size_t)(newline - client->line);

        memcpy(line, client->line, length);
        line[length] = '\0';
        client->length -= (unsigned)length + 1;
        memmove(client->line, newline + 1, client->length);
        obey(client, line);
    }
}

// To the console, as much as it takes.
static void type(struct client *client) {
    ssize_t done = write(control.console_fd, client->line, client->length);

    if (done > 0) {
        client->length -= (unsigned)done;
        memmove(client->line, client->line + done, client->length);
    }
}

static void receive(struct client *client) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } extra;
    struct iovec into = {client->line + client->length, LINE_MAX - client->length};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &extra,
                             .msg_controllen =
                                 CMSG_LEN(sizeof(int))}; // of one: the padding has room for another
    ssize_t got = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC);

    if (got >= 0 && CMSG_FIRSTHDR(&message) && extra.header.cmsg_type == SCM_RIGHTS) {
        int fd;

        memcpy(&fd, CMSG_DATA(&extra.header), sizeof(fd));
        keep_file(client, fd);
    }
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            drop(client);
        }
        return;
    }
    client->length += (unsigned)got;
    obey_lines(client);
    if (client->fd >= 0 && !client->console && client->length == LINE_MAX) {
        drop(client); // no request is as long
    }
}

static void accept_client(void) {
    const struct timeval patience = {.tv_sec = PATIENCE};
    int fd = accept4(control.listener, NULL, NULL, SOCK_CLOEXEC);

    for (unsigned i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
        if (control.clients[i].fd < 0) {
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
            control.clients[i] = (struct client){.fd = fd, .file = -1};
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

// False: there will be no more events.
static bool pass_on_events(void) {
    static char names[LINE_MAX]; // the last one's rest may be in the pipe still
    static size_t length;
    char text[LINE_MAX + sizeof("event ")], *end;
    ssize_t got = read(control.event_fds[0], names + length, sizeof(names) - length);

    if (got <= 0) {
        return got < 0;
    }
    length += (size_t)got;
    while ((end = memchr(names, '\n', length))) {
        size_t size = (size_t)(end + 1 - names);
        int count = snprintf(text, sizeof(text), "event %.*s", (int)size, names);

        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
            if (control.clients[i].events) {
                answer(&control.clients[i], text, (size_t)count);
            }
        }
        length -= size;
        memmove(names, end + 1, length);
    }
    return true;
}

static short client_events(const struct client *client) {
    bool behind = client->console && client->position < control.log.end;

    return (short)((client->length < LINE_MAX ? POLLIN : 0) | (behind ? POLLOUT : 0));
}

static void serve_client(struct client *client, short events) {
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        receive(client);
    }
    if (client->fd < 0 || !client->console) {
        return;
    }
    if (client->length && control.console_fd >= 0) {
        type(client);
    }
    if (!console_log_send(&control.log, client->fd, &client->position)) {
        drop(client);
    }
}

static void *run(void *argument) {
    enum { LISTENER = CLIENTS_MAX, EVENTS, CONSOLE, ALL };
    struct pollfd fds[ALL];
    bool going_on = true;

    (void)argument;
    while (going_on) {
        bool typing = false;

        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
            const struct client *client = &control.clients[i];

            fds[i] = (struct pollfd){.fd = client->fd, .events = client_events(client)};
            typing |= client->fd >= 0 && client->console && client->length;
        }
        fds[LISTENER] = (struct pollfd){.fd = control.listener, .events = POLLIN};
        fds[EVENTS] = (struct pollfd){.fd = control.event_fds[0], .events = POLLIN};
        fds[CONSOLE] = (struct pollfd){.fd = control.console_fd,
                                       .events = (short)(POLLIN | (typing ? POLLOUT : 0))};
        if (poll(fds, ALL, -1) < 0 && errno != EINTR) {
            fatal_errno("poll");
        }
        pthread_mutex_lock(&control.lock);
        carry_console();
        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
            if (control.clients[i].fd >= 0) {
                serve_client(&control.clients[i], fds[i].revents);
            }
        }
        if (fds[EVENTS].revents) {
            going_on = pass_on_events();
        }
        if (fds[LISTENER].revents) {
            accept_client();
        }
        pthread_mutex_unlock(&control.lock);
    }
    return NULL;
}

void control_open(struct options *options) {
    sigset_t all, before;

    if (!options->api_socket) {
        return;
    }
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        control.clients[i] = (struct client){.fd = -1, .file = -1};
    }
    control.console_fd = terminal_controller();
    control.listener = listener_open("--api-socket", options->api_socket, CLIENTS_MAX);
    if (pipe2(control.event_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        fatal_errno("pipe");
    }
    sigfillset(&all); // signals are the main thread's
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&control.thread, NULL, run, NULL);
    if (errno) {
        fatal_errno("cannot start the thread of %s", options->api_socket);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void control_hold(void) {
    pthread_mutex_lock(&control.lock);
}

void control_release(struct vm *vm) {
    control.machine = vm;
    pthread_mutex_unlock(&control.lock);
}

void control_event(const char *name) {
    char line[LINE_MAX];
    int length = snprintf(line, sizeof(line), "%s\n", name);

    // A pipe that is full has hundreds of events that nobody is there to hear.
    if (control.event_fds[1] >= 0 && write(control.event_fds[1], line, (size_t)length) < 0) {
        return;
    }
}

void control_close(void) {
    if (control.event_fds[1] < 0) {
        return;
    }
    close(control.event_fds[1]); // the thread ends when it has read what is in the pipe
    pthread_join(control.thread, NULL);
}
