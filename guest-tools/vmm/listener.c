// SPDX-License-Identifier: BSD-2-Clause
// Binding what was bound by a monitor before, too.
#include "listener.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"

int listener_open(const char *option, const char *path, int backlog) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        fatal("%s %s: the path is too long", option, path);
    }
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, backlog) < 0) {
        fatal_errno("%s: cannot listen at %s", option, path);
    }
    return fd;
}
