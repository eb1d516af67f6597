// SPDX-License-Identifier: BSD-2-Clause
// Accepting connections.
#define _GNU_SOURCE // accept4
#include "drivers/service.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SESSIONS_MAX 64 // of a service: who opens many takes threads and memory from others

struct service {
    const char *path;
    int listener;
    unsigned sessions; // atomic
    void (*serve)(const void *server, int socket);
    const void *server;
};

struct session {
    struct service *service;
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
    __atomic_sub_fetch(&session.service->sessions, 1, __ATOMIC_RELAXED);
    return NULL;
}

static bool start_session(struct service *service, int socket) {
    struct session *session = malloc(sizeof(*session));
    pthread_t thread;

    if (session)
        *session = (struct session){.service = service, .socket = socket};
    if (__atomic_add_fetch(&service->sessions, 1, __ATOMIC_RELAXED) > SESSIONS_MAX || !session ||
        pthread_create(&thread, NULL, serve, session)) {
        __atomic_sub_fetch(&service->sessions, 1, __ATOMIC_RELAXED);
        free(session);
        return false;
    }
    pthread_detach(thread);
    return true;
}

static void *run(void *argument) {
    struct service *service = argument;

    for (;;) {
        int socket = accept4(service->listener, NULL, NULL, SOCK_CLOEXEC);

        if (socket < 0 && errno != EINTR && errno != ECONNABORTED) {
            fprintf(stderr, "drivers: %s: %s\n", service->path, strerror(errno));
            sleep(1); // no descriptors or memory now: perhaps later
        }
        if (socket >= 0 && !start_session(service, socket)) {
            fprintf(stderr, "drivers: %s: no room for another session\n", service->path);
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
        *service = (struct service){
            .path = path, .listener = listen_at(path), .serve = serve, .server = server};
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
