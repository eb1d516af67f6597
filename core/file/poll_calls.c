// SPDX-License-Identifier: BSD-2-Clause
// poll(2), ppoll, select and pselect6: waiting for any of a set of files.
#include <asm/fcntl.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/resource.h>
#include "arch/x86/cpu.h"
#include "core/file/fd_table.h"
#include "core/file/poll_table.h"
#include "core/file/poll_wait.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/signal.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/thread.h"

#define MILLISECOND 1000000ull
#define FEW         8 // polled without an allocation

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                   POLLHUP == EPOLLHUP && POLLPRI == EPOLLPRI && POLLRDHUP == EPOLLRDHUP,
               "one set of event bits");

// A file being waited for. A poll method may register more than one queue: the others get waiters
// of their own.
struct poll_slot {
    struct waiter waiter;
    struct file *file;
    unsigned wanted, found;
};

struct extra_waiter {
    struct extra_waiter *next;
    struct waiter waiter;
};

struct poll_set {
    struct poll_table table;
    struct poll_slot *slots, *current;
    size_t count;
    struct extra_waiter *extra;
    bool out_of_memory;
};

static void set_add(struct poll_table *table, struct wait_queue *queue) {
    struct poll_set *set = container_of(table, struct poll_set, table);
    if (!set->current->waiter.queue) {
        waiter_add(&set->current->waiter, queue);
        return;
    }
    struct extra_waiter *extra = heap_new(struct extra_waiter);
    if (!extra) {
        set->out_of_memory = true;
        return;
    }
    waiter_init(&extra->waiter);
    extra->next = set->extra;
    set->extra = extra;
    waiter_add(&extra->waiter, queue);
}

static int look(struct poll_set *set, struct poll_table *table) {
    int ready = 0;
    for (size_t i = 0; i < set->count; i++) {
        struct poll_slot *slot = &set->slots[i];
        set->current = slot;
        if (slot->file)
            slot->found = file_poll(slot->file, table) & (slot->wanted | POLLERR | POLLHUP);
        ready += slot->found != 0;
        if (i % 64 == 63)
            thread_preemption_point();
    }
    return ready;
}

static void set_free(struct poll_set *set) {
    for (size_t i = 0; i < set->count; i++)
        waiter_remove(&set->slots[i].waiter);
    while (set->extra) {
        struct extra_waiter *extra = set->extra;
        set->extra = extra->next;
        waiter_remove(&extra->waiter);
        heap_free(extra);
    }
    for (size_t i = 0; i < set->count; i++) {
        if (set->slots[i].file)
            file_put(set->slots[i].file);
    }
}

// Every registration marks the thread as about to wait and so hides a wake-up that came just
// before: hence mark and look once more when all are registered.
static int wait_for_any(struct poll_set *set, uint64_t deadline) {
    int ready = look(set, NULL);
    if (ready || deadline <= time_now())
        return ready;
    ready = look(set, &set->table);
    while (!ready && !set->out_of_memory) {
        wait_prepare();
        ready = look(set, NULL);
        if (ready)
            break;
        int error = wait(deadline);
        if (!error)
            continue;
        ready = look(set, NULL);
        return ready ? ready : error == -ETIMEDOUT ? 0 : error;
    }
    wait_cancel();
    return ready ? ready : -ENOMEM;
}

static int set_init(struct poll_set *set, struct poll_slot *few, size_t count) {
    *set = (struct poll_set){.table.add = set_add, .slots = few, .count = count};
    if (count > FEW) {
        set->slots = heap_alloc(count * sizeof(struct poll_slot));
        if (!set->slots)
            return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        set->slots[i] = (struct poll_slot){0};
        waiter_init(&set->slots[i].waiter);
    }
    return 0;
}

static void slots_free(struct poll_set *set, struct poll_slot *few) {
    if (set->slots != few)
        heap_free(set->slots);
}

static void slot_open(struct poll_slot *slot, int fd, unsigned wanted) {
    slot->wanted = wanted;
    if (fd < 0)
        return;
    slot->file = fd_get(fd);
    if (slot->file && slot->file->flags & O_PATH) {
        file_put(slot->file);
        slot->file = NULL;
    }
    if (!slot->file)
        slot->found = POLLNVAL;
}

static int64_t poll_call(uint64_t address, uint64_t count, uint64_t deadline) {
    if ((unsigned)count > process_current()->limits[RLIMIT_NOFILE].soft || (unsigned)count > FD_MAX)
        return -EINVAL;
    count = (unsigned)count;
    struct pollfd few_fds[FEW], *fds = few_fds;
    struct poll_slot few[FEW];
    struct poll_set set;
    if (count > FEW && !(fds = heap_alloc(count * sizeof(*fds))))
        return -ENOMEM;
    int64_t result = copy_from_user(fds, address, count * sizeof(*fds)) ? -EFAULT : 0;
    if (!result)
        result = set_init(&set, few, count);
    if (!result) {
        for (size_t i = 0; i < count; i++)
            slot_open(&set.slots[i], fds[i].fd, (unsigned short)fds[i].events);
        result = wait_for_any(&set, deadline);
        for (size_t i = 0; i < count; i++)
            fds[i].revents = (short)set.slots[i].found;
        set_free(&set);
        slots_free(&set, few);
        if (result >= 0 && copy_to_user(address, fds, count * sizeof(*fds)))
            result = -EFAULT;
    }
    if (fds != few_fds)
        heap_free(fds);
    return result;
}

int64_t sys_poll(const uint64_t *arguments) {
    int timeout = (int)arguments[2];
    return poll_call(arguments[0], arguments[1],
                     timeout < 0 ? TIME_NEVER : time_after((uint64_t)timeout * MILLISECOND));
}

int poll_signal_mask(uint64_t mask_address, uint64_t size) {
    uint64_t mask;
    if (!mask_address)
        return 0;
    if (size != sizeof(mask))
        return -EINVAL;
    if (copy_from_user(&mask, mask_address, sizeof(mask)))
        return -EFAULT;
    signal_mask_set_temporarily(mask);
    return 0;
}

// The time that is left goes back to the caller, as Linux does for ppoll, select and pselect6;
// faults are ignored as there.
static void give_time_left(uint64_t address, uint64_t deadline, uint64_t unit) {
    if (!address || deadline == TIME_NEVER)
        return;
    uint64_t now = time_now(), left = deadline > now ? deadline - now : 0;
    int64_t time[2] = {(int64_t)(left / NS_PER_SECOND), (int64_t)(left % NS_PER_SECOND / unit)};
    (void)copy_to_user(address, time, sizeof(time));
}

int64_t sys_ppoll(const uint64_t *arguments) {
    uint64_t deadline;
    int64_t error = time_deadline_load(arguments[2], false, false, &deadline);
    if (!error)
        error = poll_signal_mask(arguments[3], arguments[4]);
    if (error)
        return error;
    int64_t result = poll_call(arguments[0], arguments[1], deadline);
    give_time_left(arguments[2], deadline, 1);
    return result;
}

enum select_kind { SELECT_READ, SELECT_WRITE, SELECT_EXCEPT, SELECT_KINDS };

static const unsigned select_events[SELECT_KINDS] = {
    [SELECT_READ] = POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR,
    [SELECT_WRITE] = POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR,
    [SELECT_EXCEPT] = POLLPRI,
};

struct select_sets {
    unsigned count; // fds looked at
    size_t words;   // of one set
    uint64_t *bits; // SELECT_KINDS sets
    uint64_t address[SELECT_KINDS];
};

static unsigned wanted_events(const struct select_sets *sets, unsigned fd) {
    unsigned wanted = 0;
    for (unsigned kind = 0; kind < SELECT_KINDS; kind++) {
        if (sets->bits[kind * sets->words + fd / 64] >> fd % 64 & 1)
            wanted |= select_events[kind];
    }
    return wanted;
}

static int sets_copy(struct select_sets *sets, bool store) {
    size_t size = sets->words * sizeof(uint64_t);
    int error = 0;
    for (unsigned kind = 0; kind < SELECT_KINDS && !error; kind++) {
        uint64_t *bits = sets->bits + kind * sets->words, user = sets->address[kind];
        if (user)
            error = store ? copy_to_user(user, bits, size) : copy_from_user(bits, user, size);
    }
    return error;
}

// Turns the answers into bits; returns how many are set.
static int64_t collect(struct select_sets *sets, const struct poll_set *set, const int *fds) {
    int64_t total = 0;
    for (size_t i = 0; i < set->count; i++) {
        unsigned fd = (unsigned)fds[i];
        for (unsigned kind = 0; kind < SELECT_KINDS; kind++) {
            uint64_t *word = &sets->bits[kind * sets->words + fd / 64], bit = 1ull << fd % 64;
            if (!(*word & bit))
                continue;
            if (set->slots[i].found & select_events[kind])
                total++;
            else
                *word &= ~bit;
        }
    }
    return total;
}

static int64_t select_on(struct select_sets *sets, int *fds, size_t count, uint64_t deadline) {
    struct poll_slot few[FEW];
    struct poll_set set;
    int64_t result = set_init(&set, few, count);
    if (result)
        return result;
    bool closed = false;
    for (size_t i = 0; i < count; i++) {
        slot_open(&set.slots[i], fds[i], wanted_events(sets, (unsigned)fds[i]));
        closed |= !set.slots[i].file;
    }
    result = closed ? -EBADF : wait_for_any(&set, deadline);
    if (result >= 0)
        result = collect(sets, &set, fds);
    set_free(&set);
    slots_free(&set, few);
    return result;
}

static int64_t select_call(const uint64_t *arguments, uint64_t deadline) {
    int64_t limit = (int)arguments[0];
    if (limit < 0)
        return -EINVAL;
    struct select_sets sets = {.count = limit < (int64_t)FD_MAX ? (unsigned)limit : FD_MAX,
                               .address = {arguments[1], arguments[2], arguments[3]}};
    sets.words = (sets.count + 63) / 64;
    sets.bits = heap_alloc(SELECT_KINDS * sets.words * sizeof(uint64_t) + sizeof(uint64_t));
    if (!sets.bits)
        return -ENOMEM;
    int64_t result = sets_copy(&sets, false);
    size_t count = 0;
    for (unsigned fd = 0; !result && fd < sets.count; fd++)
        count += wanted_events(&sets, fd) != 0;
    int *fds = result ? NULL : heap_alloc(count * sizeof(int) + sizeof(int));
    if (!result && !fds)
        result = -ENOMEM;
    if (!result) {
        size_t used = 0;
        for (unsigned fd = 0; fd < sets.count; fd++) {
            if (wanted_events(&sets, fd))
                fds[used++] = (int)fd;
        }
        result = select_on(&sets, fds, count, deadline);
        if (result >= 0 && sets_copy(&sets, true))
            result = -EFAULT;
    }
    heap_free(fds);
    heap_free(sets.bits);
    return result;
}

int64_t sys_select(const uint64_t *arguments) {
    struct time_value time;
    uint64_t deadline = TIME_NEVER;
    if (arguments[4]) {
        if (copy_from_user(&time, arguments[4], sizeof(time)))
            return -EFAULT;
        if (time.seconds < 0 || time.microseconds < 0)
            return -EINVAL;
        deadline = time_after(time_value_ns(&time));
    }
    int64_t result = select_call(arguments, deadline);
    give_time_left(arguments[4], deadline, 1000);
    return result;
}

int64_t sys_pselect6(const uint64_t *arguments) {
    uint64_t deadline, mask[2] = {0}; // address and size of the signal mask
    if (arguments[5] && copy_from_user(mask, arguments[5], sizeof(mask)))
        return -EFAULT;
    int64_t error = time_deadline_load(arguments[4], false, false, &deadline);
    if (!error)
        error = poll_signal_mask(mask[0], mask[1]);
    if (error)
        return error;
    int64_t result = select_call(arguments, deadline);
    give_time_left(arguments[4], deadline, 1);
    return result;
}
