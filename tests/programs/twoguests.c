// SPDX-License-Identifier: BSD-2-Clause
// twoguests: two monitors with a guest each at the same time, and one monitor with two guests.
#define _GNU_SOURCE
#include <pthread.h>

#include "tap.h"

#include "self_process.h"
#include "worker_guest.h"

#define ROUNDS 40

static int run_rounds(uint64_t seed, unsigned rounds) {
    struct tiny_guest guest;

    worker_start(&guest, seed);
    for (unsigned i = 0; i < rounds; i++) {
        if (!worker_round(&guest, seed + i)) {
            return 0;
        }
    }
    tiny_destroy(&guest);
    return 1;
}

// Runs rounds between two meetings: it writes a byte when half of its work is done and goes on
// only when the other has written, which proves that both were at work at once.
static int meet_and_work(uint64_t seed, int own_fd, int other_fd) {
    struct tiny_guest guest;
    char byte = 'x';

    worker_start(&guest, seed);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!worker_round(&guest, seed + i)) {
            return 0;
        }
        if (i == ROUNDS / 2 && (write(own_fd, &byte, 1) != 1 || read(other_fd, &byte, 1) != 1)) {
            return 0;
        }
    }
    tiny_destroy(&guest);
    return 1;
}

static void test_two_processes(void) {
    // The child reads what we write on its standard input; its meeting byte is its own exit.
    int fds[2];

    if (!CHECK(pipe2(fds, O_CLOEXEC) == 0)) {
        return;
    }
    pid_t first = self_spawn("first", fds[0]);
    pid_t second = self_spawn("second", fds[0]);
    close(fds[0]);
    // Both have begun; neither may finish before it reads its byte.
    CHECK(run_rounds(99, ROUNDS / 2));
    CHECK(write(fds[1], "ab", 2) == 2);
    CHECK(exited_with(self_wait(first), 0));
    CHECK(exited_with(self_wait(second), 0));
    close(fds[1]);
}

static int child_main(uint64_t seed) {
    struct tiny_guest guest;
    char byte;

    worker_start(&guest, seed);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!worker_round(&guest, seed + i)) {
            return 1;
        }
        if (i == ROUNDS / 2 && read(STDIN_FILENO, &byte, 1) != 1) {
            return 3;
        }
    }
    return 0;
}

struct meeting {
    uint64_t seed;
    int own_fd, other_fd;
    int right;
};

static void *meeting_thread(void *argument) {
    struct meeting *meeting = argument;

    meeting->right = meet_and_work(meeting->seed, meeting->own_fd, meeting->other_fd);
    return NULL;
}

static void test_two_threads(void) {
    int a[2];
    int b[2];
    pthread_t thread;

    if (!CHECK(pipe2(a, O_CLOEXEC) == 0) || !CHECK(pipe2(b, O_CLOEXEC) == 0)) {
        return;
    }
    struct meeting other = {.seed = 500, .own_fd = a[1], .other_fd = b[0]};
    CHECK(pthread_create(&thread, NULL, meeting_thread, &other) == 0);
    CHECK(meet_and_work(900, b[1], a[0]));
    pthread_join(thread, NULL);
    CHECK(other.right);
    close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"two guests in two processes, a third here", test_two_processes},
        {"two guests in one process", test_two_threads},
    };

    self_path = argv[0];
    if (argc > 1) {
        return child_main(strcmp(argv[1], "first") == 0 ? 10 : 20);
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
