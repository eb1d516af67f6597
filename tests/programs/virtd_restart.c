// SPDX-License-Identifier: BSD-2-Clause
// virtd is killed again and again while its domains run: the next one finds them as they are, and
// can steer and end them. vsh is the client.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define SOCKET     "/run/v"
#define DEFINITION "/work/guest.xml"
#define KILLS      10
#define PATIENCE_S 60

static const char definition[] =
    "<domain type='kvm'><name>guest</name><memory unit='MiB'>96</memory><vcpu>2</vcpu>"
    "<os><type>hvm</type><kernel>/work/vmlinuz</kernel><initrd>/work/initrd.img</initrd>"
    "<cmdline>console=ttyS0 quiet</cmdline></os><devices><console type='pty'/></devices></domain>";

static char *const environment[] = {"PATH=/bin", NULL};
static pid_t virtd;
static char text[16384]; // what the last command has printed

static void start_virtd(void) {
    static char *const argv[] = {"/bin/virtd", "--socket",        SOCKET, "--state", "/work/defs",
                                 "--run",      "/run/virtd-test", NULL};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
    int connected = -1;

    CHECK_EQUAL(posix_spawn(&virtd, argv[0], NULL, NULL, argv, environment), 0);
    for (int waited = 0; waited < PATIENCE_S * 100 && connected < 0; waited++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connected = connect(fd, (struct sockaddr *)&address, sizeof(address));
        close(fd);
        usleep(10000);
    }
    CHECK(connected == 0, "virtd does not listen");
}

static void kill_virtd(void) {
    CHECK(kill(virtd, SIGKILL) == 0 && waitpid(virtd, NULL, 0) == virtd);
}

// Runs a command of vsh; returns its status.
static int vsh(const char *verb, const char *argument) {
    char *const argv[] = {
        "/bin/vsh", "--connect", SOCKET, (char *)(uintptr_t)verb, (char *)(uintptr_t)argument,
        NULL};
    posix_spawn_file_actions_t actions;
    int pipe_fds[2], status = -1;
    size_t length = 0;
    pid_t pid;

    CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 2);
    CHECK_EQUAL(posix_spawn(&pid, argv[0], &actions, NULL, argv, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    for (ssize_t n; (n = read(pipe_fds[0], text + length, sizeof(text) - 1 - length)) > 0;) {
        length += (size_t)n;
    }
    text[length] = '\0';
    close(pipe_fds[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void obey(const char *verb, const char *argument) {
    CHECK(vsh(verb, argument) == 0, "vsh %s: %s", verb, text);
}

// Waits for the word in the domain's row of `list --all`.
static void wait_for(const char *state) {
    int seen = 0;

    for (int waited = 0; waited < PATIENCE_S * 10 && !seen; waited++) {
        seen = vsh("list", "--all") == 0 && strstr(text, state);
        usleep(100000);
    }
    CHECK(seen, "the domain is not %s: %s", state, text);
}

static void test_restart(void) {
    static char before[sizeof(text)];
    int fd = open(DEFINITION, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(write(fd, definition, sizeof(definition) - 1) == (ssize_t)sizeof(definition) - 1);
    close(fd);
    start_virtd();
    obey("define", DEFINITION);
    obey("start", "guest");
    wait_for("running");
    obey("dumpxml", "guest");
    memcpy(before, text, sizeof(before));
    for (int i = 0; i < KILLS; i++) {
        kill_virtd();
        start_virtd();
        wait_for("running");
        obey("dumpxml", "guest");
        CHECK(strcmp(text, before) == 0, "it has become another: %s", text);
    }
    obey("suspend", "guest");
    kill_virtd();
    start_virtd();
    wait_for("paused");
    obey("resume", "guest");
    wait_for("running");
}

// One that was started by a virtd before is ended like any other.
static void test_end(void) {
    obey("destroy", "guest");
    wait_for("shut off");
    obey("start", "guest");
    kill_virtd();
    start_virtd();
    obey("destroy", "guest");
    wait_for("shut off");
    obey("undefine", "guest");
    CHECK(vsh("dominfo", "guest") == 1, "%s", text);
    kill_virtd();
}

int main(void) {
    static const struct tap_test tests[] = {{"restart", test_restart}, {"end", test_end}};

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
