// SPDX-License-Identifier: BSD-2-Clause
// Files and their reference counts. The memory of files is type-stable: a freed one goes to a list
// of files only.
#include "core/file/file.h"
#include <linux/eventpoll.h>
#include "core/file/epoll.h"
#include "core/file/file_lock.h"
#include "core/file/node.h"
#include "core/file/poll_table.h"
#include "core/mm/heap.h"
#include "core/sched/spinlock.h"

static struct {
    struct spinlock lock;
    struct file *first;
} unused;

static struct {
    struct spinlock lock;
    struct file *first;
    bool draining;
} deferred;

static struct file *unused_take(void) {
    spin_lock(&unused.lock);
    struct file *file = unused.first;
    if (file)
        unused.first = file->next;
    spin_unlock(&unused.lock);
    return file;
}

struct file *file_create(const struct file_ops *ops, void *object, uint32_t flags) {
    struct file *file = unused_take();
    if (!file)
        file = heap_new(struct file);
    if (!file)
        return NULL;
    file->ops = ops;
    file->flags = flags;
    atomic_store_explicit(&file->offset, 0, memory_order_relaxed);
    file->object = object;
    file->node = NULL;
    list_init(&file->watchers);
    file->next = NULL;
    atomic_store_explicit(&file->references, 1, memory_order_release);
    return file;
}

void file_get(struct file *file) {
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
}

void file_release(struct file *file) {
    if (!list_empty(&file->watchers))
        epoll_file_released(file);
    if (file->ops->release)
        file->ops->release(file);
    if (file->node) {
        file_locks_drop(file->node, file);
        node_put(file->node);
    }
    spin_lock(&unused.lock);
    file->next = unused.first;
    unused.first = file;
    spin_unlock(&unused.lock);
}

void file_put_deferred(struct file *file) {
    if (atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) != 1)
        return;
    spin_lock(&deferred.lock);
    file->next = deferred.first;
    deferred.first = file;
    if (deferred.draining) { // an outer caller, here or on another CPU, takes it
        spin_unlock(&deferred.lock);
        return;
    }
    deferred.draining = true;
    while ((file = deferred.first)) {
        deferred.first = file->next;
        spin_unlock(&deferred.lock);
        file_release(file);
        spin_lock(&deferred.lock);
    }
    deferred.draining = false;
    spin_unlock(&deferred.lock);
}

void poll_wait(struct poll_table *table, struct wait_queue *queue) {
    if (table)
        table->add(table, queue);
}

unsigned file_poll(struct file *file, struct poll_table *table) {
    if (!file->ops->poll)
        return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
    return file->ops->poll(file, table);
}
