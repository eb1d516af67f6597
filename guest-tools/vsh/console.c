// SPDX-License-Identifier: BSD-2-Clause
// Bytes between the terminal, in raw mode, and a stream.
#include "console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "terminal.h"

enum { OPEN_CONSOLE = 201, DETACH = 0x1d, CHUNK = 1024 };

static void show(const struct xdr_reader *payload) {
    const uint8_t *at = payload->at;

    while (at < payload->end) {
        ssize_t n = write(STDOUT_FILENO, at, (size_t)(payload->end - at));
        if (n < 0 && errno != EINTR) {
            return;
        }
        at += n > 0 ? n : 0;
    }
}

// False: the stream has come to its end, or virtd has.
static bool show_what_came(struct client *client, uint32_t serial, bool *lost) {
    struct packet packet;
    struct xdr_reader payload;
    int got;

    while ((got = client_receive(client, false, &packet, &payload)) > 0) {
        if (packet.type != PACKET_STREAM || packet.serial != serial) {
            continue;
        }
        if (packet.status != PACKET_CONTINUE || payload.at == payload.end) {
            return false;
        }
        show(&payload);
    }
    *lost = got < 0;
    return got == 0;
}

// False: Ctrl-] or no terminal any more.
static bool send_what_was_typed(struct client *client, uint32_t serial) {
    uint8_t typed[CHUNK];
    ssize_t n = read(STDIN_FILENO, typed, sizeof(typed));

    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    const uint8_t *detach = memchr(typed, DETACH, (size_t)n);
    size_t length = detach ? (size_t)(detach - typed) : (size_t)n;
    if (length) {
        client_send_stream(client, OPEN_CONSOLE, serial, PACKET_CONTINUE, typed, length);
    }
    return !detach;
}

enum console_end console_attach(struct client *client, const struct domain_name *domain) {
    struct buffer arguments = {0};
    struct xdr_reader reply;
    struct pollfd fds[] = {{.fd = client->fd, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    enum console_end end = CONSOLE_ENDED;
    bool lost = false;

    put_domain_name(&arguments, domain);
    xdr_put_optional_string(&arguments, NULL);
    xdr_put_u32(&arguments, 0);
    bool opened = client_call(client, OPEN_CONSOLE, &arguments, &reply);
    buffer_free(&arguments);
    if (!opened) {
        return CONSOLE_FAILED;
    }
    uint32_t serial = client->serial;
    terminal_raw(true);
    while (show_what_came(client, serial, &lost)) {
        if (poll(fds, 2, -1) > 0 && fds[1].revents && !send_what_was_typed(client, serial)) {
            end = CONSOLE_DETACHED;
            break;
        }
    }
    terminal_raw(false);
    if (lost) {
        return CONSOLE_LOST;
    }
    client_send_stream(client, OPEN_CONSOLE, serial, PACKET_OK, NULL, 0);
    return end;
}
