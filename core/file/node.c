// SPDX-License-Identifier: BSD-2-Clause
// The tree of nodes and its names.
#include "core/file/node.h"
#include <linux/errno.h>
#include "arch/x86/cpu.h"
#include "core/file/file_lock.h"
#include "core/file/text_file.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/string.h"

struct spinlock tree_lock;

static _Atomic uint64_t last_number;
static struct node root = {
    .references = 1,
    .mode = S_IFDIR | 0755,
    .links = 2,
    .locks = LIST_INIT(root.locks),
    .directory.entries = LIST_INIT(root.directory.entries),
};

struct node *node_root(void) {
    return &root;
}

bool node_is(const struct node *node, uint32_t type) {
    return (node->mode & S_IFMT) == type;
}

void node_touch(struct node *node) {
    atomic_store_explicit(&node->modified, time_now() + time_realtime_offset(),
                          memory_order_relaxed);
}

struct node *node_create(uint32_t mode) {
    struct node *node = heap_new(struct node);
    if (!node)
        return NULL;
    atomic_store(&node->references, 1);
    node->mode = mode;
    node->number = atomic_fetch_add_explicit(&last_number, 1, memory_order_relaxed) + 1;
    list_init(&node->locks);
    if (node_is(node, S_IFDIR))
        list_init(&node->directory.entries);
    node_touch(node);
    return node;
}

void node_get(struct node *node) {
    atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
}

void node_put(struct node *node) {
    if (atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) != 1)
        return;
    if (node_is(node, S_IFREG)) {
        if (node->regular.memory)
            memory_object_put(node->regular.memory);
        if (node->regular.view)
            memory_object_put(node->regular.view);
    }
    if (node_is(node, S_IFLNK))
        heap_free(node->object);
    if (node->text && node->text->release)
        node->text->release(node->object);
    file_locks_free(node);
    heap_free(node);
}

struct directory_entry *directory_find(struct node *directory, const char *name, size_t length) {
    list_for_each_entry(struct directory_entry, entry, &directory->directory.entries, link) {
        if (entry->length == length && !memcmp(entry->name, name, length))
            return entry;
    }
    return NULL;
}

struct node *node_parent(struct node *node) {
    if (node->entry)
        return node->entry->directory;
    return node_is(node, S_IFDIR) && node->directory.made_in ? node->directory.made_in : node;
}

static bool is_removed(const struct node *directory) {
    return directory != &root && !directory->entry;
}

struct directory_entry *directory_entry_create(const char *name, size_t length, struct node *node) {
    struct directory_entry *entry = heap_alloc(sizeof(*entry) + length + 1);
    if (!entry)
        return NULL;
    memcpy(entry->name, name, length);
    entry->length = length;
    entry->node = node;
    node_get(node);
    return entry;
}

int directory_insert(struct node *directory, struct directory_entry *entry) {
    struct node *node = entry->node;
    if (is_removed(directory))
        return -ENOENT;
    if (directory_find(directory, entry->name, entry->length))
        return -EEXIST;
    entry->directory = directory;
    entry->cookie = ++directory->directory.next_cookie;
    list_push_back(&directory->directory.entries, &entry->link);
    node->entry = entry;
    node->links++;
    if (node_is(node, S_IFDIR)) {
        node->links++; // its own "."
        directory->links++;
    }
    return 0;
}

int directory_add(struct node *directory, const char *name, size_t length, struct node *node) {
    struct directory_entry *entry = directory_entry_create(name, length, node);
    if (!entry)
        return -ENOMEM;
    spin_lock(&tree_lock);
    int error = directory_insert(directory, entry);
    spin_unlock(&tree_lock);
    if (error)
        directory_entry_free(entry);
    else
        node_touch(directory);
    return error;
}

void directory_entry_remove(struct directory_entry *entry) {
    struct node *node = entry->node;
    list_remove(&entry->link);
    node->links--;
    if (node_is(node, S_IFDIR)) {
        node->links--;
        entry->directory->links--;
    }
    if (node->entry == entry)
        node->entry = NULL;
}

void directory_entry_free(struct directory_entry *entry) {
    node_put(entry->node);
    heap_free(entry);
}

// Fills from the end, name by name up to the root.
int64_t node_path(struct node *node, char *to, size_t size) {
    size_t at = size;
    int64_t result = 0;
    if (size < 2)
        return -ERANGE;
    to[--at] = 0;
    spin_lock(&tree_lock);
    for (; node != &root; node = node->entry->directory) {
        if (!node->entry) {
            result = -ENOENT;
            break;
        }
        if (node->entry->length + 1 > at) {
            result = -ERANGE;
            break;
        }
        at -= node->entry->length;
        memcpy(to + at, node->entry->name, node->entry->length);
        to[--at] = '/';
    }
    spin_unlock(&tree_lock);
    if (result)
        return result;
    if (at == size - 1)
        to[--at] = '/';
    memmove(to, to + at, size - at);
    return (int64_t)(size - at - 1);
}
