// SPDX-License-Identifier: BSD-2-Clause
// The system-call table, the way in, and the slow way out to user mode.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <stddef.h>
#include "arch/x86/context.h"
#include "arch/x86/cpu.h"
#include "arch/x86/virt.h"
#include "core/log.h"
#include "core/process/job_control.h"
#include "core/process/process.h"
#include "core/process/rseq.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

static system_call_handler *const table[SYSTEM_CALL_LIMIT] = {
#define SYSTEM_CALL(number, name, ...) [number] = name,
#define FILE_CALL                      SYSTEM_CALL
#define KIND_CALL                      SYSTEM_CALL
#define OLDER_CALL                     SYSTEM_CALL
#include "core/process/system_calls.def"
};

__attribute__((cold, noinline)) static int64_t missing(uint64_t number) {
    struct process *process = process_current();
    if (number < SYSTEM_CALL_LIMIT) {
        uint64_t *word = &process->missing_calls[number / 64], bit = 1ull << number % 64;
        if (!(*word & bit))
            log_line("%s[%u]: system call %lu is not there", process->name, process->pid, number);
        *word |= bit;
    }
    return -ENOSYS;
}

__attribute__((cold, noinline)) static void note_restart(uint64_t number) {
    struct thread *thread = thread_current();
    if (number == __NR_rt_sigreturn) // its result is whatever RAX the program had
        return;
    thread->restart = true;
    thread->restart_number = number;
    atomic_fetch_or(&thread->work, THREAD_WORK_SIGNAL);
}

void system_call_dispatch(struct trap_frame *frame) {
    uint64_t number = frame->rax;
    system_call_handler *handler = number < SYSTEM_CALL_LIMIT ? table[number] : NULL;
    int64_t result = __builtin_expect(handler != NULL, 1) ? handler(&frame->rdi) : missing(number);
    frame->rax = (uint64_t)result;
    if (__builtin_expect(
            (uint64_t)result - (uint64_t)-ERESTARTNOHAND <= ERESTARTNOHAND - ERESTARTSYS, 0))
        note_restart(number);
}

// Not inlined: this_cpu() must be asked after the last schedule().
static __attribute__((noinline)) void restore_host_msrs(void) {
    if (this_cpu()->guest_msrs_loaded)
        virt_user_return();
}

void user_return(struct trap_frame *frame) {
    struct thread *thread = thread_current();
    for (;;) {
        if (thread_must_yield()) {
            schedule();
            rseq_abort(thread, frame);
            continue;
        }
        uint32_t work = atomic_load(&thread->work);
        if (work & THREAD_WORK_EXIT)
            thread_exit(0);
        if (work & THREAD_WORK_STOP) {
            process_wait_continued();
            continue;
        }
        if (!(work & THREAD_WORK_SIGNAL))
            break;
        atomic_fetch_and(&thread->work, ~(uint32_t)THREAD_WORK_SIGNAL);
        signal_deliver(frame);
    }
    restore_host_msrs();
}
