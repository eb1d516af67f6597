// SPDX-License-Identifier: BSD-2-Clause
// suicide: processes that end while one of their threads is inside KVM_RUN, in each way a process
// can end. Their machine must go with them and the system go on.
#define _GNU_SOURCE
#include <pthread.h>

#include "tap.h"

#include "self_process.h"
#include "worker_guest.h"

#define ROUNDS 4

LONG_MODE_CODE(spin, "cli\n1: jmp 1b\n");

static void *run_forever(void *argument) {
    struct tiny_guest *guest = argument;

    for (;;) {
        ioctl(guest->vcpu_fd, KVM_RUN, 0);
    }
    return NULL;
}

// Starts a guest that never exits in another thread and gives it time to be inside.
static void enter_guest(void) {
    static struct tiny_guest guest;
    struct kvm_regs regs = {.rip = GUEST_CODE, .rflags = 2};
    pthread_t thread;

    tiny_create(&guest, 2u << 20);
    tiny_enter_long_mode(&guest);
    memcpy(guest.memory + GUEST_CODE, spin, (size_t)(spin_end - spin));
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    tiny_check(pthread_create(&thread, NULL, run_forever, &guest) == 0, "pthread_create");
    usleep(20000);
}

static int role_main(const char *role) {
    volatile int *volatile nowhere = (volatile int *)16;

    enter_guest();
    if (strcmp(role, "kill") == 0) {
        kill(getpid(), SIGKILL);
    } else if (strcmp(role, "exit") == 0) {
        _exit(42);
    } else if (strcmp(role, "segfault") == 0) {
        *nowhere = 0;
    } else if (strcmp(role, "abort") == 0) {
        abort();
    } else if (strcmp(role, "wait") == 0) {
        for (;;) {
            pause();
        }
    }
    return 1;
}

static void test_kill(void) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(killed_by(self_wait(self_spawn("kill", -1)), SIGKILL));
    }
}

static void test_exit(void) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(exited_with(self_wait(self_spawn("exit", -1)), 42));
    }
}

static void test_segfault(void) {
    CHECK(killed_by(self_wait(self_spawn("segfault", -1)), SIGSEGV));
}

static void test_abort(void) {
    CHECK(killed_by(self_wait(self_spawn("abort", -1)), SIGABRT));
}

static void test_killed_by_other(void) {
    pid_t pid = self_spawn("wait", -1);

    usleep(100000);
    CHECK(kill(pid, SIGTERM) == 0);
    CHECK(killed_by(self_wait(pid), SIGTERM));
}

static void test_afterwards(void) {
    CHECK(worker_runs(3));
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"SIGKILL to oneself", test_kill},           {"exit", test_exit},
        {"segmentation fault", test_segfault},       {"abort", test_abort},
        {"killed by another", test_killed_by_other}, {"guests run afterwards", test_afterwards},
    };

    self_path = argv[0];
    if (argc > 1) {
        return role_main(argv[1]);
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
