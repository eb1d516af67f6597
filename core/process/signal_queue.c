// SPDX-License-Identifier: BSD-2-Clause
// Pending signals: a bit a signal, and an entry with its siginfo: one for a standard signal,
// several for a real-time one.
#include <asm/errno.h>
#include <linux/eventpoll.h>
#include <stddef.h>
#include "core/list.h"
#include "core/mm/heap.h"
#include "core/process/job_control.h"
#include "core/process/process.h"
#include "core/process/signal_queue.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define QUEUE_LIMIT    256 // entries a process may have pending (RLIMIT_SIGPENDING)
#define FIRST_REALTIME 32

#define IGNORED_BY_DEFAULT                                                                         \
    (SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGURG) | SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGCONT))
#define STOPS                                                                                      \
    (SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU))
// Caused by the instruction at hand: delivered before all others.
#define SYNCHRONOUS                                                                                \
    (SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) |         \
     SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGSYS))

struct signal_entry {
    struct list node;
    struct signal_info info;
};

void signal_state_init(struct signal_state *state) {
    *state = (struct signal_state){.alternate_flags = SS_DISABLE};
    list_init(&state->queue);
}

bool signal_ignored_by_default(int signal) {
    return IGNORED_BY_DEFAULT & SIGNAL_BIT(signal);
}

bool signal_stops(int signal) {
    return STOPS & SIGNAL_BIT(signal);
}

bool signal_deliverable(const struct thread *thread) {
    uint64_t pending = atomic_load_explicit(&thread->signals.pending, memory_order_relaxed);
    if (thread->process)
        pending |= atomic_load_explicit(&thread->process->signals.pending, memory_order_relaxed);
    return pending & (~thread->signals.blocked | thread->signals.waited);
}

bool thread_interrupted(void) {
    struct thread *thread = thread_current();
    uint32_t work = atomic_load_explicit(&thread->work, memory_order_relaxed);
    if (!work)
        return false;
    if (work & (THREAD_WORK_EXIT | THREAD_WORK_STOP) || signal_deliverable(thread))
        return true;
    // Another thread took the signal, or the mask has changed. The bit would keep a vCPU out of its
    // guest.
    if (!thread->signals.restore_blocked && !thread->restart) {
        atomic_fetch_and(&thread->work, ~(uint32_t)THREAD_WORK_SIGNAL);
        if (signal_deliverable(thread))
            atomic_fetch_or(&thread->work, THREAD_WORK_SIGNAL);
    }
    return signal_deliverable(thread);
}

static bool ignored(const struct process *process, int signal) {
    uint64_t handler = process->actions[signal - 1].handler;
    if (handler == (uint64_t)(uintptr_t)SIG_IGN)
        return true;
    // Pid 1 gets only what it has asked for: nobody else could go on without it.
    return handler == (uint64_t)(uintptr_t)SIG_DFL &&
           (signal_ignored_by_default(signal) || process->pid == 1);
}

static bool lets_through(const struct thread *thread, int signal) {
    return (~thread->signals.blocked | thread->signals.waited) & SIGNAL_BIT(signal);
}

// Process lock held.
static int add_entry(struct process *process, struct signal_state *state,
                     const struct signal_info *info) {
    bool pending = state->pending & SIGNAL_BIT(info->signal);
    if (pending && info->signal < FIRST_REALTIME)
        return 0;
    struct signal_entry *entry =
        process->signals_queued < QUEUE_LIMIT ? heap_new(struct signal_entry) : NULL;
    // Without memory the signal still arrives, bare, but for sigqueue and timers, whose value would
    // be lost.
    if (!entry && info->code < 0 && info->code != SI_TKILL && info->signal >= FIRST_REALTIME)
        return -EAGAIN;
    if (entry) {
        entry->info = *info;
        list_push_back(&state->queue, &entry->node);
        process->signals_queued++;
    }
    atomic_fetch_or(&state->pending, SIGNAL_BIT(info->signal));
    wait_queue_wake(&process->signalled, EPOLLIN);
    return 0;
}

static void drop(struct process *process, struct signal_state *state, uint64_t set) {
    list_for_each_safe(node, &state->queue) {
        struct signal_entry *entry = container_of(node, struct signal_entry, node);
        if (!(SIGNAL_BIT(entry->info.signal) & set))
            continue;
        list_remove(node);
        heap_free(entry);
        if (process)
            process->signals_queued--;
    }
    atomic_fetch_and(&state->pending, ~set);
}

static void drop_everywhere(struct process *process, uint64_t set) {
    drop(process, &process->signals, set);
    list_for_each(node, &process->threads)
        drop(process, &container_of(node, struct thread, process_node)->signals, set);
}

// What sending does whatever becomes of the signal: SIGCONT and stop signals undo each other.
// Process lock held.
static void sent(struct process *process, int signal) {
    if (signal == SIGCONT) {
        drop_everywhere(process, STOPS);
        process_continue(process);
    } else if (signal_stops(signal)) {
        drop_everywhere(process, SIGNAL_BIT(SIGCONT));
    }
}

// A thread that takes the signal now; NULL: all block it. Process lock held.
static struct thread *choose(struct process *process, int signal) {
    struct thread *current = thread_current();
    if (current->process == process && lets_through(current, signal))
        return current;
    list_for_each_entry(struct thread, thread, &process->threads, process_node) {
        if (lets_through(thread, signal))
            return thread;
    }
    return NULL;
}

// to: the thread that it is for; NULL: any.
static int queue(struct process *process, struct thread *to, const struct signal_info *info) {
    if (info->signal == SIGKILL) {
        if (process->pid != 1)
            process_begin_exit(process, SIGKILL);
        return 0;
    }
    spin_lock(&process->lock);
    sent(process, info->signal);
    int error = 0;
    struct thread *taker = to;
    if (!to)
        taker = choose(process, info->signal);
    else if (!lets_through(to, info->signal))
        taker = NULL;
    bool wanted = !taker || !ignored(process, info->signal) ||
                  taker->signals.waited & SIGNAL_BIT(info->signal);
    if (wanted)
        error = add_entry(process, to ? &to->signals : &process->signals, info);
    if (wanted && !error && taker) // one that is ignored ends no wait
        thread_interrupt(taker, THREAD_WORK_SIGNAL);
    spin_unlock(&process->lock);
    return error;
}

int signal_queue_thread(struct thread *thread, const struct signal_info *info) {
    return queue(thread->process, thread, info);
}

int signal_queue_process(struct process *process, const struct signal_info *info) {
    return queue(process, NULL, info);
}

void signal_broken_pipe(void) {
    signal_queue_thread(thread_current(),
                        &(struct signal_info){.signal = SIGPIPE, .code = SI_KERNEL});
}

void signal_retarget(struct process *process, const struct signal_state *leaving) {
    uint64_t shared = process->signals.pending & ~leaving->blocked;
    for (; shared; shared &= shared - 1) {
        int signal = __builtin_ctzll(shared) + 1;
        list_for_each_entry(struct thread, thread, &process->threads, process_node) {
            if (&thread->signals == leaving || !lets_through(thread, signal))
                continue;
            thread_interrupt(thread, THREAD_WORK_SIGNAL);
            break;
        }
    }
}

// Takes the oldest entry of the signal; clears the bit when it was the last. Process lock held.
static void take(struct process *process, struct signal_state *state, int signal,
                 struct signal_info *info) {
    *info = (struct signal_info){.signal = signal, .code = SI_USER};
    struct signal_entry *found = NULL;
    bool more = false;
    list_for_each_entry(struct signal_entry, entry, &state->queue, node) {
        if (entry->info.signal != signal)
            continue;
        more = found;
        if (more)
            break;
        found = entry;
    }
    if (found) {
        *info = found->info;
        list_remove(&found->node);
        heap_free(found);
        process->signals_queued--;
    }
    if (!more)
        atomic_fetch_and(&state->pending, ~SIGNAL_BIT(signal));
}

bool signal_dequeue(uint64_t set, struct signal_info *info) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    spin_lock(&process->lock);
    uint64_t own = thread->signals.pending & set, shared = process->signals.pending & set;
    struct signal_state *state = own ? &thread->signals : &process->signals;
    uint64_t candidates = own ? own : shared;
    if (candidates & SYNCHRONOUS)
        candidates &= SYNCHRONOUS;
    if (candidates)
        take(process, state, __builtin_ctzll(candidates) + 1, info);
    if (candidates && signal_stops(info->signal))
        info->value = process->continues; // for process_stop
    spin_unlock(&process->lock);
    return candidates;
}

void signal_queue_flush(struct signal_state *state, struct process *process) {
    if (process)
        spin_lock(&process->lock);
    drop(process, state, UINT64_MAX);
    if (process)
        spin_unlock(&process->lock);
}

void signal_drop_ignored(struct process *process, int signal) {
    if (!ignored(process, signal))
        return;
    drop_everywhere(process, SIGNAL_BIT(signal));
}

void signal_info_to_user(const struct signal_info *info, siginfo_t *out) {
    memset(out, 0, sizeof *out);
    out->si_signo = info->signal;
    out->si_code = info->code;
    bool fault =
        info->code > 0 && info->code != SI_KERNEL && SIGNAL_BIT(info->signal) & SYNCHRONOUS;
    if (fault) {
        out->si_addr = (void *)(uintptr_t)info->value;
        return;
    }
    if (info->code == SI_TIMER) {
        out->si_tid = (int)info->pid;
        out->si_overrun = (int)info->uid;
        out->si_value.sival_ptr = (void *)(uintptr_t)info->value;
        return;
    }
    out->si_pid = (int)info->pid;
    out->si_uid = info->uid;
    if (info->signal == SIGCHLD && info->code > 0) {
        out->si_status = info->status;
        out->si_utime = (__kernel_clock_t)(info->run_time / 10000000);
    } else if (info->code == SI_QUEUE) {
        out->si_value.sival_ptr = (void *)(uintptr_t)info->value;
    }
}

const char *signal_name(int signal) {
    static const char *const names[] = {
        [SIGHUP] = "SIGHUP",   [SIGINT] = "SIGINT",   [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
        [SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT", [SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",
        [SIGKILL] = "SIGKILL", [SIGUSR1] = "SIGUSR1", [SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
        [SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM", [SIGSYS] = "SIGSYS",
    };
    bool known = signal > 0 && (size_t)signal < sizeof names / sizeof *names && names[signal];
    return known ? names[signal] : "signal";
}
