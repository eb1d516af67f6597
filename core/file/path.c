// SPDX-License-Identifier: BSD-2-Clause
// The path walk. Names are looked up under tree_lock; a walk is bounded by PATH_MAX and 40
// symlinks, and lets go of the lock every few names.
#include "core/file/path.h"
#include <linux/errno.h>
#include <linux/fcntl.h>
#include "core/file/file.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define SYMLINKS_MAX 40 // path_resolution(7)
#define STEPS_LOCKED 8  // names looked up with the lock held: a directory may be large

struct walk {
    struct node *at;      // no reference: tree_lock is held, or `kept` is one
    struct node *kept;    // where the lock was last given up, with a reference; NULL: not yet
    struct node *made[2]; // by a directory's `make`, with a reference
    const char *rest;
    char *buffer; // holds `rest` once a symlink was followed, PATH_MAX bytes
    unsigned symlinks;
    unsigned flags;
    struct path_result *result;
};

// Puts a symlink's target before what is left of the path.
static int follow(struct walk *walk, const struct node *symlink) {
    if (++walk->symlinks > SYMLINKS_MAX)
        return -ELOOP;
    char *target = heap_alloc(PATH_MAX);
    if (!target)
        return -ENOMEM;
    int64_t length = (int64_t)symlink->symlink.length;
    if (symlink->symlink.resolve)
        length = symlink->symlink.resolve(target, PATH_MAX);
    else if (length < PATH_MAX)
        memcpy(target, symlink->symlink.text, (size_t)length);
    size_t rest = strlen(walk->rest);
    int error = length < 0 ? (int)length : !length ? -ENOENT : 0;
    if (!error && (uint64_t)length + 1 + rest + 1 > PATH_MAX)
        error = -ENAMETOOLONG;
    if (error) {
        heap_free(target);
        return error;
    }
    if (rest || walk->result->needs_directory)
        target[length++] = '/';
    memcpy(target + length, walk->rest, rest + 1);
    heap_free(walk->buffer);
    walk->buffer = target;
    walk->rest = target;
    if (*walk->rest == '/')
        walk->at = node_root();
    return 0;
}

static void found(struct walk *walk, struct node *node, struct node *directory, const char *name,
                  size_t length) {
    struct path_result *result = walk->result;
    result->node = node;
    result->directory = directory;
    if (node)
        node_get(node);
    if (directory)
        node_get(directory);
    memcpy(result->name, name, length);
    result->name[length] = 0;
    result->name_length = length;
}

// What the directory has only while somebody looks: it lives as long as the walk and whoever opens
// it.
static struct node *make(struct walk *walk, const char *name, size_t length) {
    struct node **place = walk->made[0] ? &walk->made[1] : &walk->made[0];
    if (walk->at->directory.make && !*place)
        *place = walk->at->directory.make(walk->at, name, length);
    else
        return NULL;
    if (*place && node_is(*place, S_IFDIR))
        (*place)->directory.made_in = walk->at;
    return *place;
}

// One component. 0: go on; 1: the end was reached; -errno.
static int step(struct walk *walk) {
    while (*walk->rest == '/')
        walk->rest++;
    const char *name = walk->rest;
    size_t length = 0;
    while (name[length] && name[length] != '/')
        length++;
    walk->rest = name + length;
    bool slash = *walk->rest == '/';
    while (*walk->rest == '/')
        walk->rest++;
    bool last = !*walk->rest;
    if (!node_is(walk->at, S_IFDIR))
        return -ENOTDIR;
    bool dot = length == 1 && name[0] == '.',
         dot_dot = length == 2 && name[0] == '.' && name[1] == '.';
    if (!length || dot || dot_dot) {
        if (dot_dot)
            walk->at = node_parent(walk->at);
        if (last)
            found(walk, walk->at, NULL, name, length);
        return last;
    }
    if (length > NAME_MAX)
        return -ENAMETOOLONG;
    if (last && slash)
        walk->result->needs_directory = true;
    struct directory_entry *entry = directory_find(walk->at, name, length);
    struct node *below = entry ? entry->node : make(walk, name, length);
    if (!below) {
        if (!last || !(walk->flags & PATH_CREATE))
            return -ENOENT;
        found(walk, NULL, walk->at, name, length);
        return 1;
    }
    if (node_is(below, S_IFLNK) &&
        (!last || walk->flags & PATH_FOLLOW || walk->result->needs_directory))
        return follow(walk, below);
    if (last) {
        if (walk->result->needs_directory && !node_is(below, S_IFDIR))
            return -ENOTDIR;
        found(walk, below, walk->at, name, length);
        return 1;
    }
    walk->at = below;
    return 0;
}

// Lets others at the tree, and this CPU's interrupts and other threads have their turn.
static void let_others(struct walk *walk) {
    struct node *before = walk->kept;
    node_get(walk->at);
    walk->kept = walk->at;
    spin_unlock(&tree_lock);
    if (before)
        node_put(before);
    thread_preemption_point();
    spin_lock(&tree_lock);
}

static int walk_locked(struct walk *walk) {
    int status = 0;
    if (*walk->rest == '/')
        walk->at = node_root();
    for (unsigned steps = 1; !status; steps++) {
        if (steps % STEPS_LOCKED == 0)
            let_others(walk);
        status = step(walk);
    }
    return status < 0 ? status : 0;
}

static void working_directory(char *to) {
    struct process *process = process_current();
    spin_lock(&process->lock);
    memcpy(to, process->working_directory, sizeof(process->working_directory));
    spin_unlock(&process->lock);
}

// The walk to the working directory, then the path itself: the process keeps a path, not a node.
static int enter_working_directory(struct walk *walk, const char *directory, const char *path) {
    struct path_result result = {0};
    struct walk first = {
        .at = node_root(), .rest = directory, .flags = PATH_FOLLOW, .result = &result};
    int error = walk_locked(&first);
    heap_free(first.buffer);
    walk->kept = first.kept;
    if (error)
        return error;
    if (result.directory)
        atomic_fetch_sub(&result.directory->references, 1); // still held by the tree
    atomic_fetch_sub(&result.node->references, 1);
    walk->at = result.node;
    walk->rest = path;
    return 0;
}

int path_walk(struct node *start, const char *path, unsigned flags, struct path_result *result) {
    char directory[sizeof(((struct process *)0)->working_directory)] = "/";
    if (!*path)
        return -ENOENT;
    result->node = result->directory = NULL;
    result->needs_directory = false;
    bool from_working_directory = !start && *path != '/';
    if (from_working_directory)
        working_directory(directory);
    struct walk walk = {
        .at = start ? start : node_root(), .rest = path, .flags = flags, .result = result};
    spin_lock(&tree_lock);
    int error = from_working_directory ? enter_working_directory(&walk, directory, path) : 0;
    if (!error)
        error = walk_locked(&walk);
    spin_unlock(&tree_lock);
    for (unsigned i = 0; i < 2; i++)
        if (walk.made[i])
            node_put(walk.made[i]);
    if (walk.kept)
        node_put(walk.kept);
    heap_free(walk.buffer);
    return error;
}

void path_result_free(struct path_result *result) {
    if (result->node)
        node_put(result->node);
    if (result->directory)
        node_put(result->directory);
}

int path_find(struct node *start, const char *path, unsigned flags, struct node **node) {
    struct path_result result;
    int error = path_walk(start, path, flags, &result);
    if (error)
        return error;
    *node = result.node;
    if (result.directory)
        node_put(result.directory);
    return 0;
}

int path_load(uint64_t address, char **path) {
    *path = heap_alloc(PATH_MAX);
    if (!*path)
        return -ENOMEM;
    int64_t length = copy_string_from_user(*path, address, PATH_MAX);
    if (length >= 0)
        return 0;
    heap_free(*path);
    *path = NULL;
    return (int)length;
}

int user_path_load(struct user_path *user, int directory_fd, uint64_t address) {
    int error = path_load(address, &user->path);
    if (error)
        return error;
    user->start = NULL;
    user->directory = NULL;
    if (*user->path == '/' || directory_fd == AT_FDCWD)
        return 0;
    user->directory = fd_get(directory_fd);
    if (user->directory)
        user->start = user->directory->node;
    // Of an empty path the caller may want any file.
    if (user->directory && (!*user->path || (user->start && node_is(user->start, S_IFDIR))))
        return 0;
    error = user->directory ? -ENOTDIR : -EBADF;
    user_path_free(user);
    return error;
}

void user_path_free(struct user_path *user) {
    if (user->directory)
        file_put(user->directory);
    heap_free(user->path);
}

int user_path_find(int directory_fd, uint64_t address, unsigned flags, struct node **node) {
    struct user_path user;
    int error = user_path_load(&user, directory_fd, address);
    if (error)
        return error;
    error = path_find(user.start, user.path, flags, node);
    user_path_free(&user);
    return error;
}
