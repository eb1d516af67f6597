// SPDX-License-Identifier: BSD-2-Clause
// System calls on descriptors themselves: close, dup, fcntl.
#include <asm/fcntl.h>
#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/resource.h>
#include "core/file/fd_table.h"
#include "core/file/file_lock.h"
#include "core/file/node.h"
#include "core/file/pipe.h"
#include "core/file/regular_file.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

int64_t sys_close(const uint64_t *arguments) {
    return fd_close((int)arguments[0]);
}

int64_t sys_close_range(const uint64_t *arguments) {
    unsigned first = (unsigned)arguments[0], last = (unsigned)arguments[1];
    struct fd_table *table = process_current()->files;
    if (first > last || arguments[2] & ~(uint64_t)CLOSE_RANGE_CLOEXEC)
        return -EINVAL;
    // What is opened meanwhile by other threads may be closed or not, as on Linux.
    for (unsigned fd = first; fd <= last && fd < atomic_load(&table->slots)->capacity; fd++) {
        if (arguments[2])
            fd_table_set_close_on_exec(table, fd, true);
        else
            fd_close((int)fd);
        if (fd % 64 == 63)
            thread_preemption_point();
    }
    return 0;
}

static int64_t duplicate_from(struct file *file, unsigned from, bool close_on_exec) {
    file_get(file);
    int fd = fd_table_install(process_current()->files, file, from, fd_limit(), close_on_exec);
    if (fd < 0)
        file_put(file);
    return fd;
}

int64_t sys_dup(const uint64_t *arguments) {
    struct file *file = fd_get((int)arguments[0]);
    return file ? fd_install(file, false) : -EBADF;
}

static int64_t duplicate_to(int from, unsigned to, bool close_on_exec) {
    if (to >= fd_limit())
        return -EBADF;
    struct file *file = fd_get(from), *replaced;
    if (!file)
        return -EBADF;
    struct fd_table *table = process_current()->files;
    int error = fd_table_replace(table, to, file, close_on_exec, &replaced);
    if (error) {
        file_put(file);
        return error;
    }
    if (replaced) {
        if (replaced->node)
            file_locks_drop(replaced->node, table);
        file_put(replaced);
    }
    return (int)to;
}

int64_t sys_dup2(const uint64_t *arguments) {
    int from = (int)arguments[0];
    if ((unsigned)arguments[1] != (unsigned)from)
        return duplicate_to(from, (unsigned)arguments[1], false);
    struct file *file = fd_get(from);
    if (!file)
        return -EBADF;
    file_put(file);
    return from;
}

int64_t sys_dup3(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[2];
    if (flags & ~O_CLOEXEC || (unsigned)arguments[0] == (unsigned)arguments[1])
        return -EINVAL;
    return duplicate_to((int)arguments[0], (unsigned)arguments[1], flags & O_CLOEXEC);
}

static int64_t set_flags(struct file *file, unsigned flags) {
    const uint32_t settable = O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT;
    file->flags = (file->flags & ~settable) | (flags & settable);
    return 0;
}

static int64_t lock_command(struct file *file, int command, uint64_t address) {
    struct flock lock;
    if (copy_from_user(&lock, address, sizeof(lock)))
        return -EFAULT;
    int64_t result = file_lock_command(file, command, &lock);
    if (!result && (command == F_GETLK || command == F_OFD_GETLK) &&
        copy_to_user(address, &lock, sizeof(lock)))
        result = -EFAULT;
    return result;
}

static int64_t seal_command(struct file *file, int command, uint32_t seals) {
    if (file->ops != &regular_file_ops)
        return -EINVAL;
    if (command == F_ADD_SEALS)
        return regular_add_seals(file, seals);
    return file->node->regular.seals;
}

static int64_t path_file_command(int command, uint32_t flags) {
    return command == F_GETFL ? (int64_t)flags : -EBADF;
}

static int64_t command_on(struct file *file, int fd, int command, uint64_t argument) {
    struct fd_table *table = process_current()->files;
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        if (argument >= fd_limit())
            return -EINVAL;
        return duplicate_from(file, (unsigned)argument, command == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return fd_table_get_close_on_exec(table, (unsigned)fd);
    case F_SETFD:
        return fd_table_set_close_on_exec(table, (unsigned)fd, argument & FD_CLOEXEC);
    }
    if (file->flags & O_PATH)
        return path_file_command(command, file->flags);
    switch (command) {
    case F_GETFL:
        return file->flags | O_LARGEFILE;
    case F_SETFL:
        return set_flags(file, (unsigned)argument);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return lock_command(file, command, argument);
    case F_ADD_SEALS:
    case F_GET_SEALS:
        return seal_command(file, command, (uint32_t)argument);
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
        return pipe_size_command(file, command, argument);
    default:
        return -EINVAL;
    }
}

int64_t sys_fcntl(const uint64_t *arguments) {
    int fd = (int)arguments[0];
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    int64_t result = command_on(file, fd, (int)arguments[1], arguments[2]);
    file_put(file);
    return result;
}
