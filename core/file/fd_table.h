// SPDX-License-Identifier: BSD-2-Clause
// The fds of a process; shared by its threads.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include "core/file/file.h"
#include "core/sched/spinlock.h"

#define FD_MAX 65536u // hard limit of RLIMIT_NOFILE

// The slots of a table. Replaced as a whole when the table grows; the old ones stay until the table
// goes, because fd_lookup reads them without a lock (they double, so they cost no more than the
// newest).
struct fd_slots {
    unsigned capacity; // a multiple of 64
    struct fd_slots *previous;
    uint64_t *used; // bit per slot
    uint64_t *close_on_exec;
    struct file *_Atomic file[];
};

struct fd_table {
    struct fd_slots *_Atomic slots;
    atomic_uint references;
    struct spinlock lock;    // all changes
    unsigned lowest;         // no free slot below
    unsigned file_mode_mask; // umask(2)
};

unsigned fd_limit(void);                // RLIMIT_NOFILE of the current process
struct fd_table *fd_table_create(void); // NULL: no memory
struct fd_table *
fd_table_clone(const struct fd_table *table); // for vfork/clone without CLONE_FILES
void fd_table_get(struct fd_table *table);
void fd_table_put(struct fd_table *table); // closes all with the last reference; may wait
void fd_table_close_on_exec(struct fd_table *table);

// Lowest free slot >= from and < limit gets the file. Consumes the reference on success; fd,
// -EMFILE or -ENOMEM.
int fd_table_install(struct fd_table *table, struct file *file, unsigned from, unsigned limit,
                     bool close_on_exec);
// dup2: slot fd gets the file (its reference is consumed); *replaced: what was there, to be put by
// the caller. 0 or -ENOMEM.
int fd_table_replace(struct fd_table *table, unsigned fd, struct file *file, bool close_on_exec,
                     struct file **replaced);
struct file *fd_table_take(struct fd_table *table,
                           unsigned fd); // empties the slot; NULL: was empty
int fd_table_get_close_on_exec(struct fd_table *table, unsigned fd); // 0, 1 or -EBADF
int fd_table_set_close_on_exec(struct fd_table *table, unsigned fd, bool value);

// fd_lookup's rare cases: the table or the file changed while it looked.
struct file *fd_lookup_again(struct fd_table *table, unsigned fd);

// A reference to the file of an fd, without a lock: ioctl(KVM_RUN) comes this way. Safe because
// files are type-stable: a count that is not 0 is raised, and if the slot still shows that file,
// the reference is one on the right file. NULL: not open.
static inline struct file *fd_lookup(struct fd_table *table, unsigned fd) {
    struct fd_slots *slots = atomic_load_explicit(&table->slots, memory_order_acquire);
    if (__builtin_expect(fd >= slots->capacity, 0))
        return NULL;
    struct file *file = atomic_load_explicit(&slots->file[fd], memory_order_acquire);
    if (__builtin_expect(!file, 0))
        return NULL;
    unsigned count = atomic_load_explicit(&file->references, memory_order_relaxed);
    if (__builtin_expect(!count, 0) ||
        __builtin_expect(!atomic_compare_exchange_strong_explicit(&file->references, &count,
                                                                  count + 1, memory_order_acquire,
                                                                  memory_order_relaxed),
                         0))
        return fd_lookup_again(table, fd);
    slots = atomic_load_explicit(&table->slots, memory_order_acquire);
    if (__builtin_expect(atomic_load_explicit(&slots->file[fd], memory_order_relaxed) == file, 1))
        return file;
    file_put(file);
    return fd_lookup_again(table, fd);
}
