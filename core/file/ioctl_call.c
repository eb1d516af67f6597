// SPDX-License-Identifier: BSD-2-Clause
// ioctl(2). KVM_RUN comes this way, so the file's own method is asked first and what every file has
// only if it declines.
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <linux/errno.h>
#include "arch/x86/cpu.h"
#include "core/file/fd_table.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

static int64_t any_file_ioctl(struct fd_table *table, int fd, struct file *file, unsigned command,
                              uint64_t argument) {
    uint32_t value;
    switch (command) {
    case FIOCLEX:
        return fd_table_set_close_on_exec(table, (unsigned)fd, true);
    case FIONCLEX:
        return fd_table_set_close_on_exec(table, (unsigned)fd, false);
    case FIONBIO:
        if (user_load_32(&value, argument))
            return -EFAULT;
        file->flags = value ? file->flags | O_NONBLOCK : file->flags & ~(uint32_t)O_NONBLOCK;
        return 0;
    default:
        return -ENOTTY;
    }
}

int64_t sys_ioctl(const uint64_t *arguments) {
    struct fd_table *table = this_cpu()->current->process->files;
    struct file *file = fd_lookup(table, (unsigned)arguments[0]);
    if (__builtin_expect(!file, 0))
        return -EBADF;
    int64_t result = -ENOTTY;
    if (__builtin_expect(file->ops->ioctl != NULL, 1))
        result = file->ops->ioctl(file, (unsigned)arguments[1], arguments[2]);
    if (__builtin_expect(result == -ENOTTY, 0))
        result = file->flags & O_PATH ? -EBADF
                                      : any_file_ioctl(table, (int)arguments[0], file,
                                                       (unsigned)arguments[1], arguments[2]);
    file_put(file);
    return result;
}
