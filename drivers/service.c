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

struct service {
    const char *path;
    int listener;
    void (*serve)(const void *server, int socket);
    const void *server;
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

static void *serve(void *argument) {
    struct session session = *(struct session *)argument;

    free(argument);
    session.service->serve(session.service->server, session.socket);
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

static void *run(void *argument) {
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
    return NULL;
}

int service_start(const char *path, void (*serve)(const void *server, int socket),
                  const void *server) {
    struct service *service = malloc(sizeof(*service));
    pthread_t thread;

    errno = ENOMEM;
    if (service)
        *service = (struct service){path, listen_at(path), serve, server};
    if (!service || service->listener < 0) {
        fprintf(stderr, "drivers: cannot listen at %s: %s\n", path, strerror(errno));
        free(service);
        return -1;
    }
    errno = pthread_create(&thread, NULL, run, service);
    if (errno) {
        fprintf(stderr, "drivers: %s\n", strerror(errno));
        close(service->listener);
        free(service);
        return -1;
    }
    pthread_detach(thread);
    return 0;
}
