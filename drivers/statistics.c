// SPDX-License-Identifier: BSD-2-Clause
// One answer for each connection; nothing is read.
#include "drivers/statistics.h"

#include <stddef.h>
#include <unistd.h>

#include "drivers/service.h"

static void serve(const void *server, int socket) {
    FILE *out = fdopen(socket, "w");

    if (!out) {
        close(socket);
        return;
    }
    for (const statistics_writer *writer = server; *writer; writer++)
        (*writer)(out);
    fclose(out);
}

int statistics_start(const char *path, const statistics_writer *writers) {
    return service_start(path, serve, writers);
}
