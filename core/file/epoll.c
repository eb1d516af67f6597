// SPDX-License-Identifier: BSD-2-Clause
// epoll: items that watch files, a list of those that may be ready.
//
// Locks, outermost first: nesting_lock, epoll->lock (items; held while poll methods of watched
// files are asked), watchers_lock, the file's own lock and wait queue, epoll->ready_lock,
// epoll->queue. An item's callback runs under the watched file's wait queue and takes only the last
// two.
#include "core/file/epoll.h"
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include "arch/x86/cpu.h"
#include "core/file/blocking.h"
#include "core/file/poll_table.h"
#include "core/file/poll_wait.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/thread.h"

#define BUCKETS      64u
#define NESTING_MAX  5u    // as Linux: deeper is refused with ELOOP
#define WALK_MAX     1000u // epolls looked at before a graph counts as too deep
#define GATHER       64u   // events a call gives at most; who asks for more calls again
#define EVENTS_MAX   (INT32_MAX / (int)sizeof(struct epoll_event))
#define MILLISECOND  1000000ull
#define PRIVATE_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define ALWAYS       (EPOLLERR | EPOLLHUP) // asked for or not
#define EXCLUSIVE_BITS                                                                             \
    (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

struct epoll {
    atomic_uint references; // the file's, and of those who are taking items out
    struct spinlock lock;
    struct list buckets[BUCKETS];
    struct file *file;
    struct spinlock ready_lock;
    struct list ready;
    struct wait_queue queue;
};

// One queue of the watched file. Most files have one; the first is part of the item.
struct item_waiter {
    struct waiter waiter;
    struct epoll_item *item;
    struct item_waiter *next;
};

struct epoll_item {
    struct list node;      // in a bucket
    struct list file_node; // in file->watchers
    struct list ready_node;
    bool ready; // in epoll->ready or being looked at. Under ready_lock
    struct epoll *epoll;
    struct file *file; // no reference: the file takes its items along when it goes
    int fd;
    uint32_t events; // 0 without PRIVATE_BITS: switched off by EPOLLONESHOT
    uint64_t data;
    struct item_waiter first;
    struct item_waiter *more;
};

struct item_table {
    struct poll_table table;
    struct epoll_item *item;
    bool out_of_memory;
};

static struct spinlock nesting_lock;  // additions of epolls to epolls
static struct spinlock watchers_lock; // every file's `watchers`

static void epoll_put(struct epoll *epoll) {
    if (atomic_fetch_sub(&epoll->references, 1) == 1)
        heap_free(epoll);
}

static struct list *bucket(struct epoll *epoll, int fd) {
    return &epoll->buckets[(unsigned)fd % BUCKETS];
}

static struct epoll_item *find_item(struct epoll *epoll, const struct file *file, int fd) {
    list_for_each_entry(struct epoll_item, item, bucket(epoll, fd), node) {
        if (item->fd == fd && item->file == file)
            return item;
    }
    return NULL;
}

static void list_again(struct epoll_item *item) {
    struct epoll *epoll = item->epoll;
    spin_lock(&epoll->ready_lock);
    if (!item->ready) {
        item->ready = true;
        list_push_back(&epoll->ready, &item->ready_node);
    }
    spin_unlock(&epoll->ready_lock);
}

static void mark_ready(struct epoll_item *item) {
    list_again(item);
    wait_queue_wake(&item->epoll->queue, EPOLLIN | EPOLLRDNORM);
}

static void item_woken(struct waiter *waiter, unsigned events) {
    struct epoll_item *item = container_of(waiter, struct item_waiter, waiter)->item;
    uint32_t wanted = __atomic_load_n(&item->events, __ATOMIC_RELAXED);
    if (!(wanted & ~PRIVATE_BITS))
        return;
    if (!events || events & wanted)
        mark_ready(item);
}

static void waiter_attach(struct item_waiter *waiter, struct epoll_item *item,
                          struct wait_queue *queue) {
    waiter->item = item;
    waiter_init_callback(&waiter->waiter, item_woken);
    waiter_add(&waiter->waiter, queue);
}

static void table_add(struct poll_table *table, struct wait_queue *queue) {
    struct item_table *items = container_of(table, struct item_table, table);
    struct epoll_item *item = items->item;
    if (!item->first.item) {
        waiter_attach(&item->first, item, queue);
        return;
    }
    struct item_waiter *waiter = heap_new(struct item_waiter);
    if (!waiter) {
        items->out_of_memory = true;
        return;
    }
    waiter->next = item->more;
    item->more = waiter;
    waiter_attach(waiter, item, queue);
}

static unsigned item_poll(struct epoll_item *item, struct poll_table *table) {
    if (!(item->events & ~PRIVATE_BITS))
        return 0;
    return file_poll(item->file, table) & item->events;
}

// epoll->lock held. After it no callback of the item runs.
static void item_remove(struct epoll_item *item) {
    struct epoll *epoll = item->epoll;
    if (item->first.item)
        waiter_remove(&item->first.waiter);
    while (item->more) {
        struct item_waiter *waiter = item->more;
        item->more = waiter->next;
        waiter_remove(&waiter->waiter);
        heap_free(waiter);
    }
    spin_lock(&epoll->ready_lock);
    if (item->ready)
        list_remove(&item->ready_node);
    spin_unlock(&epoll->ready_lock);
    spin_lock(&watchers_lock);
    list_remove(&item->file_node);
    spin_unlock(&watchers_lock);
    list_remove(&item->node);
    heap_free(item);
}

void epoll_file_released(struct file *file) {
    for (;;) {
        spin_lock(&watchers_lock);
        if (list_empty(&file->watchers)) {
            spin_unlock(&watchers_lock);
            return;
        }
        struct epoll_item *item = container_of(file->watchers.next, struct epoll_item, file_node);
        struct epoll *epoll = item->epoll;
        int fd = item->fd;
        atomic_fetch_add(&epoll->references, 1);
        spin_unlock(&watchers_lock);
        spin_lock(&epoll->lock);
        item = find_item(epoll, file, fd); // unless the epoll itself was faster
        if (item)
            item_remove(item);
        spin_unlock(&epoll->lock);
        epoll_put(epoll);
        thread_preemption_point(); // there may be many
    }
}

// epoll->lock held.
static int item_add(struct epoll *epoll, struct file *file, int fd, const struct epoll_event *event,
                    struct epoll_item *item) {
    if (find_item(epoll, file, fd))
        return -EEXIST;
    item->epoll = epoll;
    item->file = file;
    item->fd = fd;
    item->events = event->events | ALWAYS;
    item->data = event->data;
    list_init(&item->ready_node);
    list_push_back(bucket(epoll, fd), &item->node);
    spin_lock(&watchers_lock);
    list_push_back(&file->watchers, &item->file_node);
    spin_unlock(&watchers_lock);
    struct item_table table = {.table.add = table_add, .item = item};
    unsigned found = file_poll(file, &table.table) & item->events;
    if (table.out_of_memory) {
        item_remove(item);
        return -ENOMEM;
    }
    if (found)
        mark_ready(item);
    return 0;
}

// epoll->lock held.
static int item_modify(struct epoll_item *item, const struct epoll_event *event) {
    if (event->events & EPOLLEXCLUSIVE || item->events & EPOLLEXCLUSIVE)
        return -EINVAL;
    item->data = event->data;
    __atomic_store_n(&item->events, event->events | ALWAYS, __ATOMIC_SEQ_CST);
    if (item_poll(item, NULL))
        mark_ready(item);
    return 0;
}

// A walk over the graph of epolls that watch epolls. nesting_lock held: no edge is added meanwhile.
struct nesting_walk {
    const struct epoll *target;
    unsigned visits;
    bool refused; // the target was met, or the graph is too large
};

// Levels of epolls from this one down.
static unsigned depth_below(struct nesting_walk *walk, struct epoll *epoll) {
    unsigned deepest = 0;
    if (epoll == walk->target || ++walk->visits > WALK_MAX)
        walk->refused = true;
    spin_lock(&epoll->lock);
    for (unsigned i = 0; i < BUCKETS && !walk->refused; i++) {
        list_for_each_entry(struct epoll_item, item, &epoll->buckets[i], node) {
            if (item->file->ops != &epoll_ops)
                continue;
            unsigned depth = depth_below(walk, item->file->object);
            if (depth > deepest)
                deepest = depth;
            if (walk->refused)
                break;
        }
    }
    spin_unlock(&epoll->lock);
    return deepest + 1;
}

// Levels of epolls that watch this one, itself included. watchers_lock held.
static unsigned height_above(struct nesting_walk *walk, struct file *file) {
    unsigned highest = 0;
    if (++walk->visits > WALK_MAX)
        walk->refused = true;
    list_for_each(node, &file->watchers) {
        if (walk->refused)
            break;
        struct epoll *above = container_of(node, struct epoll_item, file_node)->epoll;
        unsigned height = height_above(walk, above->file);
        if (height > highest)
            highest = height;
    }
    return highest + 1;
}

static int check_nesting(struct epoll *epoll, struct file *file) {
    struct nesting_walk walk = {.target = epoll};
    unsigned levels = depth_below(&walk, file->object);
    if (walk.refused)
        return -ELOOP;
    spin_lock(&watchers_lock);
    levels += height_above(&walk, epoll->file);
    spin_unlock(&watchers_lock);
    return walk.refused || levels > NESTING_MAX ? -ELOOP : 0;
}

static int control_add(struct epoll *epoll, struct file *file, int fd,
                       const struct epoll_event *event) {
    struct epoll_item *item = heap_new(struct epoll_item);
    if (!item)
        return -ENOMEM;
    bool nested = file->ops == &epoll_ops;
    int error = 0;
    if (nested) {
        spin_lock(&nesting_lock);
        error = event->events & EPOLLEXCLUSIVE ? -EINVAL : check_nesting(epoll, file);
    }
    if (!error) {
        spin_lock(&epoll->lock);
        error = item_add(epoll, file, fd, event, item);
        spin_unlock(&epoll->lock);
    }
    if (nested)
        spin_unlock(&nesting_lock);
    if (error && error != -ENOMEM)
        heap_free(item);
    return error;
}

static int control_existing(struct epoll *epoll, int operation, struct file *file, int fd,
                            const struct epoll_event *event) {
    spin_lock(&epoll->lock);
    struct epoll_item *item = find_item(epoll, file, fd);
    int error = item ? 0 : -ENOENT;
    if (item && operation == EPOLL_CTL_DEL)
        item_remove(item);
    else if (item)
        error = item_modify(item, event);
    spin_unlock(&epoll->lock);
    return error;
}

static int control(struct file *epoll_file, int operation, struct file *file, int fd,
                   const struct epoll_event *event) {
    if (!file->ops->poll) // regular files and directories
        return -EPERM;
    if (epoll_file == file || epoll_file->ops != &epoll_ops)
        return -EINVAL;
    if (operation == EPOLL_CTL_ADD) {
        if (event->events & EPOLLEXCLUSIVE && event->events & ~EXCLUSIVE_BITS)
            return -EINVAL;
        return control_add(epoll_file->object, file, fd, event);
    }
    if (operation == EPOLL_CTL_MOD || operation == EPOLL_CTL_DEL)
        return control_existing(epoll_file->object, operation, file, fd, event);
    return -EINVAL;
}

int64_t file_epoll_ctl(struct file *epoll_file, const uint64_t *arguments) {
    int operation = (int)arguments[1], fd = (int)arguments[2];
    struct epoll_event event = {0};
    if (operation != EPOLL_CTL_DEL && copy_from_user(&event, arguments[3], sizeof(event)))
        return -EFAULT;
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    int64_t result =
        file->flags & O_PATH ? -EBADF : control(epoll_file, operation, file, fd, &event);
    file_put(file);
    return result;
}

// Takes the next item off `scan`. Its `ready` goes: a wake-up from now on lists it again.
static struct epoll_item *next_item(struct epoll *epoll, struct list *scan) {
    struct epoll_item *item = NULL;
    spin_lock(&epoll->ready_lock);
    if (!list_empty(scan)) {
        item = container_of(scan->next, struct epoll_item, ready_node);
        list_remove(&item->ready_node);
        item->ready = false;
    }
    spin_unlock(&epoll->ready_lock);
    return item;
}

static void splice(struct list *to, struct list *from) {
    if (list_empty(from))
        return;
    from->prev->next = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
    from->next->prev = to;
    list_init(from);
}

// Collects up to `most` events. Items that stay ready (level-triggered) go to the back of the list,
// so all get their turn.
static unsigned gather(struct epoll *epoll, struct epoll_event *events, unsigned most) {
    struct list scan = LIST_INIT(scan);
    unsigned count = 0;
    spin_lock(&epoll->lock);
    spin_lock(&epoll->ready_lock);
    splice(&scan, &epoll->ready);
    spin_unlock(&epoll->ready_lock);
    struct epoll_item *item;
    while (count < most && (item = next_item(epoll, &scan))) {
        unsigned found = item_poll(item, NULL);
        if (!found)
            continue;
        events[count++] = (struct epoll_event){.events = found, .data = item->data};
        if (item->events & EPOLLONESHOT) {
            __atomic_store_n(&item->events, item->events & PRIVATE_BITS, __ATOMIC_SEQ_CST);
        } else if (!(item->events & EPOLLET)) {
            list_again(item);
        }
    }
    spin_lock(&epoll->ready_lock);
    splice(&epoll->ready, &scan);
    spin_unlock(&epoll->ready_lock);
    spin_unlock(&epoll->lock);
    return count;
}

// Whether an item is truly ready; drops from the list those that are not any more.
static bool any_ready(struct epoll *epoll) {
    struct epoll_item *item;
    spin_lock(&epoll->lock);
    while ((item = next_item(epoll, &epoll->ready)) && !item_poll(item, NULL))
        ;
    if (item)
        list_again(item);
    spin_unlock(&epoll->lock);
    return item;
}

static unsigned epoll_poll(struct file *file, struct poll_table *table) {
    struct epoll *epoll = file->object;
    poll_wait(table, &epoll->queue);
    return any_ready(epoll) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void epoll_release(struct file *file) {
    struct epoll *epoll = file->object;
    spin_lock(&epoll->lock);
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (!list_empty(&epoll->buckets[i])) {
            item_remove(container_of(epoll->buckets[i].next, struct epoll_item, node));
            spin_unlock(&epoll->lock);
            thread_preemption_point();
            spin_lock(&epoll->lock);
        }
    }
    spin_unlock(&epoll->lock);
    epoll_put(epoll);
}

const struct file_ops epoll_ops = {
    .name = "epoll",
    .poll = epoll_poll,
    .release = epoll_release,
};

int64_t sys_epoll_create1(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[0];
    if (flags & ~(unsigned)EPOLL_CLOEXEC)
        return -EINVAL;
    struct epoll *epoll = heap_new(struct epoll);
    if (!epoll)
        return -ENOMEM;
    atomic_store(&epoll->references, 1);
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&epoll->buckets[i]);
    list_init(&epoll->ready);
    wait_queue_init(&epoll->queue);
    epoll->file = file_create(&epoll_ops, epoll, O_RDWR);
    if (!epoll->file) {
        heap_free(epoll);
        return -ENOMEM;
    }
    return fd_install(epoll->file, flags & EPOLL_CLOEXEC);
}

int64_t sys_epoll_create(const uint64_t *arguments) {
    return (int)arguments[0] <= 0 ? -EINVAL : sys_epoll_create1((const uint64_t[1]){0});
}

static bool may_have_events(void *object) {
    struct epoll *epoll = object;
    spin_lock(&epoll->lock); // who gathers has the list in its hands and wakes nobody for the rest
    spin_lock(&epoll->ready_lock);
    bool some = !list_empty(&epoll->ready);
    spin_unlock(&epoll->ready_lock);
    spin_unlock(&epoll->lock);
    return some;
}

// The events that are there, to user memory.
static int64_t give_events(struct epoll *epoll, uint64_t address, unsigned most) {
    struct epoll_event events[GATHER];
    unsigned count = gather(epoll, events, most < GATHER ? most : GATHER);
    if (count && copy_to_user(address, events, count * sizeof(events[0])))
        return -EFAULT;
    return count;
}

static int64_t wait_events(struct epoll *epoll, uint64_t address, unsigned most,
                           uint64_t deadline) {
    for (;;) {
        int64_t count = give_events(epoll, address, most);
        if (count || deadline <= time_now())
            return count;
        int error = file_wait(&epoll->queue, may_have_events, epoll, deadline);
        if (error == -ETIMEDOUT)
            return give_events(epoll, address, most);
        // file_wait does not look at signals where something seems ready, and what is ready may be
        // gone again each time.
        thread_preemption_point();
        if (error || thread_interrupted())
            return -EINTR; // never restarted: signal(7)
    }
}

static int64_t wait_call(struct file *file, const uint64_t *arguments, uint64_t deadline) {
    int most = (int)arguments[2];
    if (most <= 0 || most > EVENTS_MAX)
        return -EINVAL;
    int error = poll_signal_mask(arguments[4], arguments[5]);
    return error ? error : wait_events(file->object, arguments[1], (unsigned)most, deadline);
}

int64_t file_epoll_pwait(struct file *file, const uint64_t *arguments) {
    int timeout = (int)arguments[3];
    return wait_call(file, arguments,
                     timeout < 0 ? TIME_NEVER : time_after((uint64_t)timeout * MILLISECOND));
}

int64_t file_epoll_pwait2(struct file *file, const uint64_t *arguments) {
    uint64_t deadline;
    int error = time_deadline_load(arguments[3], false, false, &deadline);
    return error ? error : wait_call(file, arguments, deadline);
}
