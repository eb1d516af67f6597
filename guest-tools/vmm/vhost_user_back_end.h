// SPDX-License-Identifier: BSD-2-Clause
// A back end from where vmm stands: a connection, the requests sent over it and their answers.
#pragma once

#include <stdbool.h>
#include <sys/time.h>

#include "drivers/vhost_user/message.h"

struct back_end {
    const char *path;
    int socket; // -1: no back end
    uint64_t features, protocol_features;
};

// How long a back end may take to answer. Tests make it shorter.
extern struct timeval back_end_patience;

// Connects once, or, where `patiently`, until a back end is there; exits with a message then, if
// none comes for long. True where there is one.
bool back_end_connect(struct back_end *back_end, bool patiently);
void back_end_disconnect(struct back_end *back_end);

// Says that no request follows. The back end goes then, when it does not touch the guest's memory
// any more; that is when the socket hangs up.
void back_end_dismiss(const struct back_end *back_end);

// What both sides say to each other before any ring is known: features, and who owns the device,
// which has that many queues. 0 or -errno.
int back_end_introduce(struct back_end *back_end, unsigned queues);

// Sends a request; where it has an answer, or one was asked for, waits for that. 0 or -errno, which
// is -EREMOTEIO where the back end refuses. One that keeps silent is done with.
int back_end_ask(struct back_end *back_end, struct vhost_user_message *message, bool answered);

// Requests without an answer. A negative fd: there is none.
int back_end_tell(struct back_end *back_end, uint32_t request, uint64_t value);
int back_end_tell_ring(struct back_end *back_end, uint32_t request, uint32_t index, uint32_t value);
int back_end_tell_fd(struct back_end *back_end, uint32_t request, uint32_t index, int fd);

// Whether an error says that the back end has gone, or is done with.
bool back_end_is_gone(int error);
