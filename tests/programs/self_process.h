// SPDX-License-Identifier: BSD-2-Clause
// Runs a test program once more as a process of its own, in a role its first argument names.
#pragma once

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *self_path; // argv[0] of this process

// Starts this program with role as its only argument. Standard input is replaced by input_fd
// unless that is negative. Exits where the process cannot be made.
__attribute__((unused)) static pid_t self_spawn(const char *role, int input_fd) {
    extern char **environ;
    char *argv[] = {(char *)self_path, (char *)role, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    if (input_fd >= 0) {
        posix_spawn_file_actions_adddup2(&actions, input_fd, STDIN_FILENO);
    }
    int error = posix_spawn(&pid, self_path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        fprintf(stderr, "cannot start %s: %s\n", self_path, strerror(error));
        exit(1);
    }
    return pid;
}

// Waits for one process; returns its wait status.
__attribute__((unused)) static int self_wait(pid_t pid) {
    int status = -1;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return status;
}

__attribute__((unused)) static int exited_with(int status, int code) {
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

__attribute__((unused)) static int killed_by(int status, int signal) {
    return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}
