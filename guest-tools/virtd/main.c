// SPDX-License-Identifier: BSD-2-Clause
// virtd: libvirt's clients manage the virtual machines of this host.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "access.h"
#include "call.h"
#include "domain_store.h"
#include "lifecycle.h"
#include "loop.h"
#include "options.h"
#include "session.h"
#include "vmm.h"

enum { BACKLOG = 16, FIND_MS = 5000 };

static struct transport unix_transport = {.name = "unix"};
static struct transport serial_transport = {.name = "serial", .serial = true};

static _Noreturn void fail(const char *what, const char *path) {
    fprintf(stderr, "virtd: cannot %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void accept_client(struct watch *watch, uint32_t events) {
    struct transport *transport =
        (struct transport *)((char *)watch - offsetof(struct transport, listener));
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd >= 0) {
        session_start(transport, fd);
    }
}

static void listen_at(struct transport *transport, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        fail("listen at", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, BACKLOG) < 0) {
        fail("listen at", path);
    }
    transport->listener = (struct watch){.fd = fd, .ready = accept_client};
    loop_add(&transport->listener, EPOLLIN);
}

// Bytes as they are, both ways.
static void open_serial(struct transport *transport, const char *path) {
    struct termios terminal;
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) { // a machine without it has other transports
        fprintf(stderr, "virtd: no clients through %s: %s\n", path, strerror(errno));
        return;
    }
    if (tcgetattr(fd, &terminal) == 0) {
        cfmakeraw(&terminal);
        tcsetattr(fd, TCSANOW, &terminal);
    }
    session_start(transport, fd);
}

static void waited(struct timer *timer) {
    (void)timer;
}

// Clients find the domains of an earlier virtd as they are: their monitors say it first. One that
// hangs is not waited for.
static void find_domains(void) {
    static struct timer patience = {.expired = waited};

    timer_start(&patience, FIND_MS);
    while (lifecycle_finding() && patience.deadline) {
        loop_step();
    }
    timer_stop(&patience);
}

int main(int argc, char **argv) {
    options_parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    audit_open(options.audit);
    unix_transport.role = options.socket_role;
    serial_transport.role = options.serial_role;
    vmm_reap_on_signal();
    dispatch_start();
    store_load();
    find_domains();
    listen_at(&unix_transport, options.socket);
    if (options.serial) {
        open_serial(&serial_transport, options.serial);
    }
    store_autostart();
    for (;;) {
        loop_step();
    }
}
