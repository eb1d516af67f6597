// SPDX-License-Identifier: BSD-2-Clause
// timerfd_create(2). As on Linux a periodic timer is armed again by the read that collects its
// expirations.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/time.h>
#include <linux/timerfd.h>
#include "arch/x86/cpu.h"
#include "core/file/blocking.h"
#include "core/file/io_buffer.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/timer.h"

struct timerfd {
    struct spinlock lock;
    struct timer timer;
    int clock;
    uint64_t interval; // ns; 0: one shot
    uint64_t deadline; // time_now() scale; TIME_NEVER: disarmed
    uint64_t ticks;    // expirations not read yet, less those of a periodic timer since `deadline`
    struct wait_queue queue;
};

static void timer_expired(struct timer *timer) {
    struct timerfd *timerfd = container_of(timer, struct timerfd, timer);
    spin_lock(&timerfd->lock);
    bool due = timerfd->deadline <= time_now();
    if (due && !timerfd->ticks)
        timerfd->ticks = 1;
    spin_unlock(&timerfd->lock);
    if (due)
        wait_queue_wake(&timerfd->queue, EPOLLIN | EPOLLRDNORM);
}

static bool can_read(void *object) {
    struct timerfd *timerfd = object;
    spin_lock(&timerfd->lock);
    bool ready = timerfd->ticks;
    spin_unlock(&timerfd->lock);
    return ready;
}

// Collects the expirations and arms a periodic timer for the next one.
static uint64_t take_ticks(struct timerfd *timerfd) {
    spin_lock(&timerfd->lock);
    uint64_t ticks = timerfd->ticks;
    timerfd->ticks = 0;
    if (ticks && timerfd->interval) {
        uint64_t now = time_now();
        uint64_t missed =
            now > timerfd->deadline ? (now - timerfd->deadline) / timerfd->interval : 0;
        ticks += missed;
        timerfd->deadline += missed * timerfd->interval;
        if (__builtin_add_overflow(timerfd->deadline, timerfd->interval, &timerfd->deadline))
            timerfd->deadline = TIME_NEVER;
        timer_start(&timerfd->timer, timerfd->deadline);
    } else if (ticks) {
        timerfd->deadline = TIME_NEVER;
    }
    spin_unlock(&timerfd->lock);
    return ticks;
}

static int64_t timerfd_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct timerfd *timerfd = file->object;
    uint64_t ticks;
    if (io_remaining(buffer) < sizeof(ticks))
        return -EINVAL;
    while (!(ticks = take_ticks(timerfd))) {
        int error = file_wait_unless_nonblocking(file, &timerfd->queue, can_read, timerfd);
        if (error)
            return error;
    }
    return io_copy_to(buffer, &ticks, sizeof(ticks)) ? -EFAULT : (int64_t)sizeof(ticks);
}

static unsigned timerfd_poll(struct file *file, struct poll_table *table) {
    struct timerfd *timerfd = file->object;
    poll_wait(table, &timerfd->queue);
    return can_read(timerfd) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void timerfd_release(struct file *file) {
    struct timerfd *timerfd = file->object;
    timer_stop(&timerfd->timer);
    heap_free(timerfd);
}

const struct file_ops timerfd_ops = {
    .name = "timerfd",
    .read = timerfd_read,
    .poll = timerfd_poll,
    .release = timerfd_release,
};

static bool clock_known(int clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
           clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
}

int64_t sys_timerfd_create(const uint64_t *arguments) {
    int clock = (int)arguments[0];
    unsigned flags = (unsigned)arguments[1];
    if (!clock_known(clock) || flags & ~(unsigned)(TFD_CLOEXEC | TFD_NONBLOCK))
        return -EINVAL;
    struct timerfd *timerfd = heap_new(struct timerfd);
    if (!timerfd)
        return -ENOMEM;
    timerfd->clock = clock;
    timerfd->deadline = TIME_NEVER;
    timer_init(&timerfd->timer, timer_expired);
    wait_queue_init(&timerfd->queue);
    int fd = fd_create(&timerfd_ops, timerfd, O_RDWR | (flags & TFD_NONBLOCK), flags & TFD_CLOEXEC);
    if (fd < 0)
        heap_free(timerfd);
    return fd;
}

// timerfd_gettime(2): time left and interval. Lock held.
static struct __kernel_itimerspec setting(const struct timerfd *timerfd) {
    uint64_t now = time_now(), left = 0;
    if (timerfd->deadline != TIME_NEVER) {
        if (timerfd->deadline > now)
            left = timerfd->deadline - now;
        else if (timerfd->interval)
            left = timerfd->interval - (now - timerfd->deadline) % timerfd->interval;
    }
    struct __kernel_itimerspec time;
    time_spec_from_ns(&time.it_interval, timerfd->interval);
    time_spec_from_ns(&time.it_value, left);
    return time;
}

static void set(struct timerfd *timerfd, const struct __kernel_itimerspec *wanted, bool absolute,
                struct __kernel_itimerspec *old) {
    bool realtime = timerfd->clock == CLOCK_REALTIME || timerfd->clock == CLOCK_REALTIME_ALARM;
    timer_stop(&timerfd->timer);
    spin_lock(&timerfd->lock);
    *old = setting(timerfd);
    timerfd->ticks = 0;
    timerfd->interval = time_spec_ns(&wanted->it_interval);
    timerfd->deadline = time_spec_ns(&wanted->it_value)
                            ? time_deadline(&wanted->it_value, absolute, realtime)
                            : TIME_NEVER;
    if (timerfd->deadline != TIME_NEVER)
        timer_start(&timerfd->timer, timerfd->deadline);
    spin_unlock(&timerfd->lock);
}

int64_t file_timerfd_settime(struct file *file, const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[1];
    struct __kernel_itimerspec wanted, old;
    if (flags & ~(unsigned)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
        return -EINVAL; // the clock is never set, so CANCEL_ON_SET has nothing to do
    if (copy_from_user(&wanted, arguments[2], sizeof(wanted)))
        return -EFAULT;
    if (!time_spec_valid(&wanted.it_value) || !time_spec_valid(&wanted.it_interval))
        return -EINVAL;
    set(file->object, &wanted, flags & TFD_TIMER_ABSTIME, &old);
    return arguments[3] ? copy_to_user(arguments[3], &old, sizeof(old)) : 0;
}

int64_t file_timerfd_gettime(struct file *file, const uint64_t *arguments) {
    struct timerfd *timerfd = file->object;
    spin_lock(&timerfd->lock);
    struct __kernel_itimerspec now = setting(timerfd);
    spin_unlock(&timerfd->lock);
    return copy_to_user(arguments[1], &now, sizeof(now));
}
