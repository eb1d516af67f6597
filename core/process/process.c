// SPDX-License-Identifier: BSD-2-Clause
// Making processes and taking them apart: threads' ends, zombies, reparenting, the first process.
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/eventpoll.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "core/file/fd_table.h"
#include "core/file/file.h"
#include "core/log.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/process/cgroup.h"
#include "core/process/exec.h"
#include "core/process/posix_timer.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"
#include "core/process/vdso/vdso.h"
#include "core/process/wait_status.h"
#include "core/sched/futex.h"
#include "core/string.h"

#define STACK_LIMIT (8ull << 20)
#define OPEN_FILES  1024

static struct process *init_process;

static void set_limits(struct process *process) {
    for (unsigned i = 0; i < RLIM_NLIMITS; i++)
        process->limits[i] = (struct rlimit_value){RLIM_INFINITY, RLIM_INFINITY};
    process->limits[RLIMIT_STACK].soft = STACK_LIMIT;
    process->limits[RLIMIT_CORE].soft = 0;
    process->limits[RLIMIT_NOFILE] = (struct rlimit_value){OPEN_FILES, FD_MAX};
}

struct process *process_create(struct process *parent) {
    struct process *process = heap_new(struct process);
    struct memory_account *account = process ? process_account_for(parent) : NULL;
    if (!account) {
        heap_free(process);
        return NULL;
    }
    process->account = account;
    process->references = 1; // the tree's: dropped by whoever reaps it
    list_init(&process->threads);
    list_init(&process->children);
    list_init(&process->sibling);
    list_init(&process->table_node);
    list_init(&process->posix_timers);
    wait_queue_init(&process->child_exited);
    wait_queue_init(&process->threads_changed);
    wait_queue_init(&process->vfork_done);
    wait_queue_init(&process->signalled);
    signal_state_init(&process->signals);
    posix_timer_process_init(process);
    set_limits(process);
    memcpy(process->working_directory, "/", 2);
    if (parent) {
        process->group = parent->group;
        process->session = parent->session;
        memcpy(process->limits, parent->limits, sizeof process->limits);
        spin_lock(&parent->lock);
        memcpy(process->working_directory, parent->working_directory,
               sizeof process->working_directory);
        memcpy(process->executable, parent->executable, sizeof process->executable);
        memcpy(process->name, parent->name, sizeof process->name);
        spin_unlock(&parent->lock);
    }
    return process;
}

void process_get(struct process *process) {
    atomic_fetch_add(&process->references, 1);
}

void process_put(struct process *process) {
    if (atomic_fetch_sub(&process->references, 1) != 1)
        return;
    signal_queue_flush(&process->signals, NULL);
    account_put(process->account);
    heap_free(process);
}

int process_add_thread(struct process *process, struct thread *thread) {
    spin_lock(&process_table_lock);
    spin_lock(&process->lock);
    bool leader = process->pid == 0;
    int error = process->exiting || process->executing ? -EAGAIN
                                                       : process_table_add(process, thread, leader);
    if (!error) {
        process_get(process);
        thread->process = process;
        cgroup_join(thread);
        list_push_back(&process->threads, &thread->process_node);
        process->thread_count++;
        process->live_threads++;
        if (!process->group)
            process->group = process->session = process->pid;
        if (process->stopped)
            atomic_fetch_or(&thread->work, THREAD_WORK_STOP);
    }
    spin_unlock(&process->lock);
    spin_unlock(&process_table_lock);
    return error;
}

// Sends all threads but one (NULL: all) out. Process lock held.
static void end_threads(struct process *process, const struct thread *except) {
    list_for_each_entry(struct thread, thread, &process->threads, process_node) {
        if (!except || thread != except)
            thread_interrupt(thread, THREAD_WORK_EXIT);
    }
}

void process_begin_exit(struct process *process, int status) {
    spin_lock(&process->lock);
    if (!process->exiting) {
        process->exiting = true;
        process->exit_status = status;
        end_threads(process, NULL);
    }
    spin_unlock(&process->lock);
}

_Noreturn void process_exit(int status) {
    process_begin_exit(process_current(), status);
    thread_exit(0);
}

static bool alone(void *object) {
    struct process *process = object;
    spin_lock(&process->lock);
    bool one = process->thread_count == 1;
    spin_unlock(&process->lock);
    return one;
}

int process_become_single(void) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    spin_lock(&process->lock);
    bool refused = process->exiting || process->executing;
    if (!refused) {
        process->executing = thread;
        end_threads(process, thread);
    }
    spin_unlock(&process->lock);
    int error = refused ? -EINTR
                        : wait_until(&process->threads_changed, alone, process, TIME_NEVER,
                                     wait_uninterruptible);
    spin_lock(&process_table_lock);
    if (!error && thread->tid != process->pid)
        process_table_rename_leader(thread);
    spin_lock(&process->lock);
    if (process->executing == thread)
        process->executing = NULL;
    spin_unlock(&process->lock);
    spin_unlock(&process_table_lock);
    return error;
}

void process_space_released(struct process *process) {
    __atomic_store_n(&process->shares_space, false, __ATOMIC_SEQ_CST);
    wait_queue_wake(&process->vfork_done, EPOLLIN);
}

void process_replace_space(struct process *process, struct address_space *space) {
    struct address_space *old = process->space;
    process->space = space;
    address_space_switch(space);
    if (old)
        address_space_put(old);
    process_space_released(process);
}

// The children of a process that ends become pid 1's. Table lock held. True if pid 1 has a zombie
// to reap.
static bool reparent_children(struct process *process) {
    bool zombies = false;
    list_for_each_safe(node, &process->children) {
        struct process *child = container_of(node, struct process, sibling);
        list_remove(node);
        child->parent = init_process;
        child->exit_signal = SIGCHLD;
        list_push_back(&init_process->children, node);
        if (child->stopped) { // nobody else would continue it (POSIX, _exit)
            signal_queue_process(child, &(struct signal_info){.signal = SIGHUP, .code = SI_KERNEL});
            signal_queue_process(child,
                                 &(struct signal_info){.signal = SIGCONT, .code = SI_KERNEL});
        }
        if (child->zombie) { // its first parent was told, pid 1 was not
            struct signal_info info = wait_status_info(child, SIGCHLD);
            signal_queue_process(init_process, &info);
            zombies = true;
        }
    }
    return zombies;
}

static bool parent_ignores(const struct process *parent) {
    const struct signal_action *action = &parent->actions[SIGCHLD - 1];
    return action->handler == (uint64_t)(uintptr_t)SIG_IGN || action->flags & SA_NOCLDWAIT;
}

// Tells the parent; a parent that does not care for its children gets no zombie.
static void report_end(struct process *process) {
    spin_lock(&process_table_lock);
    bool zombies = process != init_process && reparent_children(process);
    struct process *parent = process->parent;
    bool unwanted = !parent || (process->exit_signal == SIGCHLD && parent_ignores(parent));
    if (parent)
        process_get(parent);
    process_get(process); // a parent's wait4 may be quick
    process->zombie = true;
    if (unwanted) {
        list_remove(&process->sibling);
        process_table_remove_process(process);
    }
    spin_unlock(&process_table_lock);
    if (parent && process->exit_signal) {
        struct signal_info info = wait_status_info(process, process->exit_signal);
        signal_queue_process(parent, &info);
    }
    if (parent) {
        wait_queue_wake(&parent->child_exited, EPOLLIN);
        process_put(parent);
    }
    if (zombies)
        wait_queue_wake(&init_process->child_exited, EPOLLIN);
    if (unwanted)
        process_put(process);
    process_put(process);
}

static _Noreturn void init_ended(const struct process *process) {
    int status = process->exit_status;
    if (status & 0x7f)
        log_line("pid 1 (%s) was ended by signal %d: powering off", process->name, status & 0x7f);
    else
        log_line("pid 1 (%s) exited with %d: powering off", process->name, status >> 8 & 0xff);
    machine_power_off();
}

// The last thread takes the process down with it.
static void process_end(struct process *process) {
    posix_timer_process_exit(process);
    struct fd_table *files = process->files;
    fd_table_put(files);
    process->files = NULL;
    process_replace_space(process, NULL);
    kernel_stack_trim();
    if (process == init_process)
        init_ended(process);
    process->run_time += thread_run_time(thread_current()); // who reaps it may be quick
    report_end(process);
}

_Noreturn void thread_exit(int code) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    futex_thread_exit(thread);
    thread->rseq = 0;
    spin_lock(&process->lock);
    bool last = --process->live_threads == 0;
    if (last && !process->exiting) {
        process->exiting = true;
        process->exit_status = (code & 0xff) << 8;
    }
    spin_unlock(&process->lock);
    // No thread joins an exiting process, so the last one stays the last.
    if (last)
        process_end(process);
    spin_lock(&process_table_lock);
    spin_lock(&process->lock);
    process_table_remove_thread(thread);
    list_remove(&thread->process_node);
    process->thread_count--;
    if (!last)
        process->run_time += thread_run_time(thread);
    signal_retarget(process, &thread->signals);
    spin_unlock(&process->lock);
    spin_unlock(&process_table_lock);
    signal_queue_flush(&thread->signals, process);
    wait_queue_wake(&process->threads_changed, EPOLLIN);
    atomic_store(&thread->state, THREAD_DEAD);
    schedule();
    panic("a dead thread ran");
}

static void open_console(void) {
    int error = 0;
    struct file *console = path_open("/dev/console", 2 /* O_RDWR */, 0, &error);
    if (!console)
        panic("/dev/console: error %d", -error);
    for (int fd = 0; fd < 3; fd++) {
        file_get(console);
        if (fd_install(console, false) != fd)
            panic("the console is not fd %d", fd);
    }
    file_put(console);
}

static void init_entry(void *argument) {
    char *path = argument;
    struct thread *thread = thread_current();
    open_console();
    int error = exec_program(path, NULL);
    if (error) {
        log_line("%s: cannot be started, error %d", path, -error);
        process_exit(127 << 8);
    }
    user_return(thread->frame);
    context_return_to_user();
}

int process_start_init(const char *path) {
    struct process *process = process_create(NULL);
    struct thread *thread = thread_create();
    if (!process || !thread || vdso_init())
        return -ENOMEM;
    process->files = fd_table_create();
    if (!process->files)
        return -ENOMEM;
    init_process = process;
    int error = process_add_thread(process, thread);
    if (error)
        return error;
    thread_start(thread, init_entry, (void *)(uintptr_t)path);
    return 0;
}
