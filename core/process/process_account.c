// SPDX-License-Identifier: BSD-2-Clause
// Which memory account a process has. A program that init starts gets one of its own; what it
// starts in turn shares it, so that no number of children gets round the limit.
#include "core/mm/account.h"
#include <stddef.h>
#include "core/mm/page.h"
#include "core/process/process.h"
#include "core/sched/thread.h"

// Kernel memory of one program: an eighth of RAM, and enough for a few hundred threads anywhere.
#define KERNEL_SHARE 8
#define KERNEL_LEAST (16ul << 20)

static size_t default_kernel_limit(void) {
    size_t share = page_total() / KERNEL_SHARE;
    return share > KERNEL_LEAST ? share : KERNEL_LEAST;
}

struct memory_account *process_account_for(const struct process *parent) {
    if (!parent)
        return account_create(0, 0);
    if (!account_is_limited(parent->account))
        return account_create(0, default_kernel_limit());
    account_get(parent->account);
    return parent->account;
}

bool process_may_control(const struct process *target) {
    const struct process *process = thread_current()->process;
    return account_same_program(process->account, target->account) ||
           !account_is_limited(process->account);
}

// NULL as long as there is no process: while the machine starts, and on idle threads.
struct memory_account *account_of_caller(void) {
    const struct thread *thread = thread_current();
    return thread && thread->process ? thread->process->account : NULL;
}
