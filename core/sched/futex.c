// SPDX-License-Identifier: BSD-2-Clause
// futex(2): waiters hashed by what names the word: the address space and address (private), or the
// object and offset (shared memory). A waiter holds no reference on either: another that comes in
// its place may wake it, which futex(2) allows.
#include <asm/errno.h>
#include <linux/futex.h>
#include "arch/x86/cpu.h"
#include "core/list.h"
#include "core/mm/address_space.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/futex.h"
#include "core/sched/scheduler.h"
#include "core/sched/wait.h"

#define FUTEX_BUCKETS     256
#define ROBUST_LIST_LIMIT 2048 // as Linux: a list that user space has looped ends

struct futex_key {
    const void *owner;
    uint64_t address;
};

struct futex_bucket {
    struct spinlock lock; // order: beside the wait queues
    struct list waiters;  // next NULL: not used yet
};

struct futex_waiter {
    struct list node;
    struct futex_key key;
    struct futex_bucket *_Atomic bucket; // changes with a requeue
    struct thread *thread;
    uint32_t bitset;
    _Atomic bool woken;
};

static struct futex_bucket buckets[FUTEX_BUCKETS];

static struct futex_bucket *bucket_of(const struct futex_key *key) {
    uint64_t hash = ((uint64_t)(uintptr_t)key->owner ^ key->address) * 0x9e3779b97f4a7c15ull;
    return &buckets[hash >> 56];
}

static bool same_key(const struct futex_key *a, const struct futex_key *b) {
    return a->owner == b->owner && a->address == b->address;
}

static struct list *waiters_of(struct futex_bucket *bucket) {
    if (!bucket->waiters.next)
        list_init(&bucket->waiters);
    return &bucket->waiters;
}

static int make_key(uint64_t address, bool shared, struct futex_key *key) {
    if (address % 4)
        return -EINVAL;
    if (address >= USER_END)
        return -EFAULT;
    struct address_space *space = process_current()->space;
    if (!shared) {
        *key = (struct futex_key){.owner = space, .address = address};
        return 0;
    }
    struct user_page page; // there, and no change of mappings under way there
    if (address_space_page(space, address, ACCESS_READ, &page))
        return -EFAULT;
    return address_space_content(space, address, &key->owner, &key->address);
}

// Under the bucket's lock, so that the waiter, which takes it on its way out, is still there when
// it is woken.
static void wake_waiter(struct futex_waiter *waiter) {
    list_remove(&waiter->node);
    atomic_store(&waiter->woken, true);
    scheduler_wake(waiter->thread, WAKE_EVENT);
}

static int wake_key(const struct futex_key *key, unsigned count, uint32_t bitset) {
    struct futex_bucket *bucket = bucket_of(key);
    int woken = 0;
    spin_lock(&bucket->lock);
    list_for_each_safe(node, waiters_of(bucket)) {
        struct futex_waiter *waiter = container_of(node, struct futex_waiter, node);
        if (!count)
            break;
        if (!same_key(&waiter->key, key) || !(waiter->bitset & bitset))
            continue;
        wake_waiter(waiter);
        woken++;
        count--;
    }
    spin_unlock(&bucket->lock);
    return woken;
}

static void enqueue(struct futex_waiter *waiter) {
    struct futex_bucket *bucket = bucket_of(&waiter->key);
    spin_lock(&bucket->lock);
    waiter->bucket = bucket;
    list_push_back(waiters_of(bucket), &waiter->node);
    spin_unlock(&bucket->lock);
}

// True if it had been woken.
static bool dequeue(struct futex_waiter *waiter) {
    for (;;) {
        struct futex_bucket *bucket = waiter->bucket;
        spin_lock(&bucket->lock);
        bool here = waiter->bucket == bucket;
        if (here)
            list_remove(&waiter->node);
        spin_unlock(&bucket->lock);
        if (here)
            return waiter->woken;
    }
}

static int64_t futex_wait(uint64_t address, bool shared, uint32_t expected, uint32_t bitset,
                          uint64_t deadline) {
    struct futex_waiter waiter = {.thread = thread_current(), .bitset = bitset};
    if (!bitset)
        return -EINVAL;
    int error = make_key(address, shared, &waiter.key);
    if (error)
        return error;
    list_init(&waiter.node);
    // Queued before the look at the word: a wake-up after a change of the word finds the waiter, or
    // the waiter the change.
    enqueue(&waiter);
    uint32_t value;
    error = user_load_32(&value, address);
    if (!error && value != expected)
        error = -EAGAIN;
    while (!error) {
        wait_prepare();
        if (waiter.woken) {
            wait_cancel();
            break;
        }
        error = wait(deadline);
    }
    if (dequeue(&waiter))
        return 0;
    // With a timeout Linux would restart with the rest of it; a handler always makes it EINTR.
    if (error == -EINTR)
        return deadline == TIME_NEVER ? -ERESTARTSYS : -EINTR;
    return error;
}

static int64_t futex_wake_call(uint64_t address, bool shared, uint32_t count, uint32_t bitset) {
    struct futex_key key;
    int error = bitset ? make_key(address, shared, &key) : -EINVAL;
    return error ? error : wake_key(&key, count, bitset);
}

static int64_t futex_requeue(const uint64_t *a, bool shared, bool compare) {
    int32_t wake = (int32_t)a[2], move = (int32_t)a[3];
    struct futex_key from, to;
    if (wake < 0 || move < 0)
        return -EINVAL;
    int error = make_key(a[0], shared, &from);
    if (!error)
        error = make_key(a[4], shared, &to);
    if (error)
        return error;
    if (compare) {
        // Waiters queue before they look at the word, so that comparing without the lock loses none
        // of them.
        uint32_t value;
        if (user_load_32(&value, a[0]))
            return -EFAULT;
        if (value != (uint32_t)a[5])
            return -EAGAIN;
    }
    struct futex_bucket *source = bucket_of(&from), *target = bucket_of(&to);
    struct futex_bucket *first = source < target ? source : target;
    struct futex_bucket *second = source < target ? target : source;
    int woken = 0, moved = 0;
    spin_lock(&first->lock);
    if (second != first)
        spin_lock(&second->lock);
    list_for_each_safe(node, waiters_of(source)) {
        struct futex_waiter *waiter = container_of(node, struct futex_waiter, node);
        if (!same_key(&waiter->key, &from))
            continue;
        if (woken < wake) {
            wake_waiter(waiter);
            woken++;
        } else if (moved < move) {
            waiter->key = to;
            if (source != target) {
                list_remove(&waiter->node);
                list_push_back(waiters_of(target), &waiter->node);
                waiter->bucket = target;
            }
            moved++;
        } else {
            break;
        }
    }
    if (second != first)
        spin_unlock(&second->lock);
    spin_unlock(&first->lock);
    return compare ? woken + moved : woken;
}

// FUTEX_WAKE_OP's operation on *address: 0, *old set; -EFAULT, -ENOSYS.
static int wake_operation(uint64_t address, uint32_t encoded, uint32_t *old) {
    unsigned operation = encoded >> 28 & 7;
    uint32_t argument = (uint32_t)((int32_t)(encoded << 8) >> 20);
    if (encoded >> 28 & FUTEX_OP_OPARG_SHIFT)
        argument = 1u << (argument & 31);
    if (operation > FUTEX_OP_XOR)
        return -ENOSYS;
    if (user_load_32(old, address))
        return -EFAULT;
    for (;;) {
        uint32_t results[] = {
            [FUTEX_OP_SET] = argument,        [FUTEX_OP_ADD] = *old + argument,
            [FUTEX_OP_OR] = *old | argument,  [FUTEX_OP_ANDN] = *old & ~argument,
            [FUTEX_OP_XOR] = *old ^ argument,
        };
        uint64_t found;
        if (user_compare_exchange_64(address, *old, results[operation], &found, 4))
            return -EFAULT;
        if ((uint32_t)found == *old)
            return 0;
        *old = (uint32_t)found;
    }
}

static bool wake_comparison(uint32_t encoded, uint32_t old) {
    int32_t argument = (int32_t)(encoded << 20) >> 20, value = (int32_t)old;
    switch (encoded >> 24 & 15) {
    case FUTEX_OP_CMP_EQ:
        return value == argument;
    case FUTEX_OP_CMP_NE:
        return value != argument;
    case FUTEX_OP_CMP_LT:
        return value < argument;
    case FUTEX_OP_CMP_LE:
        return value <= argument;
    case FUTEX_OP_CMP_GT:
        return value > argument;
    default:
        return value >= argument;
    }
}

static int64_t futex_wake_op(const uint64_t *a, bool shared) {
    struct futex_key first, second;
    uint32_t encoded = (uint32_t)a[5], old;
    int error = make_key(a[0], shared, &first);
    if (!error)
        error = make_key(a[4], shared, &second);
    if (!error && (encoded >> 24 & 15) > FUTEX_OP_CMP_GE)
        error = -ENOSYS;
    if (!error)
        error = wake_operation(a[4], encoded, &old);
    if (error)
        return error;
    int64_t woken = wake_key(&first, (uint32_t)a[2], FUTEX_BITSET_MATCH_ANY);
    if (wake_comparison(encoded, old))
        woken += wake_key(&second, (uint32_t)a[3], FUTEX_BITSET_MATCH_ANY);
    return woken;
}

int64_t sys_futex(const uint64_t *a) {
    unsigned operation = (unsigned)a[1] & FUTEX_CMD_MASK;
    bool shared = !(a[1] & FUTEX_PRIVATE_FLAG), realtime = a[1] & FUTEX_CLOCK_REALTIME;
    uint64_t deadline = TIME_NEVER;
    if (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET) {
        int error = time_deadline_load(a[3], operation == FUTEX_WAIT_BITSET, realtime, &deadline);
        if (error)
            return error;
    } else if (realtime) {
        return -ENOSYS;
    }
    switch (operation) {
    case FUTEX_WAIT:
        return futex_wait(a[0], shared, (uint32_t)a[2], FUTEX_BITSET_MATCH_ANY, deadline);
    case FUTEX_WAIT_BITSET:
        return futex_wait(a[0], shared, (uint32_t)a[2], (uint32_t)a[5], deadline);
    case FUTEX_WAKE:
        return futex_wake_call(a[0], shared, (uint32_t)a[2], FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake_call(a[0], shared, (uint32_t)a[2], (uint32_t)a[5]);
    case FUTEX_REQUEUE:
        return futex_requeue(a, shared, false);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(a, shared, true);
    case FUTEX_WAKE_OP:
        return futex_wake_op(a, shared);
    default: // the priority-inheriting ones among them
        return -ENOSYS;
    }
}

void futex_wake(uint64_t address, unsigned count) {
    struct futex_key key;
    if (!make_key(address, false, &key))
        wake_key(&key, count, FUTEX_BITSET_MATCH_ANY);
    if (!make_key(address, true, &key))
        wake_key(&key, count, FUTEX_BITSET_MATCH_ANY);
}

// One lock of the robust list: marks it as left by a dead owner and wakes one waiter
// (Documentation/locking/robust-futex-ABI). pending: it was about to be taken or left; if it is
// nobody's, the owner died between leaving it and waking, or one woken for it did.
static bool robust_lock_died(struct thread *thread, uint64_t address, bool pending) {
    uint32_t value;
    if (address % 4 || user_load_32(&value, address))
        return false;
    if (pending && !(value & FUTEX_TID_MASK))
        futex_wake(address, 1);
    while ((value & FUTEX_TID_MASK) == thread->tid) {
        uint64_t found;
        uint32_t dead = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        if (user_compare_exchange_64(address, value, dead, &found, 4))
            return false;
        if ((uint32_t)found == value) {
            if (value & FUTEX_WAITERS)
                futex_wake(address, 1);
            return true;
        }
        value = (uint32_t)found;
    }
    return true;
}

static void robust_list_exit(struct thread *thread) {
    struct robust_list_head head;
    uint64_t list = thread->robust_list;
    if (!list || copy_from_user(&head, list, sizeof head))
        return;
    // Bit 0 of a pointer marks a priority-inheriting lock, which we do not have.
    uint64_t entry = (uint64_t)(uintptr_t)head.list.next & ~1ull;
    uint64_t pending = (uint64_t)(uintptr_t)head.list_op_pending & ~1ull;
    for (unsigned i = 0; i < ROBUST_LIST_LIMIT && entry != list; i++) {
        uint64_t next;
        bool more = !copy_from_user(&next, entry, sizeof next);
        if (entry != pending &&
            !robust_lock_died(thread, entry + (uint64_t)head.futex_offset, false))
            return;
        if (!more)
            break;
        entry = next & ~1ull;
        thread_preemption_point();
    }
    if (pending)
        robust_lock_died(thread, pending + (uint64_t)head.futex_offset, true);
}

void futex_thread_exit(struct thread *thread) {
    robust_list_exit(thread);
    thread->robust_list = 0;
    if (thread->clear_child_tid && !user_store_32(thread->clear_child_tid, 0))
        futex_wake(thread->clear_child_tid, 1);
    thread->clear_child_tid = 0;
}
