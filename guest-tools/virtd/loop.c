// SPDX-License-Identifier: BSD-2-Clause
// epoll, one event at a time: a handler may free any other watch.
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS 1000000ull

static struct timer *timers; // by deadline

static int loop_fd(void) {
    static int fd = -1;

    if (fd < 0 && (fd = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        perror("virtd: epoll_create1");
        exit(1);
    }
    return fd;
}

static void control(struct watch *watch, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (epoll_ctl(loop_fd(), operation, watch->fd, &event) < 0) {
        fprintf(stderr, "virtd: epoll_ctl %d of %d: %s\n", operation, watch->fd, strerror(errno));
    }
}

void loop_add(struct watch *watch, uint32_t events) {
    control(watch, EPOLL_CTL_ADD, events);
}

void loop_change(struct watch *watch, uint32_t events) {
    control(watch, EPOLL_CTL_MOD, events);
}

void loop_remove(struct watch *watch) {
    control(watch, EPOLL_CTL_DEL, 0);
}

uint64_t loop_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

void timer_stop(struct timer *timer) {
    for (struct timer **at = &timers; timer->deadline && *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            break;
        }
    }
    timer->deadline = 0;
}

void timer_start(struct timer *timer, uint64_t milliseconds) {
    struct timer **at = &timers;

    timer_stop(timer);
    timer->deadline = loop_now() + milliseconds * NS_PER_MS;
    while (*at && (*at)->deadline <= timer->deadline) {
        at = &(*at)->next;
    }
    timer->next = *at;
    *at = timer;
}

void loop_step(void) {
    struct epoll_event event;
    int timeout = -1;

    if (timers) {
        uint64_t now = loop_now();
        timeout = timers->deadline <= now
                      ? 0
                      : (int)((timers->deadline - now + NS_PER_MS - 1) / NS_PER_MS);
    }
    if (epoll_wait(loop_fd(), &event, 1, timeout) == 1) {
        struct watch *watch = event.data.ptr;
        watch->ready(watch, event.events);
    }
    struct timer *timer = timers;
    if (timer && timer->deadline <= loop_now()) {
        timer_stop(timer);
        timer->expired(timer);
    }
}
