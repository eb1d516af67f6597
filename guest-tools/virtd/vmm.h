// SPDX-License-Identifier: BSD-2-Clause
// A domain's monitor: the process, and the connection to its control socket
// (guest-tools/vmm/control.h). The process outlives virtd; the next virtd connects again.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "buffer.h"
#include "loop.h"

struct domain;

// The answer's lines, each ended by a newline; or NULL and why the request failed, which is also
// the end of the monitor, or that it takes too long. The domain is there in any case.
typedef void vmm_done(struct domain *domain, const char *answer, const char *error, void *context);

struct vmm_request {
    struct vmm_request *next;
    vmm_done *done;
    void *context;
};

struct vmm {
    struct watch watch; // fd -1: not connected yet
    struct timer retry, patience;
    struct domain *domain;
    pid_t pid;
    struct buffer in, out;
    size_t answer; // of `in`, what belongs to the answer that comes
    struct vmm_request *requests;
    int file;       // that goes with what is sent next, -1: none
    unsigned vcpus; // 0 until it has told; their thread ids
    pid_t *tids;
    bool paused, late; // how it is started
    uint64_t deadline; // until when the socket of one that was found may be missing; ns
    // What the end will mean, as far as it is known.
    bool starting, powered_off, crashed, destroyed, restart;
};

char *vmm_socket_path(const struct domain *domain); // the caller frees it
char *vmm_log_path(const struct domain *domain);
// Gives the channels of domain->live that have no path one beside the socket.
void vmm_name_channels(const struct domain *domain);
// Removes the sockets, and the log too where the domain goes.
void vmm_remove_files(const struct domain *domain);

// Starts a monitor for domain->live, at once or in `delay` ms. False: errno says why.
bool vmm_spawn(struct domain *domain, bool paused, unsigned delay);
// Connects to the monitor of an earlier virtd. False: it has ended.
bool vmm_reconnect(struct domain *domain);
// A new connection to the monitor, -1 with errno: EAGAIN where as many wait for it as may.
int vmm_connect(const struct domain *domain);
int vmm_connect_to(const char *path); // a socket of its
// A number in an answer. False: it has no such key.
bool answer_number(const char *answer, const char *key, uint64_t *value);
// Queues a request line, without its newline. `done` may be NULL.
void vmm_request(struct domain *domain, const char *line, vmm_done *done, void *context);
// The same with an open file, which is closed once it is sent.
void vmm_request_with_file(struct domain *domain, const char *line, int file, vmm_done *done,
                           void *context);
// Ends the process, without asking anyone; lifecycle_ended follows, perhaps at once.
void vmm_kill(struct domain *domain);
// Waits for children, of which those that ended before they were connected are reported.
void vmm_reap_on_signal(void);
