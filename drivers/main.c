// SPDX-License-Identifier: BSD-2-Clause
// drivers: serves disks to guests by vhost-user.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/options.h"
#include "drivers/service.h"

int main(int argc, char **argv) {
    struct options options;
    pthread_t threads[OPTIONS_DISKS_MAX];

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    options_parse(&options, argc, argv);
    for (unsigned i = 0; i < options.disk_count; i++) {
        struct service *service = service_open(&options.disks[i]);

        if (!service)
            return 1;
        errno = pthread_create(&threads[i], NULL, service_run, service);
        if (errno) {
            fprintf(stderr, "drivers: %s\n", strerror(errno));
            return 1;
        }
    }
    // Who waits for the sockets may go on.
    printf("drivers: serving %u disks\n", options.disk_count);
    for (unsigned i = 0; i < options.disk_count; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
