// SPDX-License-Identifier: BSD-2-Clause
// A domain's console or channel as a stream: a connection of its own to the monitor.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "call.h"
#include "domain.h"
#include "memory.h"
#include "session.h"
#include "vmm.h"

enum { CHUNK = 16384, TYPED_MAX = 1 << 20, ANSWER_MAX = 128 };

struct console {
    struct stream stream;
    struct watch watch;  // fd -1: the monitor has ended
    struct call *call;   // until the monitor has agreed
    struct buffer typed; // until then its answer
    bool full;           // the client reads slowly: wait for room
};

static struct console *of_watch(struct watch *watch) {
    return (struct console *)((char *)watch - offsetof(struct console, watch));
}

static void hang_up(struct console *console) {
    if (console->watch.fd >= 0) {
        loop_remove(&console->watch);
        close(console->watch.fd);
        console->watch.fd = -1;
    }
}

static void discard(struct console *console) {
    hang_up(console);
    buffer_free(&console->typed);
    free(console);
}

static void closed(struct stream *stream) {
    discard((struct console *)stream);
}

static void listen_again(struct console *console) {
    if (console->watch.fd >= 0) {
        loop_change(&console->watch, (console->full ? 0u : (uint32_t)EPOLLIN) |
                                         (console->typed.length ? (uint32_t)EPOLLOUT : 0u));
    }
}

static void room(struct stream *stream) {
    struct console *console = (struct console *)stream;

    console->full = false;
    listen_again(console);
}

static void type(struct console *console) {
    if (console->watch.fd < 0 || console->typed.length > TYPED_MAX) {
        buffer_free(&console->typed); // nobody there takes it
        return;
    }
    ssize_t n = send(console->watch.fd, console->typed.data, console->typed.length,
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        buffer_consume(&console->typed, (size_t)n);
    }
    listen_again(console);
}

static void received(struct stream *stream, const uint8_t *data, size_t length) {
    struct console *console = (struct console *)stream;

    if (length) {
        buffer_append(&console->typed, data, length);
        type(console);
    }
}

// The stream, and that it is there.
static void begin(struct console *console) {
    struct call *call = console->call;
    struct session *session = session_find(call->session);

    console->stream = (struct stream){.procedure = call->packet.procedure,
                                      .serial = call->packet.serial,
                                      .received = received,
                                      .room = room,
                                      .closed = closed};
    console->call = NULL;
    call_finish(call);
    if (session) {
        stream_open(session, &console->stream);
    } else {
        discard(console);
    }
}

// The monitor's line, byte by byte, for what follows is the console's.
static void take_answer(struct console *console) {
    struct call *call = console->call;
    char byte = '\0';

    while (byte != '\n') {
        ssize_t n = recv(console->watch.fd, &byte, 1, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0 || console->typed.length == ANSWER_MAX) {
            call_fail(call, ERROR_OPERATION_FAILED, "the monitor has ended");
            discard(console);
            return;
        }
        buffer_append(&console->typed, &byte, 1);
    }
    bool agreed = console->typed.length == 3 && memcmp(console->typed.data, "ok", 2) == 0;
    if (!agreed) {
        call_fail(call, ERROR_OPERATION_FAILED, "the domain has no console to attach to");
        discard(console);
        return;
    }
    console->typed.length = 0;
    begin(console);
}

static void ready(struct watch *watch, uint32_t events) {
    struct console *console = of_watch(watch);
    uint8_t bytes[CHUNK];

    if (console->call) {
        take_answer(console);
        return;
    }
    if (events & EPOLLOUT) {
        type(console);
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        return;
    }
    ssize_t n = recv(watch->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n > 0) {
        stream_send(&console->stream, bytes, (size_t)n);
        console->full = !session_has_room(console->stream.session);
        listen_again(console);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        hang_up(console);
        stream_send(&console->stream, NULL, 0);
    }
}

static enum outcome not_running(struct call *call) {
    return call_fail(call, ERROR_OPERATION_INVALID,
                     "Requested operation is not valid: domain is not running");
}

// Carries what is said on the connection, to which the request, where there is one, must be
// answered first.
static enum outcome carry(struct call *call, int fd, const char *request) {
    if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return call_fail(call, ERROR_OPERATION_FAILED, "cannot reach the monitor: %s",
                         strerror(errno));
    }
    struct console *console = allocate(sizeof(*console));
    *console = (struct console){.watch = {.fd = fd, .ready = ready}, .call = call};
    loop_add(&console->watch, EPOLLIN);
    if (!*request) {
        begin(console);
    }
    return CALL_LATER;
}

static enum outcome open_console(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;

    return domain->vmm ? carry(call, vmm_connect(domain), "console\n") : not_running(call);
}

// The first channel where none is named.
static enum outcome open_channel(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;
    const char *name = call->arguments[1].string;

    if (!domain->vmm || domain->vmm->starting) {
        return not_running(call);
    }
    if (call->arguments[2].u) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                         "who has a channel open cannot be disconnected");
    }
    const struct xml *channel = xml_find(domain->live, "devices/channel");
    while (channel && name && strcmp(xml_get(channel, "target@name"), name) != 0) {
        channel = xml_next(channel);
    }
    if (!channel) {
        return call_fail(call, ERROR_INVALID_ARG, "the domain '%s' has no channel '%s'",
                         domain->name, name ? name : "");
    }
    return carry(call, vmm_connect_to(xml_get(channel, "source@path")), "");
}

const struct procedure console_calls[] = {
    {201, ROLE_OPERATOR, "DOMAIN_OPEN_CONSOLE", "Dou", open_console},
    {296, ROLE_OPERATOR, "DOMAIN_OPEN_CHANNEL", "Dou", open_channel},
    {0},
};
