// SPDX-License-Identifier: BSD-2-Clause
// ioctl(2). KVM_RUN comes this way, so the file's own method is asked first and what every file has
// only if it declines.
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <linux/errno.h>
#include "core/file/fd_table.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"

// What every file has, where its own method declined. Kept out of line: no part of the hot path.
static __attribute__((noinline, cold)) int64_t any_file_ioctl(const uint64_t *arguments,
                                                              struct file *file) {
    struct fd_table *table = process_current()->files;
    unsigned fd = (unsigned)arguments[0];
    uint32_t value;
    if (file->flags & O_PATH)
        return -EBADF;
    switch ((unsigned)arguments[1]) {
    case FIOCLEX:
        return fd_table_set_close_on_exec(table, fd, true);
    case FIONCLEX:
        return fd_table_set_close_on_exec(table, fd, false);
    case FIONBIO:
        if (user_load_32(&value, arguments[2]))
            return -EFAULT;
        file->flags = value ? file->flags | O_NONBLOCK : file->flags & ~(uint32_t)O_NONBLOCK;
        return 0;
    default:
        return -ENOTTY;
    }
}

int64_t sys_ioctl(const uint64_t *arguments) {
    struct file *file = fd_lookup(process_current()->files, (unsigned)arguments[0]);
    if (__builtin_expect(!file, 0))
        return -EBADF;
    int64_t result = -ENOTTY;
    if (__builtin_expect(file->ops->ioctl != NULL, 1))
        result = file->ops->ioctl(file, (unsigned)arguments[1], arguments[2]);
    if (__builtin_expect(result == -ENOTTY, 0))
        result = any_file_ioctl(arguments, file);
    file_put(file);
    return result;
}
