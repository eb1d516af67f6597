/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How a vCPU's thread sleeps, is woken, moved and kicked: core/sched/wait.c, core/sched/scheduler.c, vcpu_block
 * and the KVM_RUN loop in core/kvm/vcpu_run.c, vcpu_attend in core/kvm/vcpu.c, and the entry in arch/x86/vmx/run.c
 * (SVM's is the same). Names are those of the code. One thread and two CPUs; interrupts come from outside.
 *
 * No double run: the thread is taken onto a CPU only when it is off every other (the assertion).
 * No lost wake-up: the thread ends when it has seen the event and the signal, so a run in which it misses one
 * ends in an invalid state: asleep for ever, or in a guest that nobody interrupts.
 *
 * Each BROKEN_* takes one step out or turns two around, and must be found by the checker: tests/models/check.py.
 */

#define CPUS   2
#define NOBODY CPUS

mtype = { READY, RUNNING, WAITING, DEAD }

mtype state = READY;      /* thread->state */
byte thread_cpu = 0;      /* thread->entity.cpu */
byte queued_on = 0;       /* the run queue that has it */
byte on_cpu = NOBODY;     /* whose registers are the thread's */
bool work = false;        /* thread->work: a signal */
bool is_current[CPUS];    /* scheduler_cpu.current is the thread */
bool locked[CPUS];        /* run_queue.lock */
bool reschedule[CPUS];
bool kicked[CPUS];        /* an interrupt is pending; it is taken in user mode, in a guest and in idle */

bool attention = false;   /* ATTENTION_EVENT */
bool irr = false;         /* what it stands for */
bool in_guest = false;
byte vcpu_cpu = 0;        /* vcpu->cpu */
bool vcpu_waiting = false;/* vcpu->waiting */
bool on_wait_queue = false;
bool wait_queue_locked = false;

bool seen = false;
bool signal_seen = false;

inline lock(flag) { atomic { !flag -> flag = true } }
inline unlock(flag) { flag = false }

/* -- core/sched/scheduler.c -- */

/* What is done under a lock and looked at only under it, or later, is one step. */
inline enqueue(to) {
    atomic {
        !locked[to] ->
        thread_cpu = to;
        queued_on = to;
        reschedule[to] = true
    }
    kicked[to] = true
}

/* `where`: scratch of the caller. */
inline scheduler_wake(where) {
    bool woken = false, off = false, waits = false;
    woken = false; off = false;
    do
    :: state != WAITING -> break
    :: else ->
        where = thread_cpu;
#ifndef BROKEN_WAKE_WITHOUT_LOCK
        lock(locked[where]);
#endif
#ifdef BROKEN_CPU_BEFORE_STATE
        waits = true;
#else
        waits = state == WAITING;
#endif
        if
        :: waits && thread_cpu == where ->
            atomic {
                if
                :: state == WAITING -> state = READY; woken = true
                :: else
                fi
            }
            off = woken && !is_current[where];
            unlock(locked[where]);
            break
        :: else -> unlock(locked[where])
        fi
    od;
    if
    :: off ->
        if /* run_domain_place */
        :: where = 0
        :: where = 1
        fi;
        enqueue(where)
    :: else
    fi
}

/* The thread's side: it goes on when it is on a CPU again, perhaps another. */
inline schedule() {
    lock(locked[cpu]);
    reschedule[cpu] = false;
    if
    :: state == WAITING || state == DEAD ->
        is_current[cpu] = false;
#ifdef BROKEN_UNLOCK_BEFORE_SWITCH
        unlock(locked[cpu]);
        on_cpu = NOBODY;
#else
        on_cpu = NOBODY; /* context_switch */
        unlock(locked[cpu]); /* scheduler_finish_switch */
#endif
        if
        :: state == DEAD
        :: on_cpu != NOBODY -> cpu = on_cpu
        fi
    :: else ->
        state = RUNNING;
        unlock(locked[cpu])
    fi
}

/* What a CPU does while the thread is not on it. */
proctype idle(byte cpu) {
end:
    do
    :: on_cpu != cpu && !is_current[cpu] ->
        if
        :: reschedule[cpu] || queued_on == cpu ->
            atomic {
                !locked[cpu] ->
                reschedule[cpu] = false;
                if
                :: queued_on == cpu ->
                    queued_on = NOBODY;
                    state = RUNNING;
                    is_current[cpu] = true;
                    assert(on_cpu == NOBODY); /* no double run */
                    on_cpu = cpu
                :: else
                fi
            }
        :: else ->
end_sleep:  if
            :: queued_on == 1 - cpu -> /* run_domain_pull */
                atomic {
                    !locked[0] && !locked[1] ->
                    if
                    :: queued_on == 1 - cpu -> queued_on = cpu; thread_cpu = cpu
                    :: else
                    fi
                }
            :: kicked[cpu] -> kicked[cpu] = false /* STI; HLT */
            :: on_cpu == cpu -> skip
            fi
        fi
    od
}

/* -- core/kvm and core/sched/wait.c: the vCPU's thread -- */

inline take_event() {
    d_step {
        if
        :: irr -> irr = false; seen = true
        :: else
        fi
    }
}

inline cancel_wait() {
    state = RUNNING
}

inline vcpu_block() {
    do
    :: true ->
#ifdef BROKEN_LOOK_BEFORE_MARK
        attention = false;
        found = irr;
#endif
        state = WAITING; /* waiter_add: wait_prepare */
        atomic { !wait_queue_locked -> on_wait_queue = true }
        vcpu_waiting = true;
#ifndef BROKEN_LOOK_BEFORE_MARK
        attention = false; /* take_attention */
        found = irr; /* vcpu_wakeable */
#endif
        if
        :: found -> cancel_wait(); break
        :: else
        fi;
        /* wait(TIME_NEVER) */
        if
#ifndef BROKEN_NO_LOOK_AT_SIGNAL
        :: work -> cancel_wait(); break
#endif
        :: else ->
            if
            :: state == WAITING -> schedule()
            :: else -> cancel_wait()
            fi
        fi;
        atomic { !wait_queue_locked -> on_wait_queue = false } /* waiter_remove */
        if
        :: work -> break /* -EINTR */
        :: else
        fi
    od;
    vcpu_waiting = false;
    atomic { !wait_queue_locked -> on_wait_queue = false }
    cancel_wait();
    halted = (found -> false : halted)
}

proctype vcpu() {
    byte cpu;
    bool found = false, halted = false, leave = false, look = false;

    on_cpu != NOBODY -> cpu = on_cpu;
    do
    :: seen && signal_seen -> break
    :: else ->
        if
        :: halted -> vcpu_block()
        :: else ->
            vcpu_cpu = cpu;
            found = irr; /* prepare_run */
#ifdef BROKEN_LOOK_BEFORE_IN_GUEST
            leave = work || reschedule[cpu];
            look = attention;
            in_guest = true;
#else
            in_guest = true;
            leave = work || reschedule[cpu];
            look = attention;
#endif
            if
            :: leave
            :: else ->
                if
                :: look -> attention = false; found = true
                :: else
                fi;
                if
                :: found -> take_event()
                :: else
                fi;
                if /* the guest: HLT, or code that only an interrupt ends */
                :: halted = true
                :: true ->
                    if
                    :: kicked[cpu] -> kicked[cpu] = false
                    :: seen && signal_seen /* nothing is to come */
                    fi
                fi
            fi;
            in_guest = false
        fi;
        if
        :: work -> work = false; signal_seen = true /* KVM_RUN returns, the handler runs, KVM_RUN again */
        :: else
        fi;
        if
        :: reschedule[cpu] -> schedule()
        :: else
        fi
    od;
    state = DEAD;
    schedule()
}

/* -- those who want something of it -- */

proctype device() {
    byte where;
    irr = true;
    attention = true; /* vcpu_attend */
    if
    :: vcpu_waiting ->
        if /* wait_queue_wake */
        :: on_wait_queue ->
            lock(wait_queue_locked);
            if
            :: on_wait_queue -> scheduler_wake(where)
            :: else
            fi;
            unlock(wait_queue_locked)
        :: else
        fi
    :: else
    fi;
    where = vcpu_cpu;
#ifndef BROKEN_NO_KICK
    if
    :: in_guest -> kicked[where] = true
    :: else
    fi
#endif
}

proctype signal() {
    byte where;
    work = true; /* thread_interrupt */
    scheduler_wake(where);
    where = thread_cpu;
    if
    :: is_current[where] -> kicked[where] = true
    :: else
    fi
}

init {
    atomic {
        run idle(0);
        run idle(1);
        run vcpu();
        run device();
        run signal()
    }
}
