// SPDX-License-Identifier: BSD-2-Clause
// POSIX timers and the real-time interval timer. Their expiry, in interrupt context, sends the
// signal and arms the next.
#include "core/process/posix_timer.h"
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/time.h>
#include <linux/time_types.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "core/list.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/timer.h"
#include "core/sched/wait.h"

#define TIMERS_MAX 1024u // a process
#define PERIOD_LEAST                                                                               \
    100000u // ns between expiries of all timers of a process together; see next_period

struct posix_timer {
    struct list node; // in process->posix_timers
    struct process *process;
    struct timer timer;
    uint64_t interval; // ns, 0: once
    unsigned id;
    uint32_t overrun;      // periods missed at the last expiry
    bool realtime, silent; // silent: SIGEV_NONE
    int signal;
    unsigned tid; // SIGEV_THREAD_ID; 0: the process
    uint64_t value;
};

// Arms for the next period; how many periods were missed. Expiries run in interrupts, at nobody's
// expense: where the periods of a process's `count` timers are short, several of them go by in one.
// Process lock held.
static uint64_t next_period(struct timer *timer, uint64_t interval, unsigned count) {
    uint64_t earliest = time_now() + (uint64_t)PERIOD_LEAST * count, missed = 0;
    uint64_t deadline;
    if (__builtin_add_overflow(timer->deadline, interval, &deadline))
        deadline = TIME_NEVER;
    if (deadline <= earliest) {
        missed = (earliest - deadline) / interval + 1;
        deadline += missed * interval;
    }
    timer_start(timer, deadline);
    return missed;
}

static void posix_timer_expired(struct timer *timer) {
    struct posix_timer *posix = container_of(timer, struct posix_timer, timer);
    struct process *process = posix->process;
    spin_lock(&process->lock);
    bool superseded = timer->cpu >= 0; // timer_settime was faster: it has armed it anew
    uint64_t interval = posix->interval, missed = 0;
    if (interval && !superseded)
        missed = next_period(timer, interval, process->timer_count);
    if (missed > INT32_MAX)
        missed = INT32_MAX;
    posix->overrun = (uint32_t)missed;
    spin_unlock(&process->lock);
    if (posix->silent || superseded)
        return;
    struct signal_info info = {.signal = posix->signal,
                               .code = SI_TIMER,
                               .pid = posix->id,
                               .uid = (uint32_t)missed,
                               .value = posix->value};
    if (!posix->tid) {
        signal_queue_process(posix->process, &info);
        return;
    }
    struct thread *thread = thread_find(posix->tid);
    if (thread && thread->process == posix->process)
        signal_queue_thread(thread, &info);
    if (thread)
        thread_put(thread);
}

static void alarm_expired(struct timer *timer) {
    struct process *process = container_of(timer, struct process, alarm);
    spin_lock(&process->lock);
    bool superseded = timer->cpu >= 0;
    if (process->alarm_interval && !superseded)
        next_period(timer, process->alarm_interval, 1);
    spin_unlock(&process->lock);
    if (!superseded)
        signal_queue_process(process, &(struct signal_info){.signal = SIGALRM, .code = SI_KERNEL});
}

void posix_timer_process_init(struct process *process) {
    timer_init(&process->alarm, alarm_expired);
}

// It is off its process's list, so nobody but an expiry under way can arm it.
static void delete_timer(struct posix_timer *posix) {
    timer_stop(&posix->timer);
    heap_free(posix);
}

void posix_timer_process_exec(struct process *process) {
    for (;;) {
        spin_lock(&process->lock);
        struct list *node = process->posix_timers.next;
        bool empty = node == &process->posix_timers;
        if (!empty) {
            list_remove(node);
            process->timer_count--;
        }
        spin_unlock(&process->lock);
        if (empty)
            return;
        delete_timer(container_of(node, struct posix_timer, node));
        thread_preemption_point();
    }
}

void posix_timer_process_exit(struct process *process) {
    posix_timer_process_exec(process);
    timer_stop(&process->alarm); // the last thread: nobody sets it any more
}

// Process lock held.
static struct posix_timer *find(struct process *process, uint64_t id) {
    list_for_each_entry(struct posix_timer, posix, &process->posix_timers, node) {
        if (posix->id == id)
            return posix;
    }
    return NULL;
}

static int set_target(struct posix_timer *posix, uint64_t event_pointer) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    if (event_pointer && copy_from_user(&event, event_pointer, sizeof event))
        return -EFAULT;
    posix->silent = event.sigev_notify == SIGEV_NONE;
    posix->signal = event.sigev_signo;
    posix->value = event_pointer ? (uint64_t)(uintptr_t)event.sigev_value.sival_ptr : posix->id;
    if (posix->silent)
        return 0;
    if (posix->signal < 1 || posix->signal > 64)
        return -EINVAL;
    if (event.sigev_notify == SIGEV_SIGNAL)
        return 0;
    if (event.sigev_notify != (SIGEV_SIGNAL | SIGEV_THREAD_ID))
        return -EINVAL;
    posix->tid = (unsigned)event._sigev_un._tid;
    struct thread *thread = thread_find(posix->tid);
    bool ours = thread && thread->process == posix->process;
    if (thread)
        thread_put(thread);
    return ours ? 0 : -EINVAL;
}

int64_t sys_timer_create(const uint64_t *a) {
    struct process *process = process_current();
    int clock = (int)a[0];
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME)
        return -EINVAL;
    struct posix_timer *posix = heap_new(struct posix_timer);
    if (!posix)
        return -EAGAIN;
    posix->process = process;
    posix->realtime = clock == CLOCK_REALTIME;
    timer_init(&posix->timer, posix_timer_expired);
    list_init(&posix->node);
    spin_lock(&process->lock);
    do { // not an id of one that is still there, after INT32_MAX of them
        posix->id = process->next_timer++ & INT32_MAX;
    } while (find(process, posix->id));
    spin_unlock(&process->lock);
    int32_t id = (int32_t)posix->id;
    int error = set_target(posix, a[1]);
    if (!error && copy_to_user(a[2], &id, sizeof id))
        error = -EFAULT;
    if (error) {
        heap_free(posix);
        return error;
    }
    spin_lock(&process->lock);
    bool room = process->timer_count < TIMERS_MAX;
    if (room) {
        list_push_back(&process->posix_timers, &posix->node);
        process->timer_count++;
    }
    spin_unlock(&process->lock);
    if (room)
        return 0;
    heap_free(posix);
    return -EAGAIN;
}

int64_t sys_timer_delete(const uint64_t *a) {
    struct process *process = process_current();
    spin_lock(&process->lock);
    struct posix_timer *posix = find(process, a[0]);
    if (posix) {
        list_remove(&posix->node);
        process->timer_count--;
    }
    spin_unlock(&process->lock);
    if (!posix)
        return -EINVAL;
    delete_timer(posix);
    return 0;
}

static void report(const struct timer *timer, uint64_t interval, struct __kernel_itimerspec *out) {
    uint64_t now = time_now();
    *out = (struct __kernel_itimerspec){0};
    if (timer->cpu < 0 || timer->deadline == TIME_NEVER)
        return;
    time_spec_from_ns(&out->it_value, timer->deadline > now ? timer->deadline - now : 1);
    time_spec_from_ns(&out->it_interval, interval);
}

int64_t sys_timer_gettime(const uint64_t *a) {
    struct process *process = process_current();
    struct __kernel_itimerspec now;
    spin_lock(&process->lock);
    struct posix_timer *posix = find(process, a[0]);
    if (posix)
        report(&posix->timer, posix->interval, &now);
    spin_unlock(&process->lock);
    return posix ? copy_to_user(a[1], &now, sizeof now) : -EINVAL;
}

int64_t sys_timer_getoverrun(const uint64_t *a) {
    struct process *process = process_current();
    spin_lock(&process->lock);
    const struct posix_timer *posix = find(process, a[0]);
    int64_t result = posix ? (int64_t)posix->overrun : -EINVAL;
    spin_unlock(&process->lock);
    return result;
}

int64_t sys_timer_settime(const uint64_t *a) {
    struct process *process = process_current();
    struct __kernel_itimerspec new, old;
    if (copy_from_user(&new, a[2], sizeof new))
        return -EFAULT;
    if (!time_spec_valid(&new.it_value) || !time_spec_valid(&new.it_interval))
        return -EINVAL;
    uint64_t interval = time_spec_ns(&new.it_interval), value = time_spec_ns(&new.it_value);
    // The process lock keeps timer_delete and expiries away; timer_stop, which waits for an expiry
    // elsewhere that wants the lock, is not used here.
    spin_lock(&process->lock);
    struct posix_timer *posix = find(process, a[0]);
    if (posix) {
        report(&posix->timer, posix->interval, &old);
        posix->interval = value ? interval : 0;
        uint64_t deadline =
            value ? time_deadline(&new.it_value, a[1] & TIMER_ABSTIME, posix->realtime)
                  : TIME_NEVER;
        timer_start(&posix->timer, deadline);
    }
    spin_unlock(&process->lock);
    if (!posix)
        return -EINVAL;
    return a[3] ? copy_to_user(a[3], &old, sizeof old) : 0;
}

// ns until the alarm; 0: there is none. Process lock held.
static uint64_t alarm_left(const struct process *process, uint64_t *interval) {
    uint64_t now = time_now(), left = 0;
    if (process->alarm.cpu >= 0 && process->alarm.deadline != TIME_NEVER)
        left = process->alarm.deadline > now ? process->alarm.deadline - now : 1;
    *interval = left ? process->alarm_interval : 0;
    return left;
}

static uint64_t set_alarm(struct process *process, uint64_t value, uint64_t interval,
                          uint64_t *old_interval) {
    spin_lock(&process->lock);
    uint64_t now = time_now(), left = alarm_left(process, old_interval);
    process->alarm_interval = value ? interval : 0;
    timer_start(&process->alarm, value ? now + value : TIME_NEVER);
    spin_unlock(&process->lock);
    return left;
}

struct interval_timer {
    struct time_value interval, value;
};

static int check_kind(int kind) {
    if (kind == ITIMER_VIRTUAL || kind == ITIMER_PROF)
        return -EOPNOTSUPP;
    return kind == ITIMER_REAL ? 0 : -EINVAL;
}

static int store_interval_timer(uint64_t to, uint64_t left, uint64_t interval) {
    struct interval_timer timer = {.value = time_value_from_ns(left),
                                   .interval = time_value_from_ns(interval)};
    return copy_to_user(to, &timer, sizeof timer);
}

int64_t sys_getitimer(const uint64_t *a) {
    struct process *process = process_current();
    int error = check_kind((int)a[0]);
    if (error)
        return error;
    uint64_t interval;
    spin_lock(&process->lock);
    uint64_t left = alarm_left(process, &interval);
    spin_unlock(&process->lock);
    return store_interval_timer(a[1], left, interval);
}

int64_t sys_setitimer(const uint64_t *a) {
    struct interval_timer new = {0};
    int error = check_kind((int)a[0]);
    if (error)
        return error;
    if (a[1] && copy_from_user(&new, a[1], sizeof new))
        return -EFAULT;
    if ((uint64_t) new.value.microseconds >= 1000000 ||
        (uint64_t) new.interval.microseconds >= 1000000 || new.value.seconds < 0 ||
        new.interval.seconds < 0 || new.value.seconds > INT32_MAX ||
        new.interval.seconds > INT32_MAX)
        return -EINVAL;
    uint64_t interval;
    uint64_t left = set_alarm(process_current(), time_value_ns(&new.value),
                              time_value_ns(&new.interval), &interval);
    return a[2] ? store_interval_timer(a[2], left, interval) : 0;
}

int64_t sys_alarm(const uint64_t *a) {
    uint64_t interval;
    uint64_t left = set_alarm(process_current(), (uint32_t)a[0] * NS_PER_SECOND, 0, &interval);
    return (int64_t)((left + NS_PER_SECOND - 1) / NS_PER_SECOND);
}
