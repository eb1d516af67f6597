// SPDX-License-Identifier: BSD-2-Clause
// Starting programs and reporting their ends. "init: NAME exited with N" is what `make run` reads.
#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define SIGNAL_EXIT_BASE 128 // as shells report an end by signal
#define EXIT_NOT_FOUND   127
#define EXIT_NOT_STARTED 126

// A service that ends is started again at once, one that keeps ending ever later.
#define PAUSE_FIRST    10 // milliseconds
#define PAUSE_MAX      5000
#define LIVED_FOR_LONG 5000

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Returns 0 or what went wrong, which has been said.
static int spawn(struct child *child) {
    static char *const environment[] = {"PATH=/bin", "HOME=/work", "TERM=vt100", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    if (child->directory) {
        posix_spawn_file_actions_addchdir_np(&actions, child->directory);
    }
    int error =
        posix_spawn(&child->pid, child->argv[0], &actions, &attributes, child->argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    child->started = now_ms();
    if (error) {
        child->pid = 0;
        printf("init: cannot start %s: %s\r\n", child->argv[0], strerror(error));
    } else {
        // It runs, and may have put the console into raw mode.
        printf("init: started %s as process %d\r\n", child->name, (int)child->pid);
    }
    return error;
}

static void schedule_restart(struct child *child) {
    int64_t now = now_ms();

    child->pause = now - child->started >= LIVED_FOR_LONG ? PAUSE_FIRST : child->pause * 2;
    if (child->pause < PAUSE_FIRST) {
        child->pause = PAUSE_FIRST;
    } else if (child->pause > PAUSE_MAX) {
        child->pause = PAUSE_MAX;
    }
    child->due = now + child->pause;
}

void child_start(struct child_table *table, char *const argv[], const char *directory,
                 bool service) {
    struct child *child = &table->children[table->count];

    if (table->count == CHILDREN_MAX) {
        printf("init: more than %d programs\n", CHILDREN_MAX);
        return;
    }
    *child = (struct child){
        .name = base_name(argv[0]), .argv = argv, .directory = directory, .service = service};
    int error = spawn(child);
    if (service) {
        schedule_restart(child);
    } else if (error) {
        printf("init: %s exited with %d\n", child->name,
               error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_STARTED);
        return;
    }
    table->count++;
}

static void report_end(const struct child *child, int status) {
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    if (signal) {
        printf("init: %s was killed by signal %d (%s)\r\n", child->name, signal, strsignal(signal));
    }
    if (!child->service) {
        printf("init: %s exited with %d\n", child->name,
               signal ? SIGNAL_EXIT_BASE + signal : WEXITSTATUS(status));
    } else if (!signal) {
        printf("init: %s ended with status %d\r\n", child->name, WEXITSTATUS(status));
    }
}

// Orphans that init inherits are waited for too, but nobody is told of them.
static void note_end(struct child_table *table, pid_t pid, int status) {
    for (int i = 0; i < table->count; i++) {
        struct child *child = &table->children[i];
        if (child->pid == pid) {
            report_end(child, status);
            child->pid = 0;
            schedule_restart(child);
        }
    }
}

// Starts the services that are due. Returns the milliseconds until the next is, -1: none will be.
static int64_t start_services(struct child_table *table) {
    int64_t wait = -1;

    for (int i = 0; i < table->count; i++) {
        struct child *child = &table->children[i];
        if (!child->service || child->pid) {
            continue;
        }
        int64_t left = child->due - now_ms();
        if (left <= 0) {
            left = 0;
            if (spawn(child)) {
                schedule_restart(child);
                left = child->pause;
            }
        }
        if (!child->pid && (wait < 0 || left < wait)) {
            wait = left;
        }
    }
    return wait;
}

static bool must_wait(const struct child_table *table) {
    bool services_only = table->count > 0;

    for (int i = 0; i < table->count; i++) {
        if (!table->children[i].service) {
            services_only = false;
            if (table->children[i].pid) {
                return true;
            }
        }
    }
    return services_only;
}

void child_wait_all(struct child_table *table) {
    sigset_t ends;
    int status;
    pid_t pid;

    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    for (;;) {
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            note_end(table, pid, status);
        }
        if (!must_wait(table)) {
            break;
        }
        int64_t wait = start_services(table);
        struct timespec timeout = {.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000};
        sigtimedwait(&ends, NULL, wait < 0 ? NULL : &timeout);
    }
    for (int i = 0; i < table->count; i++) {
        if (table->children[i].pid) {
            kill(table->children[i].pid, SIGKILL); // they must bear that at any time
        }
    }
    // And what was left behind by those that have ended.
    while (wait(NULL) > 0 || errno == EINTR) {
    }
}
