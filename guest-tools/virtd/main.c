// SPDX-License-Identifier: BSD-2-Clause
// virtd: libvirt's clients manage the virtual machines of this host.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <ashlar_version.h>

#include "call.h"
#include "domain_store.h"
#include "loop.h"
#include "memory.h"
#include "options.h"
#include "session.h"
#include "vmm.h"

enum { EXIT_USAGE = 2, BACKLOG = 16 };

static const char usage_text[] =
    "Usage: virtd [option]...\n"
    "Serves libvirt's clients: qemu+unix:///system?socket=PATH, or through a serial line.\n"
    "\n"
    "  --socket PATH      listens there (default /run/virtd/virtd.sock)\n"
    "  --serial PATH      serves clients on that terminal\n"
    "  --vmm PATH         the program that runs a machine (default /bin/vmm)\n"
    "  --state DIRECTORY  definitions (default /var/lib/virtd)\n"
    "  --run DIRECTORY    what runs (default /run/virtd)\n"
    "  --help, --version\n";

struct options options = {.vmm = "/bin/vmm", .state = "/var/lib/virtd", .run = "/run/virtd"};

static struct transport unix_transport = {.name = "unix", .role = ROLE_ADMIN};
static struct transport serial_transport = {.name = "serial", .serial = true, .role = ROLE_ADMIN};

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
    strcpy(address.sun_path, path);
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

    if (fd < 0) {
        fail("open", path);
    }
    if (tcgetattr(fd, &terminal) == 0) {
        cfmakeraw(&terminal);
        tcsetattr(fd, TCSANOW, &terminal);
    }
    session_start(transport, fd);
}

int main(int argc, char **argv) {
    static const struct option table[] = {
        {"socket", required_argument, NULL, 's'}, {"serial", required_argument, NULL, 't'},
        {"vmm", required_argument, NULL, 'v'},    {"state", required_argument, NULL, 'd'},
        {"run", required_argument, NULL, 'r'},    {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0},
    };
    const char *serial = NULL;
    char *socket_path = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "hV", table, NULL)) != -1) {
        switch (option) {
        case 's':
            socket_path = optarg;
            break;
        case 't':
            serial = optarg;
            break;
        case 'v':
            options.vmm = optarg;
            break;
        case 'd':
            options.state = optarg;
            break;
        case 'r':
            options.run = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        case 'V':
            puts("virtd (Ashlar) " ASHLAR_VERSION);
            return 0;
        default:
            fputs("Try 'virtd --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    vmm_reap_on_signal();
    dispatch_start();
    store_load();
    listen_at(&unix_transport,
              socket_path ? socket_path : print_string("%s/virtd.sock", options.run));
    if (serial) {
        open_serial(&serial_transport, serial);
    }
    store_autostart();
    for (;;) {
        loop_step();
    }
}
