// SPDX-License-Identifier: BSD-2-Clause
// A message is a header, its payload, and descriptors that travel with the header's first byte.
#define _GNU_SOURCE // MSG_CMSG_CLOEXEC
#include "drivers/vhost_user/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
};

int vhost_user_send(int socket, const struct vhost_user_message *message) {
    const char *bytes = (const char *)message;
    size_t left = VHOST_USER_HEADER_SIZE + message->size;
    union control control = {0};
    bool with_fds = message->fd_count > 0;

    while (left) {
        struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = left};
        struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};

        if (with_fds) {
            header.msg_control = &control;
            header.msg_controllen = CMSG_SPACE(sizeof(int) * message->fd_count);
            control.header.cmsg_level = SOL_SOCKET;
            control.header.cmsg_type = SCM_RIGHTS;
            control.header.cmsg_len = CMSG_LEN(sizeof(int) * message->fd_count);
            memcpy(CMSG_DATA(&control.header), message->fds, sizeof(int) * message->fd_count);
        }
        ssize_t sent = sendmsg(socket, &header, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        with_fds = false;
        bytes += sent;
        left -= (size_t)sent;
    }
    return 0;
}

static void take_fds(struct vhost_user_message *message, struct msghdr *header) {
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
            if (message->fd_count < VHOST_USER_FDS_MAX)
                message->fds[message->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

// Receives exactly size bytes. 1, 0 at the end of the stream, or -errno.
static int receive_bytes(int socket, struct vhost_user_message *message, void *bytes, size_t size) {
    size_t got = 0;

    while (got < size) {
        struct iovec piece = {.iov_base = (char *)bytes + got, .iov_len = size - got};
        union control control;
        struct msghdr header = {.msg_iov = &piece,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = sizeof(control)};
        ssize_t count = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        take_fds(message, &header);
        if (count == 0)
            return got ? -EPROTO : 0;
        got += (size_t)count;
    }
    return 1;
}

int vhost_user_receive(int socket, struct vhost_user_message *message) {
    memset(message, 0, sizeof(*message));
    for (int i = 0; i < VHOST_USER_FDS_MAX; i++)
        message->fds[i] = -1;
    int result = receive_bytes(socket, message, message, VHOST_USER_HEADER_SIZE);
    if (result == 1 &&
        ((message->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
         message->size > offsetof(struct vhost_user_message, fds) - VHOST_USER_HEADER_SIZE))
        result = -EPROTO;
    if (result == 1 && message->size) {
        result = receive_bytes(socket, message, &message->value, message->size);
        if (result == 0)
            result = -EPROTO;
    }
    if (result != 1)
        vhost_user_close_fds(message);
    return result;
}

void vhost_user_close_fds(struct vhost_user_message *message) {
    for (unsigned i = 0; i < message->fd_count; i++) {
        if (message->fds[i] >= 0)
            close(message->fds[i]);
        message->fds[i] = -1;
    }
    message->fd_count = 0;
}
