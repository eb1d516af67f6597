// SPDX-License-Identifier: BSD-2-Clause
// System calls: the handler type and the entry from the trap stubs. The table is
// core/process/system_calls.def.
#pragma once
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <stddef.h>
#include <stdint.h>

struct file;
struct file_ops;
struct trap_frame;
// arguments: rdi, rsi, rdx, r10, r8, r9. Returns the result or -errno.
typedef int64_t system_call_handler(const uint64_t *arguments);
// Called by the SYSCALL stub on the thread's kernel stack, the number in frame->rax; stores the
// result there. The stub then checks for work (user_return) and leaves.
void system_call_dispatch(struct trap_frame *frame);
// Slow path before user mode when thread->work, cpu->reschedule or cpu->guest_msrs_loaded is set:
// yields, delivers signals, exits.
void user_return(struct trap_frame *frame);
// Results of calls that were cut short by a signal; user mode never sees them (Linux's numbers).
#define ERESTARTSYS    512 // again if the handler has SA_RESTART (or there was none), else EINTR
#define ERESTARTNOINTR 513 // always again
#define ERESTARTNOHAND 514 // again if there was no handler, else EINTR

// prctl(PR_SCHED_CORE, ...): 0 or -errno.
int core_scheduling_control(const uint64_t *arguments);

// What a call on an open file does.
typedef int64_t file_call_handler(struct file *file, const uint64_t *arguments);

// Calls it with the file of fd arguments[0]. -EBADF: there is none, or one of O_PATH; error: it is
// not of this kind (NULL: any).
int64_t file_call(file_call_handler *handler, const struct file_ops *kind, int error,
                  const uint64_t *arguments);

#define SYSTEM_CALL(number, handler) system_call_handler handler;
#define FILE_CALL(number, name, handler)                                                           \
    file_call_handler handler;                                                                     \
    static inline int64_t name(const uint64_t *a) {                                                \
        return file_call(handler, NULL, 0, a);                                                     \
    }
#define KIND_CALL(number, name, handler, kind, error)                                              \
    extern const struct file_ops kind;                                                             \
    file_call_handler handler;                                                                     \
    static inline int64_t name(const uint64_t *a) {                                                \
        return file_call(handler, &(kind), -error, a);                                             \
    }
#define OLDER_CALL(number, name, newer, ...)                                                       \
    static inline int64_t name(const uint64_t *a) {                                                \
        return newer((const uint64_t[6]){__VA_ARGS__});                                            \
    }
#include "core/process/system_calls.def"
#undef SYSTEM_CALL
#undef FILE_CALL
#undef KIND_CALL
#undef OLDER_CALL
