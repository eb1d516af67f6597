// SPDX-License-Identifier: BSD-2-Clause
// Record locks: a list of ranges a node, under the node's lock.
#include "core/file/file_lock.h"
#include <linux/errno.h>
#include <linux/fs.h>
#include "core/file/blocking.h"
#include "core/file/regular_file.h"
#include "core/mm/heap.h"
#include "core/process/process.h"

struct record_lock {
    struct list link;
    const void *owner;
    unsigned pid; // 0: OFD lock
    bool exclusive;
    uint64_t start, end; // end is exclusive
};

struct lock_request {
    struct node *node;
    struct record_lock wanted;
    struct record_lock *spare[2]; // for the lock and for what splitting leaves over
};

// One queue for all: locks that must be waited for are rare.
static struct wait_queue unlocked = {.waiters = LIST_INIT(unlocked.waiters)};

static bool overlaps(const struct record_lock *a, const struct record_lock *b) {
    return a->start < b->end && b->start < a->end;
}

static struct record_lock *find_conflict(struct node *node, const struct record_lock *wanted) {
    list_for_each_entry(struct record_lock, lock, &node->locks, link) {
        if (lock->owner != wanted->owner && overlaps(lock, wanted) &&
            (lock->exclusive || wanted->exclusive))
            return lock;
    }
    return NULL;
}

// Takes the owner's own locks out of the range; a lock that surrounds it is cut in two with a
// spare.
static void carve(struct lock_request *request, struct list *freed) {
    const struct record_lock *range = &request->wanted;
    list_for_each_safe(link, &request->node->locks) {
        struct record_lock *lock = container_of(link, struct record_lock, link);
        if (lock->owner != range->owner || !overlaps(lock, range))
            continue;
        struct record_lock *rest = request->spare[1];
        if (lock->start < range->start && lock->end > range->end && rest) { // once: it is the only
            request->spare[1] = NULL;
            *rest = *lock;
            rest->start = range->end;
            lock->end = range->start;
            list_push_back(&request->node->locks, &rest->link);
        } else if (lock->start < range->start) {
            lock->end = range->start;
        } else if (lock->end > range->end) {
            lock->start = range->end;
        } else {
            list_remove(&lock->link);
            list_push_back(freed, &lock->link);
        }
    }
}

static void free_list(struct list *freed) {
    list_for_each_safe(link, freed) {
        list_remove(link);
        heap_free(container_of(link, struct record_lock, link));
    }
}

// Sets or removes the lock; -EAGAIN on a conflict.
static int apply(struct lock_request *request, bool remove) {
    struct list freed = LIST_INIT(freed);
    spin_lock(&request->node->lock);
    int error = !remove && find_conflict(request->node, &request->wanted) ? -EAGAIN : 0;
    if (!error) {
        carve(request, &freed);
        if (!remove) {
            struct record_lock *lock = request->spare[0];
            request->spare[0] = NULL;
            *lock = request->wanted;
            list_push_back(&request->node->locks, &lock->link);
        }
    }
    spin_unlock(&request->node->lock);
    free_list(&freed);
    if (!error)
        wait_queue_wake(&unlocked, 0);
    return error;
}

static bool no_conflict(void *object) {
    struct lock_request *request = object;
    spin_lock(&request->node->lock);
    bool none = !find_conflict(request->node, &request->wanted);
    spin_unlock(&request->node->lock);
    return none;
}

static int parse_range(struct file *file, const struct flock *lock, struct record_lock *wanted) {
    int64_t start, length = lock->l_len, base = 0;
    switch (lock->l_whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = (int64_t)atomic_load(&file->offset);
        break;
    case SEEK_END:
        base = (int64_t)regular_size(file->node);
        break;
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(base, lock->l_start, &start))
        return -EOVERFLOW;
    if (length < 0) {
        if (start < 0 || length == INT64_MIN || start + length < 0)
            return -EINVAL;
        start += length;
        length = -length;
    }
    if (start < 0)
        return -EINVAL;
    wanted->start = (uint64_t)start;
    wanted->end = length ? (uint64_t)start + (uint64_t)length : UINT64_MAX;
    wanted->exclusive = lock->l_type == F_WRLCK;
    return 0;
}

static int report(struct lock_request *request, struct flock *lock) {
    spin_lock(&request->node->lock);
    struct record_lock *conflict = find_conflict(request->node, &request->wanted);
    if (conflict) {
        lock->l_type = conflict->exclusive ? F_WRLCK : F_RDLCK;
        lock->l_whence = SEEK_SET;
        lock->l_start = (int64_t)conflict->start;
        lock->l_len = conflict->end == UINT64_MAX ? 0 : (int64_t)(conflict->end - conflict->start);
        lock->l_pid = conflict->pid ? (int)conflict->pid : -1;
    } else {
        lock->l_type = F_UNLCK;
    }
    spin_unlock(&request->node->lock);
    return 0;
}

static int change(struct lock_request *request, bool remove, bool waits) {
    int error;
    for (unsigned i = 0; i < 2; i++) {
        request->spare[i] = heap_new(struct record_lock);
        if (!request->spare[i]) {
            heap_free(request->spare[0]);
            return -ENOLCK;
        }
    }
    while ((error = apply(request, remove)) == -EAGAIN && waits) {
        error = file_wait(&unlocked, no_conflict, request, TIME_NEVER);
        if (error)
            break;
    }
    heap_free(request->spare[0]);
    heap_free(request->spare[1]);
    return error;
}

int file_lock_command(struct file *file, int command, struct flock *lock) {
    if (!file->node || !node_is(file->node, S_IFREG))
        return -EINVAL;
    if (lock->l_type != F_RDLCK && lock->l_type != F_WRLCK && lock->l_type != F_UNLCK)
        return -EINVAL;
    bool open_file = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    if (open_file && lock->l_pid)
        return -EINVAL;
    struct lock_request request = {.node = file->node};
    struct process *process = process_current();
    request.wanted.owner = open_file ? (void *)file : (void *)process->files;
    request.wanted.pid = open_file ? 0 : process->pid;
    int error = parse_range(file, lock, &request.wanted);
    if (error)
        return error;
    if (command == F_GETLK || command == F_OFD_GETLK)
        return lock->l_type == F_UNLCK ? -EINVAL : report(&request, lock);
    unsigned access = file->flags & O_ACCMODE;
    if ((lock->l_type == F_RDLCK && access == O_WRONLY) ||
        (lock->l_type == F_WRLCK && access == O_RDONLY))
        return -EBADF;
    return change(&request, lock->l_type == F_UNLCK,
                  command == F_SETLKW || command == F_OFD_SETLKW);
}

void file_locks_drop(struct node *node, const void *owner) {
    if (list_empty(&node->locks))
        return;
    struct list freed = LIST_INIT(freed);
    spin_lock(&node->lock);
    list_for_each_safe(link, &node->locks) {
        struct record_lock *lock = container_of(link, struct record_lock, link);
        if (lock->owner != owner)
            continue;
        list_remove(&lock->link);
        list_push_back(&freed, &lock->link);
    }
    spin_unlock(&node->lock);
    free_list(&freed);
    wait_queue_wake(&unlocked, 0);
}

void file_locks_free(struct node *node) {
    free_list(&node->locks);
}
