// SPDX-License-Identifier: BSD-2-Clause
// fd tables: slots that double, a bitmap to find the lowest free one.
#include "core/file/fd_table.h"
#include <linux/errno.h>
#include <linux/resource.h>
#include "core/file/file_lock.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define FIRST_CAPACITY         64u
#define DEFAULT_FILE_MODE_MASK 022

// An fd of the table goes: its process' record locks on that file go too (fcntl(2)).
static void drop_file(struct fd_table *table, struct file *file) {
    if (file->node)
        file_locks_drop(file->node, table);
    file_put(file);
}

static struct fd_slots *slots_create(unsigned capacity) {
    size_t bitmap = capacity / 8;
    size_t slots_size = sizeof(struct fd_slots) + capacity * sizeof(struct file *);
    struct fd_slots *slots = heap_alloc(slots_size + 2 * bitmap);
    if (!slots)
        return NULL;
    slots->capacity = capacity;
    slots->used = (uint64_t *)((uint8_t *)slots + slots_size);
    slots->close_on_exec = slots->used + capacity / 64;
    return slots;
}

static void slots_copy(struct fd_slots *to, const struct fd_slots *from) {
    memcpy(to->used, from->used, from->capacity / 8);
    memcpy(to->close_on_exec, from->close_on_exec, from->capacity / 8);
    for (unsigned fd = 0; fd < from->capacity; fd++)
        atomic_store_explicit(&to->file[fd],
                              atomic_load_explicit(&from->file[fd], memory_order_relaxed),
                              memory_order_relaxed);
}

static struct fd_table *table_create(unsigned capacity) {
    struct fd_table *table = heap_new(struct fd_table);
    if (!table)
        return NULL;
    struct fd_slots *slots = slots_create(capacity);
    if (!slots) {
        heap_free(table);
        return NULL;
    }
    atomic_store(&table->slots, slots);
    atomic_store(&table->references, 1);
    table->file_mode_mask = DEFAULT_FILE_MODE_MASK;
    return table;
}

struct fd_table *fd_table_create(void) {
    return table_create(FIRST_CAPACITY);
}

static struct fd_slots *table_slots(const struct fd_table *table) {
    return atomic_load_explicit(&((struct fd_table *)table)->slots, memory_order_relaxed);
}

struct fd_table *fd_table_clone(const struct fd_table *from) {
    struct fd_table *source = (struct fd_table *)from;
    for (;;) {
        unsigned capacity = table_slots(source)->capacity;
        struct fd_table *copy = table_create(capacity);
        if (!copy)
            return NULL;
        spin_lock(&source->lock);
        struct fd_slots *slots = table_slots(source);
        if (slots->capacity != capacity) { // grew meanwhile
            spin_unlock(&source->lock);
            fd_table_put(copy);
            continue;
        }
        slots_copy(table_slots(copy), slots);
        for (unsigned fd = 0; fd < capacity; fd++) {
            struct file *file = atomic_load_explicit(&slots->file[fd], memory_order_relaxed);
            if (file)
                file_get(file);
        }
        copy->lowest = source->lowest;
        copy->file_mode_mask = source->file_mode_mask;
        spin_unlock(&source->lock);
        return copy;
    }
}

void fd_table_get(struct fd_table *table) {
    atomic_fetch_add(&table->references, 1);
}

void fd_table_put(struct fd_table *table) {
    if (atomic_fetch_sub(&table->references, 1) != 1)
        return;
    struct fd_slots *slots = table_slots(table);
    for (unsigned fd = 0; fd < slots->capacity; fd++) {
        struct file *file = atomic_load_explicit(&slots->file[fd], memory_order_relaxed);
        if (file)
            drop_file(table, file);
        if (fd % 64 == 0)
            thread_preemption_point();
    }
    while (slots) {
        struct fd_slots *previous = slots->previous;
        heap_free(slots);
        slots = previous;
    }
    heap_free(table);
}

// With the lock held, which is given up around the allocation. 0 (look again) or -ENOMEM.
static int grow(struct fd_table *table, unsigned needed) {
    unsigned capacity = table_slots(table)->capacity;
    while (capacity <= needed)
        capacity *= 2;
    spin_unlock(&table->lock);
    struct fd_slots *larger = slots_create(capacity);
    spin_lock(&table->lock);
    if (!larger)
        return -ENOMEM;
    struct fd_slots *slots = table_slots(table);
    if (slots->capacity > needed) { // another thread was faster
        heap_free(larger);
        return 0;
    }
    slots_copy(larger, slots);
    larger->previous = slots;
    atomic_store_explicit(&table->slots, larger, memory_order_release);
    return 0;
}

static bool bit_test(const uint64_t *bits, unsigned index) {
    return bits[index / 64] >> index % 64 & 1;
}

static void bit_set(uint64_t *bits, unsigned index, bool value) {
    uint64_t bit = 1ull << index % 64;
    bits[index / 64] = value ? bits[index / 64] | bit : bits[index / 64] & ~bit;
}

// capacity when there is none
static unsigned find_free(const struct fd_slots *slots, unsigned from) {
    for (unsigned word = from / 64; word < slots->capacity / 64; word++) {
        uint64_t free_bits = ~slots->used[word];
        if (word == from / 64)
            free_bits &= ~0ull << from % 64;
        if (free_bits)
            return word * 64 + (unsigned)__builtin_ctzll(free_bits);
    }
    return from > slots->capacity ? from : slots->capacity;
}

static void slot_fill(struct fd_slots *slots, unsigned fd, struct file *file, bool close_on_exec) {
    bit_set(slots->used, fd, true);
    bit_set(slots->close_on_exec, fd, close_on_exec);
    atomic_store_explicit(&slots->file[fd], file, memory_order_release);
}

int fd_table_install(struct fd_table *table, struct file *file, unsigned from, unsigned limit,
                     bool close_on_exec) {
    spin_lock(&table->lock);
    int result;
    for (;;) {
        struct fd_slots *slots = table_slots(table);
        unsigned fd = find_free(slots, from > table->lowest ? from : table->lowest);
        if (fd >= limit) {
            result = -EMFILE;
            break;
        }
        if (fd < slots->capacity) {
            slot_fill(slots, fd, file, close_on_exec);
            if (from <= table->lowest)
                table->lowest = fd + 1;
            result = (int)fd;
            break;
        }
        result = grow(table, fd);
        if (result)
            break;
    }
    spin_unlock(&table->lock);
    return result;
}

int fd_table_replace(struct fd_table *table, unsigned fd, struct file *file, bool close_on_exec,
                     struct file **replaced) {
    int error = 0;
    *replaced = NULL;
    spin_lock(&table->lock);
    while (!error && fd >= table_slots(table)->capacity)
        error = grow(table, fd);
    if (!error) {
        struct fd_slots *slots = table_slots(table);
        *replaced = atomic_load_explicit(&slots->file[fd], memory_order_relaxed);
        slot_fill(slots, fd, file, close_on_exec);
    }
    spin_unlock(&table->lock);
    return error;
}

struct file *fd_table_take(struct fd_table *table, unsigned fd) {
    struct file *file = NULL;
    spin_lock(&table->lock);
    struct fd_slots *slots = table_slots(table);
    if (fd < slots->capacity && bit_test(slots->used, fd)) {
        file = atomic_load_explicit(&slots->file[fd], memory_order_relaxed);
        atomic_store_explicit(&slots->file[fd], NULL, memory_order_release);
        bit_set(slots->used, fd, false);
        bit_set(slots->close_on_exec, fd, false);
        if (fd < table->lowest)
            table->lowest = fd;
    }
    spin_unlock(&table->lock);
    return file;
}

int fd_table_get_close_on_exec(struct fd_table *table, unsigned fd) {
    spin_lock(&table->lock);
    struct fd_slots *slots = table_slots(table);
    int result = -EBADF;
    if (fd < slots->capacity && bit_test(slots->used, fd))
        result = bit_test(slots->close_on_exec, fd);
    spin_unlock(&table->lock);
    return result;
}

int fd_table_set_close_on_exec(struct fd_table *table, unsigned fd, bool value) {
    spin_lock(&table->lock);
    struct fd_slots *slots = table_slots(table);
    int result = -EBADF;
    if (fd < slots->capacity && bit_test(slots->used, fd)) {
        bit_set(slots->close_on_exec, fd, value);
        result = 0;
    }
    spin_unlock(&table->lock);
    return result;
}

void fd_table_close_on_exec(struct fd_table *table) {
    for (unsigned fd = 0; fd < table_slots(table)->capacity; fd++) {
        if (fd_table_get_close_on_exec(table, fd) != 1)
            continue;
        struct file *file = fd_table_take(table, fd);
        if (file)
            drop_file(table, file);
        thread_preemption_point();
    }
}

struct file *fd_lookup_again(struct fd_table *table, unsigned fd) {
    spin_lock(&table->lock);
    struct fd_slots *slots = table_slots(table);
    struct file *file = NULL;
    if (fd < slots->capacity)
        file = atomic_load_explicit(&slots->file[fd], memory_order_relaxed);
    if (file)
        file_get(file); // the table's own reference stays for as long as the lock is held
    spin_unlock(&table->lock);
    return file;
}

struct file *fd_get(int fd) {
    return fd_lookup(process_current()->files, (unsigned)fd);
}

int64_t file_call(file_call_handler *handler, const struct file_ops *kind, int error,
                  const uint64_t *arguments) {
    struct file *file = fd_get((int)arguments[0]);
    if (!file)
        return -EBADF;
    int64_t result = error;
    if (file->flags & O_PATH)
        result = -EBADF;
    else if (!kind || file->ops == kind)
        result = handler(file, arguments);
    file_put(file);
    return result;
}

unsigned fd_limit(void) {
    uint64_t limit = process_current()->limits[RLIMIT_NOFILE].soft;
    return limit < FD_MAX ? (unsigned)limit : FD_MAX;
}

int fd_install(struct file *file, bool close_on_exec) {
    int fd = fd_table_install(process_current()->files, file, 0, fd_limit(), close_on_exec);
    if (fd < 0)
        file_put(file);
    return fd;
}

int fd_close(int fd) {
    struct fd_table *table = process_current()->files;
    struct file *file = fd_table_take(table, (unsigned)fd);
    if (!file)
        return -EBADF;
    drop_file(table, file);
    return 0;
}

int fd_create(const struct file_ops *ops, void *object, uint32_t flags, bool close_on_exec) {
    struct file *file = file_create(ops, object, flags);
    if (!file)
        return -ENOMEM;
    int fd = fd_table_install(process_current()->files, file, 0, fd_limit(), close_on_exec);
    if (fd < 0) {
        static const struct file_ops no_ops = {.name = "none"};
        file->ops = &no_ops; // the object stays the caller's
        file_put(file);
    }
    return fd;
}

int fd_store_pair(const int fds[2], uint64_t user) {
    int error = fds[0] < 0   ? fds[0]
                : fds[1] < 0 ? fds[1]
                             : copy_to_user(user, fds, 2 * sizeof(int));
    for (unsigned i = 0; error && i < 2; i++)
        if (fds[i] >= 0)
            fd_close(fds[i]);
    return error;
}
