// SPDX-License-Identifier: BSD-2-Clause
// Core scheduling in a machine whose cores have two hyper-threads: who shares a core, by prctl(2)
// and, called with "separate", where the machine's configuration keeps processes apart.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define HOGS     4
#define TURNS    8000   // more than a test lasts
#define TURN_NS  400000 // noted at once
#define APART_NS 100000 // of the two clocks that a reader of both may see, system calls included
#define SECONDS  2
#define PATIENCE 60 // seconds until each must have had a turn, or be there

// A time in which a hog ran without a break on one CPU.
struct turn {
    uint64_t from, to;
    unsigned cpu;
};

struct hog {
    unsigned count;
    struct turn turns[TURNS];
};

static struct hog *hogs; // shared with the children
static pid_t children[HOGS];

static uint64_t now(clockid_t clock) {
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// Its own CPU time goes on like the clock: nobody else ran meanwhile.
static void note_turns(struct hog *hog) {
    while (hog->count < TURNS) {
        struct turn *turn = &hog->turns[hog->count];
        turn->cpu = (unsigned)sched_getcpu();
        uint64_t used = now(CLOCK_THREAD_CPUTIME_ID);
        turn->from = now(CLOCK_MONOTONIC);
        do {
            turn->to = now(CLOCK_MONOTONIC);
        } while (turn->to - turn->from < TURN_NS);
        used = now(CLOCK_THREAD_CPUTIME_ID) - used;
        uint64_t passed = turn->to - turn->from;
        if (used + APART_NS > passed && used < passed + APART_NS &&
            turn->cpu == (unsigned)sched_getcpu()) {
            __atomic_store_n(&hog->count, hog->count + 1, __ATOMIC_RELEASE);
        }
    }
}

static long control(int command, pid_t pid, int scope, void *address) {
    return prctl(PR_SCHED_CORE, command, pid, scope, address);
}

static uint64_t cookie_of(pid_t pid) {
    uint64_t cookie = UINT64_MAX;

    CHECK(control(PR_SCHED_CORE_GET, pid, PR_SCHED_CORE_SCOPE_THREAD, &cookie) == 0, "");
    return cookie;
}

static void start_hogs(int create) {
    for (unsigned i = 0; i < HOGS; i++) {
        hogs[i].count = 0;
        children[i] = fork();
        if (children[i] == 0) {
            if (create && control(PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD, NULL)) {
                _exit(1);
            }
            note_turns(&hogs[i]);
            pause();
        }
    }
}

static int overlap(const struct turn *a, const struct turn *b) {
    return a->cpu == (b->cpu ^ 1) && a->from + APART_NS < b->to && b->from + APART_NS < a->to;
}

// Turns of the two on the two hyper-threads of a core at one time.
static unsigned together(const struct hog *a, const struct hog *b) {
    unsigned found = 0;
    unsigned first = 0; // of b's that may matter yet

    for (unsigned i = 0; i < a->count; i++) {
        while (first < b->count && b->turns[first].to < a->turns[i].from) {
            first++;
        }
        for (unsigned j = first; j < b->count && b->turns[j].from < a->turns[i].to; j++) {
            found += (unsigned)overlap(&a->turns[i], &b->turns[j]);
        }
    }
    return found;
}

static int all_had_turns(void) {
    int all = 1;

    for (unsigned i = 0; i < HOGS; i++) {
        all = all && __atomic_load_n(&hogs[i].count, __ATOMIC_ACQUIRE) > 0;
    }
    return all;
}

// Lets them run. `apart`: pairs of unequal cookies that were seen on a core at one time, `beside`:
// pairs of equal ones.
static void watch(unsigned *apart, unsigned *beside) {
    uint64_t cookies[HOGS];

    sleep(SECONDS);
    for (int i = 0; i < PATIENCE && !all_had_turns(); i++) {
        sleep(1);
    }
    *apart = *beside = 0;
    for (unsigned i = 0; i < HOGS; i++) {
        cookies[i] = cookie_of(children[i]);
        CHECK(hogs[i].count > 0, "(hog %u)", i);
        kill(children[i], SIGKILL);
    }
    for (unsigned i = 0; i < HOGS; i++) {
        waitpid(children[i], NULL, 0);
    }
    for (unsigned i = 0; i < HOGS; i++) {
        for (unsigned j = 0; j < i; j++) {
            *(cookies[i] == cookies[j] ? beside : apart) += together(&hogs[i], &hogs[j]);
        }
    }
}

static void shared(void) {
    unsigned apart, beside;

    start_hogs(0);
    watch(&apart, &beside);
    CHECK_EQUAL(apart, 0);
    CHECK(beside > 0, ""); // this program can see it
}

static void separate(void) {
    unsigned apart, beside;

    CHECK(cookie_of(0) != 0, "");
    start_hogs(0);
    watch(&apart, &beside);
    CHECK_EQUAL(apart, 0);
    CHECK_EQUAL(beside, 0); // each has its own
}

static void created(void) {
    unsigned apart, beside;

    start_hogs(1);
    for (int i = 0; i < PATIENCE && !all_had_turns(); i++) {
        sleep(1);
    }
    CHECK(cookie_of(children[0]) != cookie_of(children[1]) && cookie_of(children[0]) != 0, "");
    CHECK(control(PR_SCHED_CORE_SHARE_FROM, children[0], PR_SCHED_CORE_SCOPE_THREAD, NULL) == 0,
          "");
    CHECK_EQUAL(cookie_of(0), cookie_of(children[0]));
    for (unsigned i = 1; i < HOGS - 1; i++) {
        CHECK(control(PR_SCHED_CORE_SHARE_TO, children[i], PR_SCHED_CORE_SCOPE_THREAD_GROUP,
                      NULL) == 0,
              "");
        CHECK_EQUAL(cookie_of(children[i]), cookie_of(children[0]));
    }
    for (unsigned i = 0; i < HOGS; i++) {
        hogs[i].count = 0; // the new order
    }
    watch(&apart, &beside);
    CHECK_EQUAL(apart, 0);
    CHECK(beside > 0, "");
}

static void refused(void) {
    uint64_t cookie;

    CHECK(control(PR_SCHED_CORE_MAX, 0, 0, NULL) < 0 && errno == EINVAL, "");
    CHECK(control(PR_SCHED_CORE_CREATE, 0, 3, NULL) < 0 && errno == EINVAL, "");
    CHECK(control(PR_SCHED_CORE_CREATE, 0, 0, &cookie) < 0 && errno == EINVAL, "");
    CHECK(control(PR_SCHED_CORE_GET, 0, 1, &cookie) < 0 && errno == EINVAL, "");
    CHECK(control(PR_SCHED_CORE_GET, 0, 0, (char *)&cookie + 1) < 0 && errno == EINVAL, "");
    CHECK(control(PR_SCHED_CORE_SHARE_FROM, getppid(), 1, NULL) < 0 && errno == EINVAL, "");
    CHECK(control(PR_SCHED_CORE_CREATE, 999999, 0, NULL) < 0 && errno == ESRCH, "");
    CHECK(control(PR_SCHED_CORE_CREATE, 1, 0, NULL) < 0 && errno == EPERM, "");
    CHECK(setpgid(0, 0) == 0, ""); // without init
    CHECK(control(PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_PROCESS_GROUP, NULL) == 0, "");
    CHECK(cookie_of(0) != 0, "");
}

int main(int argc, char **argv) {
    static const struct tap_test by_prctl[] = {
        {"shared cores", shared}, {"refused", refused}, {"cookies", created}};
    static const struct tap_test configured[] = {{"separate processes", separate}};
    uint64_t cookie;

    hogs =
        mmap(NULL, HOGS * sizeof(*hogs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (control(PR_SCHED_CORE_GET, 0, 0, &cookie) < 0 && errno == ENODEV) {
        printf("1..0 # SKIP a core of this machine has one hyper-thread\n");
        return 0;
    }
    return argc > 1 && !strcmp(argv[1], "separate")
               ? tap_run(configured, 1, NULL)
               : tap_run(by_prctl, sizeof(by_prctl) / sizeof(by_prctl[0]), NULL);
}
