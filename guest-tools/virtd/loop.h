// SPDX-License-Identifier: BSD-2-Clause
// The event loop: file descriptors by epoll, and timers. One thread; nothing called from here
// blocks.
#pragma once

#include <stdint.h>
#include <sys/epoll.h>

struct watch {
    int fd;
    void (*ready)(struct watch *watch, uint32_t events); // may remove and free the watch
};

struct timer {
    uint64_t deadline; // ns of CLOCK_MONOTONIC; 0: not started
    void (*expired)(struct timer *timer);
    struct timer *next;
};

// `events` of epoll, level-triggered. loop_remove comes before the close of the fd.
void loop_add(struct watch *watch, uint32_t events);
void loop_change(struct watch *watch, uint32_t events);
void loop_remove(struct watch *watch);

// Starts the timer, or starts it anew.
void timer_start(struct timer *timer, uint64_t milliseconds);
void timer_stop(struct timer *timer);
uint64_t loop_now(void); // ns of CLOCK_MONOTONIC

// Waits for one event or timer and serves it.
void loop_step(void);
