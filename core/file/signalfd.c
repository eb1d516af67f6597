// SPDX-License-Identifier: BSD-2-Clause
// signalfd(2): signals that are blocked, taken by reading. A reader gets those of its own process;
// readiness is that of the process that made the file, whose queue pollers wait on.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/signalfd.h>
#include "core/file/blocking.h"
#include "core/file/io_buffer.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"

#define UNCATCHABLE (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))

struct signalfd {
    _Atomic uint64_t set;
    struct process *process; // with a reference
};

static const struct file_ops signalfd_ops;

static bool can_read(void *object) {
    const struct signalfd *signalfd = object;
    const struct thread *thread = thread_current();
    return (thread->signals.pending | thread->process->signals.pending) & signalfd->set;
}

static void describe(struct signalfd_siginfo *to, const struct signal_info *info) {
    *to = (struct signalfd_siginfo){
        .ssi_signo = (uint32_t)info->signal,
        .ssi_code = info->code,
        .ssi_pid = info->pid,
        .ssi_uid = info->uid,
        .ssi_status = info->status,
        .ssi_utime = info->run_time / 10000000,
        .ssi_int = (int32_t)info->value,
        .ssi_ptr = info->value,
        .ssi_addr = info->value,
    };
    if (info->code != SI_TIMER)
        return;
    to->ssi_tid = info->pid;
    to->ssi_overrun = info->uid;
    to->ssi_pid = to->ssi_uid = 0;
}

static int64_t signalfd_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct signalfd *signalfd = file->object;
    size_t before = io_remaining(buffer);
    if (before < sizeof(struct signalfd_siginfo))
        return -EINVAL;
    int64_t error = 0;
    while (!error && io_remaining(buffer) >= sizeof(struct signalfd_siginfo)) {
        struct signalfd_siginfo description;
        struct signal_info info;
        if (signal_dequeue(signalfd->set, &info)) {
            describe(&description, &info);
            error = io_copy_to(buffer, &description, sizeof(description));
        } else if (io_remaining(buffer) < before) {
            break;
        } else {
            error = file_wait_unless_nonblocking(file, &process_current()->signalled, can_read,
                                                 signalfd);
        }
    }
    return io_result(buffer, before, error);
}

static unsigned signalfd_poll(struct file *file, struct poll_table *table) {
    struct signalfd *signalfd = file->object;
    poll_wait(table, &signalfd->process->signalled);
    return can_read(signalfd) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void signalfd_release(struct file *file) {
    struct signalfd *signalfd = file->object;
    process_put(signalfd->process);
    heap_free(signalfd);
}

static const struct file_ops signalfd_ops = {
    .name = "signalfd",
    .read = signalfd_read,
    .poll = signalfd_poll,
    .release = signalfd_release,
};

static int64_t change(int fd, uint64_t set) {
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    bool ours = file->ops == &signalfd_ops;
    if (ours) {
        ((struct signalfd *)file->object)->set = set;
        wait_queue_wake(&((struct signalfd *)file->object)->process->signalled, EPOLLIN);
    }
    file_put(file);
    return ours ? fd : -EINVAL;
}

int64_t sys_signalfd4(const uint64_t *arguments) {
    int fd = (int)arguments[0];
    unsigned flags = (unsigned)arguments[3];
    uint64_t set;
    if (flags & ~(unsigned)(SFD_CLOEXEC | SFD_NONBLOCK) || arguments[2] != sizeof(set))
        return -EINVAL;
    if (copy_from_user(&set, arguments[1], sizeof(set)))
        return -EFAULT;
    set &= ~UNCATCHABLE;
    if (fd != -1)
        return change(fd, set);
    struct signalfd *signalfd = heap_new(struct signalfd);
    if (!signalfd)
        return -ENOMEM;
    signalfd->set = set;
    signalfd->process = process_current();
    process_get(signalfd->process);
    fd = fd_create(&signalfd_ops, signalfd, O_RDWR | (flags & SFD_NONBLOCK), flags & SFD_CLOEXEC);
    if (fd < 0) {
        process_put(signalfd->process);
        heap_free(signalfd);
    }
    return fd;
}
