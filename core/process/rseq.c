// SPDX-License-Identifier: BSD-2-Clause
// Restartable sequences as <linux/rseq.h> describes them.
#include "core/process/rseq.h"
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/rseq.h>
#include <stddef.h>
#include "arch/x86/context.h"
#include "arch/x86/cpu.h"
#include "core/mm/address_space.h"
#include "core/mm/user_copy.h"
#include "core/process/signal.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

#define RSEQ_SIZE 32u // what every C library registers: the structure as first defined

static int store_cpu(struct thread *thread, uint32_t start, uint32_t cpu) {
    uint64_t at = thread->rseq;
    if (user_store_32(at + offsetof(struct rseq, cpu_id_start), start))
        return -EFAULT;
    return user_store_32(at + offsetof(struct rseq, cpu_id), cpu);
}

__attribute__((noinline)) void rseq_cpu_changed(struct thread *thread) {
    uint32_t cpu = this_cpu()->index;
    if (store_cpu(thread, cpu, cpu))
        signal_fault(SIGSEGV, SI_KERNEL, thread->rseq);
}

// 0, or -EFAULT: the program's structures are not as they must be.
static int abort_section(struct thread *thread, struct trap_frame *frame) {
    struct rseq_cs section;
    uint64_t pointer, field = thread->rseq + offsetof(struct rseq, rseq_cs);
    uint32_t signature;
    if (copy_from_user(&pointer, field, sizeof pointer))
        return -EFAULT;
    if (!pointer)
        return 0;
    if (copy_from_user(&section, pointer, sizeof section) || section.version != 0 ||
        section.abort_ip >= USER_END)
        return -EFAULT;
    if (user_store_64(field, 0))
        return -EFAULT;
    if (frame->rip - section.start_ip >= section.post_commit_offset)
        return 0;
    if (user_load_32(&signature, section.abort_ip - sizeof signature) ||
        signature != thread->rseq_signature)
        return -EFAULT;
    frame->rip = section.abort_ip;
    frame->vector = TRAP_FRAME_FULL;
    return 0;
}

void rseq_abort(struct thread *thread, struct trap_frame *frame) {
    if (thread->rseq && abort_section(thread, frame))
        signal_fault(SIGSEGV, SI_KERNEL, thread->rseq);
}

static int64_t unregister(struct thread *thread, const uint64_t *a) {
    if (!thread->rseq || a[0] != thread->rseq || a[1] != RSEQ_SIZE)
        return -EINVAL;
    if ((uint32_t)a[3] != thread->rseq_signature)
        return -EPERM;
    int error = store_cpu(thread, 0, (uint32_t)RSEQ_CPU_ID_UNINITIALIZED);
    if (!error)
        thread->rseq = 0;
    return error;
}

int64_t sys_rseq(const uint64_t *a) {
    struct thread *thread = thread_current();
    if (a[2] & RSEQ_FLAG_UNREGISTER)
        return a[2] == RSEQ_FLAG_UNREGISTER ? unregister(thread, a) : -EINVAL;
    if (a[2] || a[1] != RSEQ_SIZE || a[0] % RSEQ_SIZE)
        return -EINVAL;
    if (thread->rseq) {
        if (thread->rseq != a[0])
            return -EINVAL;
        return thread->rseq_signature == (uint32_t)a[3] ? -EBUSY : -EPERM;
    }
    if (!a[0] || a[0] >= USER_END)
        return -EFAULT;
    thread->rseq = a[0];
    thread->rseq_signature = (uint32_t)a[3];
    uint32_t cpu = thread->rseq_cpu = this_cpu()->index;
    int error = store_cpu(thread, cpu, cpu);
    if (error)
        thread->rseq = 0;
    return error;
}
