// SPDX-License-Identifier: BSD-2-Clause
// Resource limits: kept a process, RLIMIT_NOFILE enforced by the fd table.
#include <asm/errno.h>
#include <asm/resource.h>
#include "core/file/fd_table.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/system_call.h"

static int set_limit(struct process *process, uint64_t resource, const struct rlimit_value *value) {
    if (value->soft > value->hard)
        return -EINVAL;
    if (resource == RLIMIT_NOFILE && value->hard > FD_MAX)
        return -EPERM;
    spin_lock(&process->lock);
    process->limits[resource] = *value;
    spin_unlock(&process->lock);
    return 0;
}

static int64_t exchange_limit(struct process *process, uint64_t resource, uint64_t new_pointer,
                              uint64_t old_pointer) {
    struct rlimit_value new, old;
    if (resource >= RLIM_NLIMITS)
        return -EINVAL;
    if (new_pointer && copy_from_user(&new, new_pointer, sizeof new))
        return -EFAULT;
    spin_lock(&process->lock);
    old = process->limits[resource];
    spin_unlock(&process->lock);
    int error = new_pointer ? set_limit(process, resource, &new) : 0;
    if (error)
        return error;
    return old_pointer ? copy_to_user(old_pointer, &old, sizeof old) : 0;
}

int64_t sys_prlimit64(const uint64_t *a) {
    struct process *process = process_current();
    if (!a[0] || a[0] == process->pid)
        return exchange_limit(process, a[1], a[2], a[3]);
    process = process_find((unsigned)a[0]);
    if (!process)
        return -ESRCH;
    int64_t result =
        process_may_control(process) ? exchange_limit(process, a[1], a[2], a[3]) : -EPERM;
    process_put(process);
    return result;
}

int64_t sys_getrlimit(const uint64_t *a) {
    return a[1] ? exchange_limit(process_current(), a[0], 0, a[1]) : -EFAULT;
}

int64_t sys_setrlimit(const uint64_t *a) {
    return a[1] ? exchange_limit(process_current(), a[0], a[1], 0) : -EFAULT;
}
