// SPDX-License-Identifier: BSD-2-Clause
// Starting programs and reporting their ends. "init: NAME exited with N" is what `make run` reads.
#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define SIGNAL_EXIT_BASE 128 // as shells report an end by signal
#define EXIT_NOT_FOUND   127
#define EXIT_NOT_STARTED 126

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool child_start(struct child_table *table, char *const argv[], const char *directory) {
    static char *const environment[] = {"PATH=/bin", "HOME=/work", "TERM=vt100", NULL};
    struct child *child = &table->children[table->count];
    posix_spawn_file_actions_t actions;

    if (table->count == CHILDREN_MAX) {
        printf("init: more than %d programs\n", CHILDREN_MAX);
        return false;
    }
    child->name = base_name(argv[0]);
    posix_spawn_file_actions_init(&actions);
    if (directory) {
        posix_spawn_file_actions_addchdir_np(&actions, directory);
    }
    int error = posix_spawn(&child->pid, argv[0], &actions, NULL, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        printf("init: cannot start %s: %s\n", argv[0], strerror(error));
        printf("init: %s exited with %d\n", child->name,
               error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_STARTED);
        return false;
    }
    table->count++;
    // It runs, and may have put the console into raw mode.
    printf("init: started %s as process %d\r\n", child->name, (int)child->pid);
    return true;
}

static void report_end(const char *name, int status) {
    if (WIFSIGNALED(status)) {
        int signal = WTERMSIG(status);
        printf("init: %s was killed by signal %d (%s)\n", name, signal, strsignal(signal));
        printf("init: %s exited with %d\n", name, SIGNAL_EXIT_BASE + signal);
    } else {
        printf("init: %s exited with %d\n", name, WEXITSTATUS(status));
    }
}

void child_wait_all(struct child_table *table) {
    int status;
    pid_t pid;

    // Orphans that init inherits are waited for too, but nobody is told of them.
    while ((pid = wait(&status)) > 0 || errno == EINTR) {
        for (int i = 0; pid > 0 && i < table->count; i++) {
            if (table->children[i].pid == pid) {
                report_end(table->children[i].name, status);
                table->children[i].pid = 0;
            }
        }
    }
}
