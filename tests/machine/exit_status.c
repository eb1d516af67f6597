// SPDX-License-Identifier: BSD-2-Clause
// A function for GNU make, $(exit-with-status FILE): ends make with the status written in FILE,
// which it removes.
#include <gnumake.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int plugin_is_GPL_compatible;

static char *exit_with_status(const char *name, unsigned argument_count, char **arguments) {
    (void)name;
    (void)argument_count;
    int status = 1;
    FILE *file = fopen(arguments[0], "r");
    if (!file || fscanf(file, "%d", &status) != 1)
        fprintf(stderr, "make: no exit status in %s\n", arguments[0]);
    if (file)
        fclose(file);
    unlink(arguments[0]);
    if (status == 0)
        return NULL;
    fflush(NULL);
    _exit(status);
}

int exit_status_gmk_setup(void) {
    gmk_add_function("exit-with-status", exit_with_status, 1, 1, GMK_FUNC_DEFAULT);
    return 1;
}
