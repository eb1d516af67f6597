// SPDX-License-Identifier: BSD-2-Clause
// The programs init has started: those it waits for, and the services that stand by them.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILDREN_MAX 16

struct child {
    const char *name; // for messages
    char *const *argv;
    const char *directory;
    bool service;    // started again whenever it ends
    pid_t pid;       // 0: ended, or never started
    int64_t started; // milliseconds of CLOCK_MONOTONIC
    int64_t due;     // of a service's next start
    int64_t pause;   // before it, where it ends soon again
};

struct child_table {
    struct child children[CHILDREN_MAX];
    int count;
};

// Starts argv[0], which stays the caller's, in directory (NULL: as init) with init's console.
// Prints what it started, or why it could not. A service is started again whenever it ends.
void child_start(struct child_table *table, char *const argv[], const char *directory,
                 bool service);

// Waits until every child that is no service has ended, printing how each did, then ends the
// services. Where there are services only it waits for ever. SIGCHLD is blocked.
void child_wait_all(struct child_table *table);
