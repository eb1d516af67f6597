// SPDX-License-Identifier: BSD-2-Clause
// Accepting connections.
#define _GNU_SOURCE // accept4
#include "drivers/service.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "drivers/block/raw_file.h"
#include "drivers/vhost_user/block_server.h"

struct service {
    struct block_device *disk;
    unsigned queues;
    const char *path;
    int listener;
};

struct session {
    const struct service *service;
    int socket;
};

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path); // of the program that served here before
    if (listener >= 0 && (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
                          listen(listener, 8) < 0)) {
        close(listener);
        return -1;
    }
    return listener;
}

struct service *service_open(const struct disk_options *options) {
    struct service *service = calloc(1, sizeof(*service));

    if (!service) {
        fprintf(stderr, "drivers: out of memory\n");
        return NULL;
    }
    service->queues = options->queues;
    service->path = options->socket;
    service->disk = raw_file_open(options->path, options->read_only);
    if (!service->disk) {
        fprintf(stderr, "drivers: cannot use disk image %s: %s\n", options->path, strerror(errno));
        free(service);
        return NULL;
    }
    service->listener = listen_at(options->socket);
    if (service->listener < 0) {
        fprintf(stderr, "drivers: cannot listen at %s: %s\n", options->socket, strerror(errno));
        raw_file_close(service->disk);
        free(service);
        return NULL;
    }
    return service;
}

static void *serve(void *argument) {
    struct session session = *(struct session *)argument;

    free(argument);
    block_server_run(session.service->disk, session.service->queues, session.socket);
    return NULL;
}

static int start_session(const struct service *service, int socket) {
    struct session *session = malloc(sizeof(*session));
    pthread_t thread;

    if (!session)
        return -ENOMEM;
    *session = (struct session){.service = service, .socket = socket};
    int error = pthread_create(&thread, NULL, serve, session);
    if (error) {
        free(session);
        return -error;
    }
    pthread_detach(thread);
    return 0;
}

void *service_run(void *argument) {
    struct service *service = argument;

    for (;;) {
        int socket = accept4(service->listener, NULL, NULL, SOCK_CLOEXEC);

        if (socket < 0 && errno != EINTR && errno != ECONNABORTED) {
            fprintf(stderr, "drivers: %s: %s\n", service->path, strerror(errno));
            sleep(1); // no descriptors or memory now: perhaps later
        }
        if (socket >= 0 && start_session(service, socket) < 0) {
            fprintf(stderr, "drivers: %s: no thread for another session\n", service->path);
            close(socket);
        }
    }
}
