// SPDX-License-Identifier: BSD-2-Clause
// Waiting for several files: poll, select, epoll.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <unistd.h>

#include "files.h"

void polling(void) {
    int fds[2];
    CHECK_EQUAL(pipe(fds), 0);
    struct pollfd set[12];
    for (int i = 0; i < 12; i++) {
        set[i] = (struct pollfd){.fd = i < 10 ? -1 : fds[0], .events = POLLIN};
    }
    set[11].fd = 999;
    CHECK_EQUAL(poll(set, 12, -1), 1);
    CHECK_EQUAL(set[11].revents, POLLNVAL);
    CHECK_EQUAL(poll(set, 11, 0), 0);
    uint64_t start = now_ms();
    CHECK_EQUAL(poll(set, 11, 30), 0);
    CHECK(now_ms() - start >= 29);
    struct later later;
    later_start(&later, write_word, fds[1]);
    CHECK_EQUAL(poll(set, 11, -1), 1);
    CHECK_EQUAL(set[10].revents, POLLIN);
    later_join(&later);
    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &out);
    CHECK_EQUAL(select(fds[1] + 1, &in, &out, NULL, NULL), 2);
    char word[4];
    CHECK_EQUAL(read(fds[0], word, 4), 4);
    FD_ZERO(&out);
    struct timeval time = {0, 20000};
    CHECK_EQUAL(select(fds[1] + 1, &in, &out, NULL, &time), 0);
    CHECK(!FD_ISSET(fds[0], &in));
    close(fds[0]);
    close(fds[1]);
    // A signal that the mask lets through only while waiting.
    sigset_t usr1, none;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    signal(SIGUSR1, count_signal);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    signals = 0;
    raise(SIGUSR1);
    CHECK_EQUAL(signals, 0);
    FAILS(ppoll(NULL, 0, NULL, &none), EINTR);
    CHECK_EQUAL(signals, 1);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, &none, &mask);
    CHECK(sigismember(&mask, SIGUSR1));
}

void event_polling(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77}, found[4];
    int epoll = epoll_create1(EPOLL_CLOEXEC), fds[2], counter = eventfd(0, EFD_NONBLOCK);
    CHECK_EQUAL(pipe2(fds, O_NONBLOCK), 0);
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event), 0);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event), EEXIST);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[1], &event), ENOENT);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 0);
    CHECK_EQUAL(write(fds[1], "abc", 3), 3);
    for (int i = 0; i < 2; i++) { // level-triggered: as long as bytes are there
        CHECK_EQUAL(epoll_wait(epoll, found, 4, 1000), 1);
        CHECK_EQUAL(found[0].data.u64, 77);
        CHECK_EQUAL(found[0].events, EPOLLIN);
    }
    event.events = EPOLLIN | EPOLLET;
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event), 0);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 1);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 0);
    CHECK_EQUAL(write(fds[1], "d", 1), 1);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 1);
    event.events = EPOLLIN | EPOLLONESHOT;
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event), 0);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 1);
    CHECK_EQUAL(write(fds[1], "e", 1), 1);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 0);
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_DEL, fds[0], NULL), 0);
    event = (struct epoll_event){.events = EPOLLIN, .data.u64 = 88};
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event), 0);
    struct later later;
    later_start(&later, write_one, counter);
    CHECK_EQUAL(epoll_wait(epoll, found, 4, -1), 1);
    CHECK_EQUAL(found[0].data.u64, 88);
    later_join(&later);
    int outer = epoll_create1(0);
    event.data.u64 = 99;
    CHECK_EQUAL(epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event), 0);
    CHECK_EQUAL(epoll_wait(outer, found, 4, 0), 1);
    CHECK_EQUAL(found[0].data.u64, 99);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, outer, &event), ELOOP);
    uint64_t value;
    CHECK_EQUAL(read(counter, &value, 8), 8);
    CHECK_EQUAL(epoll_wait(outer, found, 4, 0), 0);
    later_start(&later, write_one, counter);
    CHECK_EQUAL(epoll_wait(outer, found, 4, -1), 1);
    later_join(&later);
    close(counter); // the item goes with the file
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 0), 0);
    int file = open("/proc/self/exe", O_RDONLY);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event), EPERM);
    uint64_t start = now_ms();
    CHECK_EQUAL(epoll_wait(epoll, found, 4, 25), 0);
    CHECK(now_ms() - start >= 24);
    close(file);
    close(outer);
    close(epoll);
    close(fds[0]);
    close(fds[1]);
}
