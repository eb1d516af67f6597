// SPDX-License-Identifier: BSD-2-Clause
// The loop that serves rings, and between them messages.
#include "drivers/vhost_user/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/vhost_user/answers.h"
#include "drivers/vhost_user/rings.h"
#include "drivers/vhost_user/session_memory.h"
#include "drivers/vhost_user/shared_mapping.h"

#define MEMORY_PAUSE_MS 10

static void drain_fd(int fd) {
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        return; // it is not blocking, or was read by a back end before
}

// Serves what there is. Returns how long the session may sleep then, as poll takes it.
static int serve_busy(struct vhost_user_session *session) {
    bool busy = false;

    session->waits_for_memory = false;
    for (unsigned i = 0; i < session->device->queues; i++) {
        if (session->queues[i].busy)
            ring_serve(session, i);
        busy |= session->queues[i].busy;
    }
    if (session->device->poll && session->device->poll(session->state))
        return 0;
    return !busy ? -1 : session->waits_for_memory ? MEMORY_PAUSE_MS : 0;
}

static int loop(struct vhost_user_session *session) {
    struct pollfd fds[VHOST_USER_QUEUES_MAX + 2];
    unsigned queues = session->device->queues;

    for (;;) {
        int timeout = serve_busy(session);

        if (session->memory_lost)
            return -EFAULT;
        for (unsigned i = 0; i < queues; i++)
            fds[i] = (struct pollfd){.fd = session->queues[i].started && session->queues[i].enabled
                                               ? session->queues[i].kick
                                               : -1,
                                     .events = POLLIN};
        fds[queues] = (struct pollfd){.fd = session->socket, .events = POLLIN};
        fds[queues + 1] = (struct pollfd){
            .fd = session->device->extra_fd ? session->device->extra_fd(session->state) : -1,
            .events = POLLIN};
        int ready = poll(fds, queues + 2, timeout);
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready <= 0)
            continue;
        if (fds[queues + 1].revents)
            session->device->extra(session->state);
        for (unsigned i = 0; i < queues; i++) {
            if (fds[i].revents & POLLIN) {
                drain_fd(fds[i].fd);
                session->queues[i].busy = true;
            }
        }
        if (fds[queues].revents) {
            struct vhost_user_message message;
            int got = vhost_user_receive(session->socket, &message);

            if (got == 1) {
                got = vhost_user_answer(session, &message);
                vhost_user_close_fds(&message);
                if (!got)
                    continue;
            }
            return got;
        }
    }
}

void vhost_user_session_run(const struct vhost_user_device *device, int socket) {
    struct vhost_user_session *session = calloc(1, sizeof(*session));

    if (session) {
        session->device = device;
        session->socket = socket;
        for (unsigned i = 0; i < VHOST_USER_QUEUES_MAX; i++)
            session->queues[i].kick = session->queues[i].call = session->queues[i].error = -1;
        session->state = device->open(session, device->device);
    }
    if (!session || !session->state) {
        fprintf(stderr, "%s: no memory for another session\n", device->name);
    } else {
        int error = loop(session);

        if (error)
            fprintf(stderr, "%s: session ended: %s\n", device->name, strerror(-error));
        rings_stop(session);
        device->close(session->state);
    }
    for (unsigned i = 0; session && i < VHOST_USER_QUEUES_MAX; i++) {
        ring_replace_fd(&session->queues[i].kick, -1);
        ring_replace_fd(&session->queues[i].call, -1);
        ring_replace_fd(&session->queues[i].error, -1);
    }
    while (session && session->memory.count)
        session_memory_remove(session, session->memory.count - 1);
    if (session && session->inflight)
        shared_mapping_destroy(session->inflight, session->inflight_size);
    free(session);
    close(socket);
}
