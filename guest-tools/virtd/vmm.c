// SPDX-License-Identifier: BSD-2-Clause
// Requests to monitors, in order; answers and events back.
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain.h"
#include "domain_schema.h"
#include "lifecycle.h"
#include "memory.h"
#include "options.h"
#include "spawn.h"

enum { RETRY_MS = 10, LINE_MAX = 1 << 16 };
#define FOUND_NS 5000000000ull

static char *run_path(const struct domain *domain, const char *suffix) {
    char uuid[UUID_TEXT];

    uuid_format(domain->uuid, uuid);
    return print_string("%s/%s.%s", options.run, uuid, suffix);
}

char *vmm_socket_path(const struct domain *domain) {
    return run_path(domain, "sock");
}

char *vmm_log_path(const struct domain *domain) {
    return run_path(domain, "log");
}

void vmm_name_channels(const struct domain *domain) {
    struct xml *channel = xml_find(domain->live, "devices/channel");

    for (; channel; channel = xml_next(channel)) {
        xml_set(channel, "target@state", "disconnected");
        if (!xml_get(channel, "source@path")) {
            char *suffix = print_string("channel.%s", xml_get(channel, "target@name"));
            char *path = run_path(domain, suffix);
            xml_set(channel, "source@mode", "bind");
            xml_set(channel, "source@path", path);
            schema_sort(channel, "domain/devices/channel");
            free(path);
            free(suffix);
        }
    }
}

void vmm_remove_files(const struct domain *domain) {
    const struct xml *channel = domain->live ? xml_find(domain->live, "devices/channel") : NULL;
    char *socket_path = vmm_socket_path(domain), *log_path = vmm_log_path(domain);

    for (; channel; channel = xml_next(channel)) {
        unlink(xml_get(channel, "source@path"));
    }
    unlink(socket_path);
    if (!domain->config) {
        unlink(log_path);
    }
    free(socket_path);
    free(log_path);
}

// The end of the monitor: whoever waits for an answer learns of it, then the domain.
static void gone(struct vmm *vmm) {
    struct domain *domain = vmm->domain;

    if (vmm->pid > 0) {
        kill(vmm->pid, SIGKILL); // one that only hangs up must not go on with nobody in charge
    }
    if (vmm->watch.fd >= 0) {
        loop_remove(&vmm->watch);
        close(vmm->watch.fd);
        vmm->watch.fd = -1;
    }
    timer_stop(&vmm->retry);
    timer_stop(&vmm->patience);
    while (vmm->requests) {
        struct vmm_request *request = vmm->requests;
        vmm->requests = request->next;
        if (request->done) {
            request->done(domain, NULL, "the monitor has ended", request->context);
        }
        free(request);
    }
    domain->vmm = NULL;
    lifecycle_ended(domain, vmm);
    buffer_free(&vmm->in);
    buffer_free(&vmm->out);
    if (vmm->file >= 0) {
        close(vmm->file);
    }
    free(vmm->tids);
    free(vmm);
}

// --- requests ----------------------------------------------------------------------------------

static void drop_file(struct vmm *vmm) {
    if (vmm->file >= 0) {
        close(vmm->file);
    }
    vmm->file = -1;
}

static void flush(struct vmm *vmm) {
    if (vmm->watch.fd < 0) {
        return;
    }
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } extra = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct iovec from = {vmm->out.data, vmm->out.length};
    const struct msghdr message = {.msg_iov = &from,
                                   .msg_iovlen = 1,
                                   .msg_control = vmm->file >= 0 ? &extra : NULL,
                                   .msg_controllen = vmm->file >= 0 ? sizeof(extra) : 0};
    memcpy(CMSG_DATA(&extra.header), &vmm->file, sizeof(vmm->file));
    ssize_t n = from.iov_len ? sendmsg(vmm->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (n > 0) {
        drop_file(vmm);
        buffer_consume(&vmm->out, (size_t)n);
    }
    loop_change(&vmm->watch, vmm->out.length ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void vmm_request(struct domain *domain, const char *line, vmm_done *done, void *context) {
    struct vmm *vmm = domain->vmm;
    struct vmm_request *request, **at;

    request = allocate(sizeof(*request));
    *request = (struct vmm_request){.done = done, .context = context};
    for (at = &vmm->requests; *at; at = &(*at)->next) {
    }
    *at = request;
    if (!vmm->patience.deadline) {
        timer_start(&vmm->patience, options.patience * 1000ull);
    }
    buffer_print(&vmm->out, "%s\n", line);
    flush(vmm);
}

void vmm_request_with_file(struct domain *domain, const char *line, int file, vmm_done *done,
                           void *context) {
    drop_file(domain->vmm); // the monitor opens that one by its path, if it may
    domain->vmm->file = file;
    vmm_request(domain, line, done, context);
}

// What waits for an answer waits no longer; the answers are still expected, in their order. One
// that does not even start is ended.
static void impatient(struct timer *timer) {
    struct vmm *vmm = (struct vmm *)((char *)timer - offsetof(struct vmm, patience));
    struct domain *domain = vmm->domain;

    for (struct vmm_request *request = vmm->requests; request; request = request->next) {
        vmm_done *done = request->done;
        request->done = NULL;
        if (done) {
            done(domain, NULL, "the monitor does not answer", request->context);
        }
    }
    if (vmm->starting) {
        vmm_kill(domain);
    }
}

bool answer_number(const char *answer, const char *key, uint64_t *value) {
    size_t length = strlen(key);

    for (const char *line = answer; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            *value = strtoull(line + length + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

// One line: an event, a part of the answer, or the answer's end. The line stays in `in` while it is
// a part.
static void serve_line(struct vmm *vmm, char *line, size_t length) {
    bool failed = strncmp(line, "error: ", 7) == 0;

    if (strncmp(line, "event ", 6) == 0) {
        char *name = print_string("%.*s", (int)length - 6, line + 6);
        memmove(line, line + length + 1, vmm->in.length - vmm->answer - length - 1);
        vmm->in.length -= length + 1;
        lifecycle_event(vmm->domain, name);
        free(name);
        return;
    }
    if (!failed && strcmp(line, "ok") != 0) {
        line[length] = '\n';
        vmm->answer += length + 1;
        return;
    }
    struct vmm_request *request = vmm->requests;
    char *answer = print_string("%.*s", (int)vmm->answer, (char *)vmm->in.data);
    char *error = failed ? copy_string(line + 7) : NULL;
    buffer_consume(&vmm->in, vmm->answer + length + 1);
    vmm->answer = 0;
    timer_stop(&vmm->patience);
    if (request) {
        vmm->requests = request->next;
        if (vmm->requests) {
            timer_start(&vmm->patience, options.patience * 1000ull);
        }
        if (request->done) {
            request->done(vmm->domain, failed ? NULL : answer, error, request->context);
        }
        free(request);
    }
    free(answer);
    free(error);
}

static void ready(struct watch *watch, uint32_t events) {
    struct vmm *vmm = (struct vmm *)watch;
    char *newline;

    if (events & EPOLLOUT) {
        flush(vmm);
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        return;
    }
    ssize_t n = recv(watch->fd, buffer_room(&vmm->in, LINE_MAX), LINE_MAX, MSG_DONTWAIT);
    if (n > 0) {
        vmm->in.length += (size_t)n;
    }
    while (vmm->in.length > vmm->answer &&
           (newline = memchr(vmm->in.data + vmm->answer, '\n', vmm->in.length - vmm->answer))) {
        char *line = (char *)vmm->in.data + vmm->answer;
        *newline = '\0';
        serve_line(vmm, line, (size_t)(newline - line));
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        gone(vmm);
    }
}

// --- connections -------------------------------------------------------------------------------

int vmm_connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int vmm_connect(const struct domain *domain) {
    char *path = vmm_socket_path(domain);
    int fd = vmm_connect_to(path);

    free(path);
    return fd;
}

static bool connect_now(struct vmm *vmm) {
    struct ucred peer;
    socklen_t length = sizeof(peer);
    int fd = vmm_connect(vmm->domain);

    if (fd < 0) {
        return false;
    }
    if (!vmm->pid && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
        vmm->pid = peer.pid;
    }
    vmm->watch.fd = fd;
    loop_add(&vmm->watch, EPOLLIN);
    flush(vmm);
    return true;
}

static void retry(struct timer *timer);

static struct vmm *make(struct domain *domain) {
    struct vmm *vmm = allocate(sizeof(*vmm));

    *vmm = (struct vmm){.watch = {.fd = -1, .ready = ready},
                        .retry = {.expired = retry},
                        .patience = {.expired = impatient},
                        .file = -1,
                        .domain = domain};
    domain->vmm = vmm;
    vmm_request(domain, "events", NULL, NULL);
    return vmm;
}

static bool spawn(struct vmm *vmm) {
    char *socket_path = vmm_socket_path(vmm->domain), *log_path = vmm_log_path(vmm->domain);

    unlink(socket_path); // of the monitor before
    errno = ENAMETOOLONG;
    pid_t pid = strlen(socket_path) < sizeof(((struct sockaddr_un *)0)->sun_path)
                    ? spawn_monitor(vmm->domain->live, socket_path, log_path, vmm->paused)
                    : -1;
    free(socket_path);
    free(log_path);
    vmm->pid = pid > 0 ? pid : 0;
    return pid > 0;
}

// A monitor is started late, or its socket is not there yet.
static void retry(struct timer *timer) {
    struct vmm *vmm = (struct vmm *)((char *)timer - offsetof(struct vmm, retry));

    if (vmm->late) {
        vmm->late = false;
        if (!spawn(vmm)) {
            gone(vmm);
            return;
        }
    }
    if (connect_now(vmm)) {
        return;
    }
    if (!vmm->pid && loop_now() > vmm->deadline) {
        gone(vmm);
        return;
    }
    timer_start(timer, RETRY_MS);
}

static void forget(struct vmm *vmm) {
    vmm->domain->vmm = NULL;
    timer_stop(&vmm->patience);
    free(vmm->requests);
    buffer_free(&vmm->out);
    free(vmm);
}

bool vmm_spawn(struct domain *domain, bool paused, unsigned delay) {
    struct vmm *vmm = make(domain);

    vmm->paused = paused;
    vmm->late = delay > 0;
    if (!vmm->late && !spawn(vmm)) {
        int error = errno;
        forget(vmm);
        errno = error;
        return false;
    }
    timer_start(&vmm->retry, delay ? delay : RETRY_MS);
    return true;
}

// A socket that is not there yet is that of a monitor which was starting when virtd ended; one that
// does not take another connection now may do so soon.
bool vmm_reconnect(struct domain *domain) {
    struct vmm *vmm = make(domain);

    if (connect_now(vmm)) {
        return true;
    }
    if (errno == ENOENT || errno == EAGAIN) {
        vmm->deadline = loop_now() + FOUND_NS;
        timer_start(&vmm->retry, RETRY_MS);
        return true;
    }
    forget(vmm);
    return false;
}

void vmm_kill(struct domain *domain) {
    if (domain->vmm->pid > 0) {
        kill(domain->vmm->pid, SIGKILL);
    } else if (domain->vmm->watch.fd < 0) { // not started yet
        gone(domain->vmm);
    }
}

// --- children ----------------------------------------------------------------------------------

static void child_ended(pid_t pid) {
    for (struct domain *domain = domains; domain; domain = domain->next) {
        if (!domain->vmm || domain->vmm->pid != pid) {
            continue;
        }
        domain->vmm->pid = 0; // the number may become another's
        // A connected one ends when all it has said is read.
        if (domain->vmm->watch.fd < 0 && !connect_now(domain->vmm)) {
            gone(domain->vmm);
        }
        return;
    }
}

static void reap(struct watch *watch, uint32_t events) {
    struct signalfd_siginfo info;
    pid_t pid;

    (void)events;
    if (read(watch->fd, &info, sizeof(info)) < 0) {
        return;
    }
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        child_ended(pid);
    }
}

void vmm_reap_on_signal(void) {
    static struct watch watch = {.ready = reap};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (watch.fd < 0) {
        perror("virtd: signalfd");
        exit(1);
    }
    loop_add(&watch, EPOLLIN);
}
