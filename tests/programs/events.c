// SPDX-License-Identifier: BSD-2-Clause
// events: pipes, eventfd, timerfd, poll, epoll and Unix sockets as Linux has them.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static short poll_one(int fd, short events, int timeout_ms) {
    struct pollfd entry = {.fd = fd, .events = events};

    return poll(&entry, 1, timeout_ms) < 0 ? -1 : entry.revents;
}

static void test_pipe(void) {
    char buffer[16] = "";
    int fds[2];

    CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK_EQUAL(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    CHECK(read(fds[0], buffer, 1) == -1 && errno == EAGAIN);
    CHECK_EQUAL(poll_one(fds[0], POLLIN, 0), 0);
    CHECK_EQUAL(poll_one(fds[1], POLLOUT, 0), POLLOUT);
    CHECK_EQUAL(write(fds[1], "hello", 5), 5);
    CHECK_EQUAL(poll_one(fds[0], POLLIN, 0), POLLIN);
    CHECK_EQUAL(read(fds[0], buffer, 3), 3);
    CHECK_EQUAL(read(fds[0], buffer + 3, sizeof(buffer) - 3), 2);
    CHECK(memcmp(buffer, "hello", 5) == 0);
    CHECK(lseek(fds[0], 0, SEEK_CUR) == -1 && errno == ESPIPE);
    CHECK(read(fds[1], buffer, 1) == -1 && errno == EBADF);
    close(fds[1]);
    CHECK_EQUAL(read(fds[0], buffer, 1), 0);
    CHECK(poll_one(fds[0], POLLIN, 0) & POLLHUP);
    close(fds[0]);

    CHECK(pipe(fds) == 0);
    close(fds[0]);
    signal(SIGPIPE, SIG_IGN);
    CHECK(write(fds[1], "x", 1) == -1 && errno == EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(fds[1]);
}

#define STREAM_BYTES (1u << 20)

static void *write_stream(void *argument) {
    const int *fd = argument;
    static unsigned char bytes[STREAM_BYTES];
    size_t sent = 0;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(i * 31 >> 3);
    }
    while (sent < sizeof(bytes)) {
        ssize_t count = write(*fd, bytes + sent, sizeof(bytes) - sent);
        if (count <= 0) {
            break;
        }
        sent += (size_t)count;
    }
    close(*fd);
    return NULL;
}

// Far more than the buffer holds, so that both sides wait for each other again and again.
static void read_stream(int fd) {
    unsigned char buffer[1000];
    size_t received = 0;
    ssize_t count;
    int right = 1;

    while ((count = read(fd, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < count; i++, received++) {
            right &= buffer[i] == (unsigned char)(received * 31 >> 3);
        }
    }
    CHECK(right);
    CHECK_EQUAL(received, STREAM_BYTES);
}

static void test_pipe_stream(void) {
    pthread_t thread;
    int fds[2];

    CHECK(pipe(fds) == 0);
    CHECK(pthread_create(&thread, NULL, write_stream, &fds[1]) == 0);
    read_stream(fds[0]);
    pthread_join(thread, NULL);
    close(fds[0]);
}

static void test_eventfd(void) {
    uint64_t value = 3;
    int fd = eventfd(2, EFD_NONBLOCK | EFD_CLOEXEC);

    CHECK_EQUAL(poll_one(fd, POLLIN | POLLOUT, 0), POLLIN | POLLOUT);
    CHECK_EQUAL(write(fd, &value, 8), 8);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    CHECK_EQUAL(value, 5);
    CHECK(read(fd, &value, 8) == -1 && errno == EAGAIN);
    CHECK(read(fd, &value, 4) == -1 && errno == EINVAL);
    value = ~0ull;
    CHECK(write(fd, &value, 8) == -1 && errno == EINVAL);
    value = ~0ull - 1;
    CHECK_EQUAL(write(fd, &value, 8), 8);
    CHECK_EQUAL(poll_one(fd, POLLIN | POLLOUT, 0), POLLIN);
    value = 1;
    CHECK(write(fd, &value, 8) == -1 && errno == EAGAIN);
    close(fd);

    fd = eventfd(2, EFD_SEMAPHORE);
    CHECK(read(fd, &value, 8) == 8 && value == 1);
    CHECK(read(fd, &value, 8) == 8 && value == 1);
    CHECK_EQUAL(poll_one(fd, POLLIN, 0), 0);
    close(fd);
}

static void *signal_event(void *fd) {
    uint64_t one = 1;

    usleep(30000);
    CHECK(write(*(int *)fd, &one, 8) == 8);
    return NULL;
}

static void test_eventfd_blocks(void) {
    pthread_t thread;
    uint64_t value = 0;
    int fd = eventfd(0, 0);
    int64_t start = now_ms();

    CHECK(pthread_create(&thread, NULL, signal_event, &fd) == 0);
    CHECK_EQUAL(read(fd, &value, 8), 8);
    CHECK(now_ms() - start >= 29);
    CHECK_EQUAL(value, 1);
    pthread_join(thread, NULL);
    close(fd);
}

static void test_poll_timeout(void) {
    int64_t start = now_ms();

    CHECK_EQUAL(poll(NULL, 0, 30), 0);
    CHECK(now_ms() - start >= 30);
    CHECK_EQUAL(poll_one(999, POLLIN, 0), POLLNVAL);
    struct pollfd none = {.fd = -1, .events = POLLIN, .revents = 77};
    CHECK_EQUAL(poll(&none, 1, 0), 0);
    CHECK_EQUAL(none.revents, 0);
    struct timespec timeout = {.tv_nsec = 10000000};
    CHECK_EQUAL(ppoll(NULL, 0, &timeout, NULL), 0);
}

static void test_epoll(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1122334455667788};
    struct epoll_event events[4];
    uint64_t value = 1;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int a = eventfd(0, EFD_NONBLOCK);
    int b = eventfd(0, EFD_NONBLOCK);

    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, a, &event) == 0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, a, &event) == -1 && errno == EEXIST);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, b, NULL) == -1 && errno == ENOENT);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event) == -1 && errno == EINVAL);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, 999, &event) == -1 && errno == EBADF);
    CHECK(epoll_wait(epoll, events, 0, 0) == -1 && errno == EINVAL);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, 10), 0);

    CHECK(write(a, &value, 8) == 8);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, -1), 1);
    CHECK_EQUAL(events[0].events, EPOLLIN);
    CHECK_EQUAL(events[0].data.u64, 0x1122334455667788);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, 0), 1); // Level-triggered: still there.

    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = 2;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, b, &event) == 0);
    CHECK(read(a, &value, 8) == 8);
    CHECK(write(b, &value, 8) == 8);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, -1), 1);
    CHECK_EQUAL(events[0].data.u64, 2);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, 0), 0); // Edge-triggered: told once.
    CHECK(write(b, &value, 8) == 8);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, 0), 1);

    event.events = EPOLLIN | EPOLLONESHOT;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, b, &event) == 0);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, 0), 1);
    CHECK(write(b, &value, 8) == 8);
    CHECK_EQUAL(epoll_wait(epoll, events, 4, 0), 0);

    close(b); // A closed descriptor leaves the set.
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, a, NULL) == 0);
    CHECK_EQUAL(poll_one(epoll, POLLIN, 0), 0);
    close(a);
    close(epoll);
}

static void test_epoll_wakes(void) {
    struct epoll_event event = {.events = EPOLLIN};
    pthread_t thread;
    int epoll = epoll_create1(0);
    int fd = eventfd(0, 0);
    int64_t start = now_ms();

    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(pthread_create(&thread, NULL, signal_event, &fd) == 0);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, -1), 1);
    CHECK(now_ms() - start >= 29);
    pthread_join(thread, NULL);
    close(fd);
    close(epoll);
}

static void test_timerfd(void) {
    struct itimerspec setting = {.it_value.tv_sec = 1000, .it_interval.tv_nsec = 10000000};
    struct itimerspec left;
    uint64_t expirations = 0;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(timerfd_settime(fd, 0, &setting, NULL) == 0);
    CHECK(timerfd_gettime(fd, &left) == 0);
    CHECK(left.it_value.tv_sec > 900 && left.it_value.tv_sec <= 1000);
    CHECK_EQUAL(left.it_interval.tv_nsec, 10000000);
    CHECK_EQUAL(poll_one(fd, POLLIN, 0), 0);
    setting.it_value = (struct timespec){.tv_nsec = 20000000};
    int64_t start = now_ms();
    CHECK(timerfd_settime(fd, 0, &setting, NULL) == 0);
    CHECK_EQUAL(read(fd, &expirations, 8), 8);
    CHECK(now_ms() - start >= 19);
    CHECK(expirations >= 1);
    usleep(50000);
    CHECK_EQUAL(read(fd, &expirations, 8), 8);
    CHECK(expirations >= 4, "%llu", (unsigned long long)expirations);

    // A period longer than time itself: the next never comes.
    setting = (struct itimerspec){.it_value.tv_nsec = 1, .it_interval.tv_sec = INT64_MAX};
    CHECK(timerfd_settime(fd, 0, &setting, NULL) == 0);
    CHECK_EQUAL(read(fd, &expirations, 8), 8);
    CHECK_EQUAL(poll_one(fd, POLLIN, 30), 0);

    setting = (struct itimerspec){0};
    CHECK(timerfd_settime(fd, 0, &setting, NULL) == 0);
    CHECK_EQUAL(poll_one(fd, POLLIN, 30), 0);
    setting.it_value.tv_sec = 1; // long past, absolutely
    CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, NULL) == 0);
    CHECK_EQUAL(poll_one(fd, POLLIN, 1000), POLLIN);
    close(fd);
}

static void test_socketpair(void) {
    char buffer[8] = "";
    pthread_t thread;
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    CHECK_EQUAL(send(fds[0], "abc", 3, 0), 3);
    CHECK_EQUAL(recv(fds[1], buffer, 2, MSG_PEEK), 2);
    CHECK_EQUAL(read(fds[1], buffer, sizeof(buffer)), 3);
    CHECK(memcmp(buffer, "abc", 3) == 0);
    CHECK(recv(fds[1], buffer, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK_EQUAL(write(fds[1], "de", 2), 2);
    CHECK_EQUAL(read(fds[0], buffer, sizeof(buffer)), 2);
    CHECK(pthread_create(&thread, NULL, write_stream, &fds[0]) == 0);
    read_stream(fds[1]);
    pthread_join(thread, NULL);
    CHECK(send(fds[1], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    close(fds[1]);
}

static struct sockaddr_un socket_address(const char *path, socklen_t *length) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    return address;
}

static void *connect_later(void *path) {
    socklen_t length;
    struct sockaddr_un address = socket_address(path, &length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    usleep(20000);
    CHECK(connect(fd, (struct sockaddr *)&address, length) == 0);
    CHECK_EQUAL(write(fd, "ping", 4), 4);
    close(fd);
    return NULL;
}

static void test_listening_socket(void) {
    static char path[64];
    socklen_t length;
    char buffer[8];
    pthread_t thread;
    int one = 1;

    snprintf(path, sizeof(path), "/tmp/events-%d.sock", (int)getpid());
    struct sockaddr_un address = socket_address(path, &length);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(listener, (struct sockaddr *)&address, length) == -1 && errno == ENOENT);
    CHECK(bind(listener, (struct sockaddr *)&address, length) == 0);
    CHECK(listen(listener, 5) == 0);
    int second = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(second, (struct sockaddr *)&address, length) == -1 && errno == EADDRINUSE);
    close(second);
    CHECK(setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) == 0);
    CHECK_EQUAL(poll_one(listener, POLLIN, 0), 0);
    CHECK(pthread_create(&thread, NULL, connect_later, path) == 0);
    CHECK_EQUAL(poll_one(listener, POLLIN, 5000), POLLIN);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQUAL(read(fd, buffer, sizeof(buffer)), 4);
    CHECK_EQUAL(read(fd, buffer, sizeof(buffer)), 0);
    pthread_join(thread, NULL);
    close(fd);
    close(listener);
    int late = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(late, (struct sockaddr *)&address, length) == -1 && errno == ECONNREFUSED);
    close(late);
    CHECK(unlink(path) == 0);
}

// Who waits for room among those that are not accepted does so for the time it has to send.
static void test_full_backlog(void) {
    const struct timeval patience = {.tv_usec = 20000};
    char path[64];
    socklen_t length;
    int clients[2];

    snprintf(path, sizeof(path), "/tmp/events-%d.full", (int)getpid());
    struct sockaddr_un address = socket_address(path, &length);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 0) == 0);
    for (int i = 0; i < 2; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(setsockopt(clients[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0);
        int error = connect(clients[i], (struct sockaddr *)&address, length);
        CHECK(i ? error == -1 && errno == EAGAIN : !error);
    }
    close(accept(listener, NULL, NULL));
    CHECK(connect(clients[1], (struct sockaddr *)&address, length) == 0);
    close(clients[0]);
    close(clients[1]);
    close(listener);
    CHECK(unlink(path) == 0);
}

// Sends and receives one byte with a descriptor beside it.
static void send_fd(int socket_fd, int fd) {
    char byte = 'f';
    struct iovec vector = {&byte, 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    CHECK_EQUAL(sendmsg(socket_fd, &message, 0), 1);
}

static int receive_fd(int socket_fd) {
    char byte = 0;
    struct iovec vector = {&byte, 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    int fd = -1;

    CHECK_EQUAL(recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC), 1);
    CHECK_EQUAL(byte, 'f');
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header != NULL);
    if (header && CHECK(header->cmsg_type == SCM_RIGHTS)) {
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    }
    return fd;
}

static void test_pass_descriptor(void) {
    uint64_t value = 42;
    int fds[2];
    int event = eventfd(0, EFD_NONBLOCK);

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    send_fd(fds[0], event);
    int passed = receive_fd(fds[1]);
    CHECK(passed >= 0 && passed != event);
    CHECK_EQUAL(fcntl(passed, F_GETFD), FD_CLOEXEC);
    CHECK(write(event, &value, 8) == 8);
    close(event);
    value = 0;
    CHECK(read(passed, &value, 8) == 8 && value == 42);
    close(passed);

    // A descriptor in flight outlives both its owner's and, unread, the socket's end.
    int memory = memfd_create("passed", 0);
    CHECK(ftruncate(memory, 4096) == 0);
    send_fd(fds[0], memory);
    close(memory);
    passed = receive_fd(fds[1]);
    char *bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, passed, 0);
    if (CHECK(bytes != MAP_FAILED)) {
        bytes[7] = 'x';
        char byte = 0;
        CHECK(pread(passed, &byte, 1, 7) == 1 && byte == 'x');
        munmap(bytes, 4096);
    }
    send_fd(fds[0], passed);
    close(passed);
    close(fds[0]);
    close(fds[1]);
}

static void test_datagrams(void) {
    char buffer[16];
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0);
    CHECK_EQUAL(send(fds[0], "one", 3, 0), 3);
    CHECK_EQUAL(send(fds[0], "three", 5, 0), 5);
    CHECK_EQUAL(recv(fds[1], buffer, sizeof(buffer), 0), 3);
    CHECK_EQUAL(recv(fds[1], buffer, 2, 0), 2); // The rest of a message is cut off.
    CHECK(recv(fds[1], buffer, sizeof(buffer), MSG_DONTWAIT) == -1 && errno == EAGAIN);
    close(fds[0]);
    CHECK_EQUAL(recv(fds[1], buffer, sizeof(buffer), 0), 0);
    close(fds[1]);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"pipe", test_pipe},
        {"pipe, a long stream", test_pipe_stream},
        {"eventfd", test_eventfd},
        {"eventfd blocks", test_eventfd_blocks},
        {"poll", test_poll_timeout},
        {"epoll", test_epoll},
        {"epoll wakes", test_epoll_wakes},
        {"timerfd", test_timerfd},
        {"socketpair", test_socketpair},
        {"listening socket", test_listening_socket},
        {"full backlog", test_full_backlog},
        {"SCM_RIGHTS", test_pass_descriptor},
        {"SOCK_SEQPACKET", test_datagrams},
    };

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
