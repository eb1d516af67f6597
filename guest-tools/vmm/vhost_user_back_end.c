// SPDX-License-Identifier: BSD-2-Clause
#include "vhost_user_back_end.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

#define BIT(number)         (1ull << (number))
#define CONNECT_PATIENCE_MS 10000
#define CONNECT_PAUSE_MS    10

#define PROTOCOL_FEATURES                                                                          \
    (BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                        \
     BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))

struct timeval back_end_patience = {.tv_sec = 10};

static int connect_once(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path)) {
        fatal("the socket's path %s is too long", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fatal_errno("socket");
    }
    // Before it connects, too: others may wait where nobody accepts.
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &back_end_patience, sizeof(back_end_patience)) <
            0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &back_end_patience, sizeof(back_end_patience)) <
            0) {
        fatal_errno("setsockopt");
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool back_end_connect(struct back_end *back_end, bool patiently) {
    const struct timespec pause = {.tv_nsec = CONNECT_PAUSE_MS * 1000000};

    back_end->socket = connect_once(back_end->path);
    for (int ms = 0; patiently && back_end->socket < 0; ms += CONNECT_PAUSE_MS) {
        if (ms >= CONNECT_PATIENCE_MS) {
            fatal_errno("cannot connect to the back end at %s", back_end->path);
        }
        nanosleep(&pause, NULL);
        back_end->socket = connect_once(back_end->path);
    }
    return back_end->socket >= 0;
}

void back_end_disconnect(struct back_end *back_end) {
    if (back_end->socket >= 0) {
        close(back_end->socket);
    }
    back_end->socket = -1;
}

void back_end_dismiss(const struct back_end *back_end) {
    shutdown(back_end->socket, SHUT_WR);
}

bool back_end_is_gone(int error) {
    return error == -EPIPE || error == -ECONNRESET;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// A socket's own time to receive begins anew with each signal.
static bool is_answered(const struct back_end *back_end) {
    struct pollfd fd = {.fd = back_end->socket, .events = POLLIN};
    int64_t left = back_end_patience.tv_sec * 1000 + back_end_patience.tv_usec / 1000;
    int64_t deadline = now_ms() + left;
    int ready;

    while ((ready = poll(&fd, 1, left > 0 ? (int)left : 0)) < 0 && errno == EINTR) {
        left = deadline - now_ms();
    }
    return ready != 0;
}

int back_end_ask(struct back_end *back_end, struct vhost_user_message *message, bool answered) {
    uint32_t request = message->request;
    bool acknowledged =
        !answered && back_end->protocol_features & BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);

    message->flags = VHOST_USER_VERSION | (acknowledged ? VHOST_USER_NEED_REPLY : 0);
    int got = vhost_user_send(back_end->socket, message);
    if (!got) {
        if (!answered && !acknowledged) {
            return 0;
        }
        got = is_answered(back_end) ? vhost_user_receive(back_end->socket, message) : -EAGAIN;
    }
    if (got == -EAGAIN) {
        warning("%s: no answer to request %u within %d seconds", back_end->path, request,
                (int)back_end_patience.tv_sec);
        // Whatever it says later would be taken for another's answer.
        back_end_dismiss(back_end);
        return -EPIPE;
    }
    if (got != 1) {
        return got ? got : -EPIPE;
    }
    if (request != VHOST_USER_GET_INFLIGHT_FD) {
        vhost_user_close_fds(message); // no other answer has any
    }
    if (message->request != request || !(message->flags & VHOST_USER_REPLY)) {
        vhost_user_close_fds(message);
        return -EPROTO;
    }
    return acknowledged && message->value ? -EREMOTEIO : 0;
}

static int ask_value(struct back_end *back_end, uint32_t request, uint64_t *value) {
    struct vhost_user_message message = {.request = request};
    int error = back_end_ask(back_end, &message, true);

    *value = message.value;
    return error;
}

int back_end_tell(struct back_end *back_end, uint32_t request, uint64_t value) {
    struct vhost_user_message message = {
        .request = request, .size = sizeof(message.value), .value = value};

    return back_end_ask(back_end, &message, false);
}

int back_end_tell_ring(struct back_end *back_end, uint32_t request, uint32_t index,
                       uint32_t value) {
    struct vhost_user_message message = {.request = request,
                                         .size = sizeof(message.state),
                                         .state = {.index = index, .value = value}};

    return back_end_ask(back_end, &message, false);
}

int back_end_tell_fd(struct back_end *back_end, uint32_t request, uint32_t index, int fd) {
    struct vhost_user_message message = {.request = request,
                                         .size = sizeof(message.value),
                                         .value = index | (fd < 0 ? VHOST_USER_VRING_NO_FD : 0u),
                                         .fds = {fd},
                                         .fd_count = fd >= 0};

    return back_end_ask(back_end, &message, false);
}

int back_end_introduce(struct back_end *back_end, unsigned wanted) {
    struct vhost_user_message owner = {.request = VHOST_USER_SET_OWNER};
    uint64_t queues = 1;

    back_end->protocol_features = 0;
    int error = ask_value(back_end, VHOST_USER_GET_FEATURES, &back_end->features);
    if (!error && back_end->features & BIT(VHOST_USER_F_PROTOCOL_FEATURES)) {
        uint64_t offered;

        error = ask_value(back_end, VHOST_USER_GET_PROTOCOL_FEATURES, &offered);
        offered &= PROTOCOL_FEATURES;
        if (!error) {
            error = back_end_tell(back_end, VHOST_USER_SET_PROTOCOL_FEATURES, offered);
            back_end->protocol_features = offered;
        }
    }
    if (!error && back_end->protocol_features & BIT(VHOST_USER_PROTOCOL_F_MQ)) {
        error = ask_value(back_end, VHOST_USER_GET_QUEUE_NUM, &queues);
    }
    if (!error) {
        error = back_end_ask(back_end, &owner, false);
    }
    // Back ends of networks that have one pair of queues need not say so.
    if (!error && wanted > queues && wanted > 2) {
        warning("%s: the back end serves %u queues, not %u", back_end->path, (unsigned)queues,
                wanted);
        error = -EINVAL;
    }
    return error;
}
