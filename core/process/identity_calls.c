// SPDX-License-Identifier: BSD-2-Clause
// Who and where a program is: ids, uname, sysinfo, prctl, arch_prctl, getrandom.
#include <asm/errno.h>
#include <asm/prctl.h>
#include <linux/prctl.h>
#include <linux/random.h>
#include <linux/sysinfo.h>
#include <linux/utsname.h>
#include "arch/x86/context.h"
#include "arch/x86/cpu.h"
#include "core/mm/address_space.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/random.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/string.h"

// Everything runs as root: what a program may do is a matter of the fds it gets, not of its user.
#define ROOT 0

int64_t sys_getpid(const uint64_t *a) {
    return process_current()->pid;
}

int64_t sys_gettid(const uint64_t *a) {
    return thread_current()->tid;
}

int64_t sys_getppid(const uint64_t *a) {
    spin_lock(&process_table_lock);
    struct process *parent = process_current()->parent;
    unsigned pid = parent ? parent->pid : 0;
    spin_unlock(&process_table_lock);
    return pid;
}

int64_t sys_getuid(const uint64_t *a) {
    return ROOT;
}

int64_t sys_getresuid(const uint64_t *a) {
    const uint32_t root = ROOT;
    for (unsigned i = 0; i < 3; i++)
        if (copy_to_user(a[i], &root, sizeof root))
            return -EFAULT;
    return 0;
}

// There are no supplementary groups.
int64_t sys_getgroups(const uint64_t *a) {
    return (int)a[0] < 0 ? -EINVAL : 0;
}

int64_t sys_set_tid_address(const uint64_t *a) {
    thread_current()->clear_child_tid = a[0];
    return thread_current()->tid;
}

int64_t sys_set_robust_list(const uint64_t *a) {
    if (a[1] != 24) // sizeof(struct robust_list_head)
        return -EINVAL;
    thread_current()->robust_list = a[0];
    return 0;
}

int64_t sys_uname(const uint64_t *a) {
    // Programs look at the first two for features; the interface is Linux's, so are the names.
    static const struct new_utsname name = {
        .sysname = "Linux",
        .nodename = "ashlar",
        .release = "6.1.0-ashlar",
        .version = "Ashlar",
        .machine = "x86_64",
        .domainname = "(none)",
    };
    return copy_to_user(a[0], &name, sizeof name);
}

int64_t sys_sysinfo(const uint64_t *a) {
    struct sysinfo info;
    memset(&info, 0, sizeof info); // what pads it goes to user space too
    info.uptime = (__kernel_long_t)(time_now() / NS_PER_SECOND);
    info.totalram = page_total();
    info.freeram = page_free_bytes();
    info.procs = (__u16)process_table_count();
    info.mem_unit = 1;
    return copy_to_user(a[0], &info, sizeof info);
}

int64_t sys_arch_prctl(const uint64_t *a) {
    switch (a[0]) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
        if (a[1] >= USER_END)
            return -EPERM;
        if (a[0] == ARCH_SET_FS)
            context_set_fs_base(a[1]);
        else
            context_set_gs_base(a[1]);
        return 0;
    case ARCH_GET_FS:
        return user_store_64(a[1], context_fs_base());
    case ARCH_GET_GS:
        return user_store_64(a[1], context_gs_base());
    default:
        return -EINVAL;
    }
}

static int64_t set_name(uint64_t address) {
    struct thread *thread = thread_current();
    char name[sizeof thread->name];
    int64_t length = copy_string_from_user(name, address, sizeof name);
    if (length < 0 && length != -ENAMETOOLONG)
        return length;
    name[sizeof name - 1] = 0; // a longer one is cut off, as in Linux
    memcpy(thread->name, name, sizeof name);
    return 0;
}

int64_t sys_prctl(const uint64_t *a) {
    struct thread *thread = thread_current();
    switch ((int)a[0]) {
    case PR_SET_NAME:
        return set_name(a[1]);
    case PR_GET_NAME:
        return copy_to_user(a[1], thread->name, sizeof thread->name);
    case PR_GET_DUMPABLE: // there are no core dumps
        return 0;
    case PR_SET_DUMPABLE:
        return a[1] ? -EINVAL : 0;
    case PR_GET_NO_NEW_PRIVS: // nor set-uid programs
        return 1;
    case PR_SET_NO_NEW_PRIVS:
        return a[1] == 1 && !a[2] && !a[3] && !a[4] ? 0 : -EINVAL;
    case PR_SET_TIMERSLACK:
        thread->timer_slack = (int64_t)a[1] > 0 ? a[1] : thread->timer_slack_default;
        return 0;
    case PR_GET_TIMERSLACK:
        return (int64_t)thread->timer_slack;
    case PR_MCE_KILL:
        return 0; // a machine check ends who used the memory
    case PR_SCHED_CORE:
        return core_scheduling_control(a);
    default:
        return -EINVAL;
    }
}

int64_t sys_getrandom(const uint64_t *a) {
    uint8_t piece[256];
    uint64_t size = a[1] > INT32_MAX ? INT32_MAX : a[1], done = 0;
    if (a[2] & ~(uint64_t)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
        return -EINVAL;
    while (done < size) {
        size_t part = size - done < sizeof piece ? size - done : sizeof piece;
        random_bytes(piece, part);
        if (copy_to_user(a[0] + done, piece, part))
            return done ? (int64_t)done : -EFAULT;
        done += part;
        thread_preemption_point();
        if (done < size && thread_interrupted()) // at most 256 bytes always come (random(4))
            break;
    }
    return (int64_t)done;
}
