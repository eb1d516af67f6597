// SPDX-License-Identifier: BSD-2-Clause
// ticks: a CPU that idles has no timer interrupts, nor has one that runs a single thread; one that
// two threads share has about one for each slice of 3 ms.
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define SPIN_MS 300
#define TRIES                                                                                      \
    20 // an emulator that waits for a CPU itself makes no ticks meanwhile, nor are these ours

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK_EQUAL(sched_setaffinity(0, sizeof(set), &set), 0);
}

// Timer interrupts of a CPU, from the line "LOC: n n ...".
static long interrupts(int cpu) {
    char line[4096];
    long count = -1;
    FILE *file = fopen("/proc/interrupts", "r");

    while (file && fgets(line, sizeof(line), file)) {
        char *text = strstr(line, "LOC:");
        if (text) {
            text += 4;
            for (int i = 0; i <= cpu; i++) {
                count = strtol(text, &text, 10);
            }
        }
    }
    CHECK(file != NULL);
    if (file) {
        fclose(file);
    }
    return count;
}

static long now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void *spin(void *argument) {
    (void)argument;
    for (long end = now_ms() + SPIN_MS; now_ms() < end;) {
    }
    return NULL;
}

static void alone(void) {
    long here = LONG_MAX, other = LONG_MAX;

    pin(1);
    usleep(10000);
    for (int i = 0; i < TRIES && (here > 2 || other > 5); i++) {
        here = interrupts(1);
        other = interrupts(0);
        spin(NULL);
        here = interrupts(1) - here;
        other = interrupts(0) - other;
    }
    CHECK(here <= 2, "%ld on the CPU of a single thread", here);
    CHECK(other <= 5, "%ld on the idle one", other); // the console may be looked at
}

static void shared(void) {
    pthread_t thread;
    long here = 0;

    pin(1);
    for (int i = 0; i < TRIES && here < SPIN_MS / 10; i++) {
        long start = now_ms();
        here = interrupts(1);
        CHECK_EQUAL(pthread_create(&thread, NULL, spin, NULL), 0);
        spin(NULL);
        pthread_join(thread, NULL);
        here = interrupts(1) - here;
        CHECK(here <= now_ms() - start, "%ld on a CPU of two", here);
    }
    CHECK(here >= SPIN_MS / 10, "%ld on a CPU of two", here);
}

static const struct tap_test tests[] = {{"no tick alone", alone}, {"a tick for two", shared}};

int main(void) {
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
