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
#include "core/sched/timer.h"

#define SECOND 1000000000ull

struct timerfd {
    struct spinlock lock;
    struct timer timer;
    int clock;
    uint64_t interval; // ns; 0: one shot
    uint64_t deadline; // time_now() scale; TIME_NEVER: disarmed
    uint64_t ticks;    // expirations not read yet, less those of a periodic timer since `deadline`
    struct wait_queue queue;
};

static const struct file_ops timerfd_ops;

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
        timerfd->deadline += (missed + 1) * timerfd->interval;
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
        int error = file->flags & O_NONBLOCK
                        ? -EAGAIN
                        : file_wait(&timerfd->queue, can_read, timerfd, TIME_NEVER);
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

static const struct file_ops timerfd_ops = {
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

static int parse_time(const struct __kernel_timespec *time, uint64_t *ns) {
    if (time->tv_sec < 0 || time->tv_nsec < 0 || (uint64_t)time->tv_nsec >= SECOND)
        return -EINVAL;
    if ((uint64_t)time->tv_sec >= INT64_MAX / SECOND) // as ktime: saturates
        *ns = INT64_MAX;
    else
        *ns = (uint64_t)time->tv_sec * SECOND + (uint64_t)time->tv_nsec;
    return 0;
}

static struct __kernel_timespec to_time(uint64_t ns) {
    return (struct __kernel_timespec){.tv_sec = (int64_t)(ns / SECOND),
                                      .tv_nsec = (int64_t)(ns % SECOND)};
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
    return (struct __kernel_itimerspec){.it_interval = to_time(timerfd->interval),
                                        .it_value = to_time(left)};
}

static struct file *get_timerfd(int fd, int *error) {
    struct file *file = fd_get(fd);
    *error = file ? 0 : -EBADF;
    if (!file || file->ops == &timerfd_ops)
        return file;
    file_put(file);
    *error = -EINVAL;
    return NULL;
}

static bool is_realtime(int clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}

// The absolute or relative time of a settime call on the time_now() scale.
static uint64_t deadline_of(const struct timerfd *timerfd, uint64_t value, bool absolute) {
    if (!value)
        return TIME_NEVER;
    if (!absolute)
        return time_now() + value;
    if (!is_realtime(timerfd->clock))
        return value;
    uint64_t epoch = time_realtime_offset();
    return value > epoch ? value - epoch : 1;
}

static void set(struct timerfd *timerfd, uint64_t value, uint64_t interval, bool absolute,
                struct __kernel_itimerspec *old) {
    timer_stop(&timerfd->timer);
    spin_lock(&timerfd->lock);
    *old = setting(timerfd);
    timerfd->ticks = 0;
    timerfd->interval = interval;
    timerfd->deadline = deadline_of(timerfd, value, absolute);
    if (timerfd->deadline != TIME_NEVER)
        timer_start(&timerfd->timer, timerfd->deadline);
    spin_unlock(&timerfd->lock);
}

int64_t sys_timerfd_settime(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[1];
    struct __kernel_itimerspec wanted, old;
    uint64_t value, interval;
    if (flags & ~(unsigned)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
        return -EINVAL; // the clock is never set, so CANCEL_ON_SET has nothing to do
    if (copy_from_user(&wanted, arguments[2], sizeof(wanted)))
        return -EFAULT;
    if (parse_time(&wanted.it_value, &value) || parse_time(&wanted.it_interval, &interval))
        return -EINVAL;
    int error;
    struct file *file = get_timerfd((int)arguments[0], &error);
    if (!file)
        return error;
    set(file->object, value, interval, flags & TFD_TIMER_ABSTIME, &old);
    file_put(file);
    return arguments[3] ? copy_to_user(arguments[3], &old, sizeof(old)) : 0;
}

int64_t sys_timerfd_gettime(const uint64_t *arguments) {
    int error;
    struct file *file = get_timerfd((int)arguments[0], &error);
    if (!file)
        return error;
    struct timerfd *timerfd = file->object;
    spin_lock(&timerfd->lock);
    struct __kernel_itimerspec now = setting(timerfd);
    spin_unlock(&timerfd->lock);
    file_put(file);
    return copy_to_user(arguments[1], &now, sizeof(now));
}
