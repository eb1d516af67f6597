// SPDX-License-Identifier: BSD-2-Clause
// init starts a service again whenever it ends: the driver domain, whose disk is not there before
// this program has made it. It is found by its statistics socket.
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tap.h"

#define IMAGE      "/work/disk.img"
#define PATIENCE_S 60

// Connects and reads what there is. -1 where nobody listens.
static ssize_t ask(char *text, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/drivers/statistics"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t got = -1;

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        got = recv(fd, text, size - 1, MSG_WAITALL);
        text[got > 0 ? got : 0] = '\0';
    }
    close(fd);
    return got;
}

static void test_restart(void) {
    static char text[16384];
    ssize_t got = -1;

    usleep(500000); // some starts fail
    CHECK(ask(text, sizeof(text)) < 0, "there is no disk yet");
    int fd = open(IMAGE, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    close(fd);
    for (int waited = 0; waited < PATIENCE_S * 100 && got <= 0; waited++) {
        got = ask(text, sizeof(text));
        if (got <= 0)
            usleep(10000);
    }
    CHECK(got > 0 && strstr(text, "disk=\"/run/drivers/disk\",operation=\"read\"} 0\n"),
          "%zd bytes of counters: %.200s", got, text);
}

int main(void) {
    static const struct tap_test tests[] = {{"restart", test_restart}};

    return tap_run(tests, 1, NULL);
}
