// SPDX-License-Identifier: BSD-2-Clause
// The programs init has started.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define CHILDREN_MAX 16

struct child {
    const char *name; // for messages
    pid_t pid;        // 0: ended, or never started
};

struct child_table {
    struct child children[CHILDREN_MAX];
    int count;
};

// Starts argv[0] in directory (NULL: as init) with init's console. Prints what it started, or why
// it could not; the latter returns false.
bool child_start(struct child_table *table, char *const argv[], const char *directory);

// Waits until every child has ended, printing how each did.
void child_wait_all(struct child_table *table);
