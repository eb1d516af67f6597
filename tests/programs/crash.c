// SPDX-License-Identifier: BSD-2-Clause
// crash: a monitor that crashes in the middle of its work takes nothing with it: another monitor's
// guest beside it works on.

#define _GNU_SOURCE
#include "tap.h"

#include "self_process.h"
#include "worker_guest.h"

#define CRASHES 5

// Works until its standard input ends. Exits with 0 where every sum was right.
static int work_until_told(void) {
    struct tiny_guest guest;
    uint64_t rounds = 0;
    char byte;

    worker_start(&guest, 1);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    while (read(STDIN_FILENO, &byte, 1) != 0) {
        if (!worker_round(&guest, 1 + rounds++)) {
            return 1;
        }
    }
    return rounds > 0 ? 0 : 3;
}

static int crash_at_work(void) {
    volatile int *volatile nowhere = (volatile int *)16;
    struct tiny_guest guest;

    worker_start(&guest, 1000);
    for (uint64_t i = 0; i < 3; i++) {
        if (!worker_round(&guest, 1000 + i)) {
            return 1;
        }
    }
    guest.run->immediate_exit = 0;
    *nowhere = 0;
    return 1;
}

static void test_crash_beside_worker(void) {
    int fds[2];

    if (!CHECK(pipe2(fds, O_CLOEXEC) == 0)) {
        return;
    }
    pid_t worker = self_spawn("worker", fds[0]);
    close(fds[0]);
    for (int i = 0; i < CRASHES; i++) {
        CHECK(killed_by(self_wait(self_spawn("crasher", -1)), SIGSEGV));
    }
    usleep(50000); // The worker shall work on after the last crash.
    close(fds[1]);
    CHECK(exited_with(self_wait(worker), 0));
}

static void test_afterwards(void) {
    CHECK(worker_runs(3));
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"a worker beside crashing monitors", test_crash_beside_worker},
        {"guests run afterwards", test_afterwards},
    };

    self_path = argv[0];
    if (argc > 1) {
        return strcmp(argv[1], "worker") == 0 ? work_until_told() : crash_at_work();
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
