// SPDX-License-Identifier: BSD-2-Clause
// execve(2): the new program is loaded completely beside the old one; only then does it take the
// process over.
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include <stddef.h>
#include "arch/x86/context.h"
#include "arch/x86/cpu/segment.h"
#include "core/file/fd_table.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/exec.h"
#include "core/process/exec_image.h"
#include "core/process/posix_timer.h"
#include "core/process/process.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"
#include "core/sched/futex.h"
#include "core/string.h"

#define ARGUMENTS_MAX 131072u // bytes of all strings (POSIX's ARG_MAX of old; Linux takes more)
#define PATH_LIMIT    256u

static void copy_name(char *to, size_t size, const char *from) {
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = 0;
}

static void set_names(struct process *process, const char *path) {
    const char *base = path;
    for (const char *at = path; *at; at++)
        if (*at == '/')
            base = at + 1;
    copy_name(process->name, sizeof process->name, base);
    copy_name(thread_current()->name, sizeof thread_current()->name, base);
    char *to = process->executable;
    size_t room = sizeof process->executable;
    // /proc/self/exe names an absolute path.
    if (*path != '/') {
        size_t length = strlen(process->working_directory);
        if (length + 1 < room) {
            memcpy(to, process->working_directory, length);
            if (length && to[length - 1] != '/')
                to[length++] = '/';
            to += length;
            room -= length;
        }
    }
    copy_name(to, room, path);
}

static void reset_signals(struct process *process, struct thread *thread) {
    spin_lock(&process->lock);
    for (unsigned i = 0; i < 64; i++) {
        struct signal_action *action = &process->actions[i];
        bool ignore = action->handler == (uint64_t)(uintptr_t)SIG_IGN;
        *action =
            (struct signal_action){.handler = (uint64_t)(uintptr_t)(ignore ? SIG_IGN : SIG_DFL)};
    }
    spin_unlock(&process->lock);
    thread->signals.alternate_stack = thread->signals.alternate_size = 0;
    thread->signals.alternate_flags = SS_DISABLE;
}

// A table that other processes share is copied first, so that only this program loses its
// close-on-exec fds.
static int own_files(struct process *process) {
    if (atomic_load(&process->files->references) == 1)
        return 0;
    struct fd_table *copy = fd_table_clone(process->files), *shared = process->files;
    if (!copy)
        return -ENOMEM;
    process->files = copy;
    fd_table_put(shared);
    return 0;
}

static void enter_program(struct thread *thread, const struct exec_image *image) {
    *thread->frame = (struct trap_frame){
        .vector = TRAP_FRAME_FULL,
        .rip = image->entry,
        .rsp = image->stack_pointer,
        .cs = SEGMENT_USER_CODE,
        .ss = SEGMENT_USER_DATA,
        .rflags = X86_EFLAGS_IF | X86_EFLAGS_FIXED,
    };
    context_set_fs_base(0);
    context_set_gs_base(0);
}

static int take_over(struct exec_image *image, const char *path) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    int error = process_become_single();
    if (!error)
        error = own_files(process);
    if (!error)
        error = thread_reset_fpu();
    if (error)
        return error;
    if (process->space)
        futex_thread_exit(thread);
    thread->rseq = 0; // its address means nothing in the new space, and a switch there writes to it
    set_names(process, path);
    process->executed = true;
    posix_timer_process_exec(process);
    process_replace_space(process, image->space);
    fd_table_close_on_exec(process->files);
    reset_signals(process, thread);
    enter_program(thread, image);
    return 0;
}

int exec_program(const char *path, const struct exec_arguments *arguments) {
    char strings[PATH_LIMIT];
    struct exec_arguments only_path = {.strings = strings, .argc = 1};
    if (strnlen(path, sizeof strings) == sizeof strings)
        return -ENAMETOOLONG;
    if (!arguments) {
        only_path.size = (uint32_t)strlen(path) + 1;
        memcpy(strings, path, only_path.size);
        arguments = &only_path;
    }
    struct exec_image image = {.space = address_space_create()};
    if (!image.space)
        return -ENOMEM;
    int error = exec_image_load(&image, path);
    if (!error)
        error = exec_image_stack(&image, path, arguments);
    if (!error)
        error = take_over(&image, path);
    if (error)
        address_space_put(image.space);
    return error;
}

// Appends the strings of a user vector. 0 or -errno.
static int copy_vector(struct exec_arguments *arguments, uint64_t vector, uint32_t *count) {
    *count = 0;
    if (!vector) // as Linux: no vector is an empty one
        return 0;
    for (;; vector += 8) {
        uint64_t pointer;
        if (copy_from_user(&pointer, vector, sizeof pointer))
            return -EFAULT;
        if (!pointer)
            return 0;
        int64_t length = copy_string_from_user(arguments->strings + arguments->size, pointer,
                                               ARGUMENTS_MAX - arguments->size);
        if (length < 0)
            return length == -ENAMETOOLONG ? -E2BIG : (int)length;
        arguments->size += (uint32_t)length + 1;
        ++*count;
        if (arguments->size >= ARGUMENTS_MAX)
            return -E2BIG;
        if (*count % 64 == 0)
            thread_preemption_point();
    }
}

// Linux since 5.18: a program always has an argv[0].
static void ensure_first(struct exec_arguments *arguments) {
    if (arguments->argc)
        return;
    arguments->strings[0] = 0;
    arguments->size = 1;
    arguments->argc = 1;
}

int64_t sys_execve(const uint64_t *a) {
    char path[PATH_LIMIT];
    struct exec_arguments arguments = {0};
    int64_t length = copy_string_from_user(path, a[0], sizeof path);
    if (length <= 0)
        return length ? length : -ENOENT;
    arguments.strings = heap_alloc(ARGUMENTS_MAX);
    if (!arguments.strings)
        return -ENOMEM;
    int error = copy_vector(&arguments, a[1], &arguments.argc);
    if (!error) {
        ensure_first(&arguments);
        error = copy_vector(&arguments, a[2], &arguments.envc);
    }
    if (!error)
        error = exec_program(path, &arguments);
    heap_free(arguments.strings);
    return error;
}
