// SPDX-License-Identifier: BSD-2-Clause
// Starting a program that a test cannot do without.
#pragma once

#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Starts the program at path with those arguments and this program's environment. Ends the caller
// with 1, after a message, where that fails.
static inline pid_t start_program(const char *path, char *const *arguments) {
    extern char **environ;
    pid_t child;
    int error = posix_spawn(&child, path, NULL, NULL, arguments, environ);

    if (error) {
        fprintf(stderr, "%s: %s\n", path, strerror(error));
        _exit(1);
    }
    return child;
}
