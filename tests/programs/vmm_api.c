// SPDX-License-Identifier: BSD-2-Clause
// A Linux guest is looked at and steered through vmm's --api-socket, as control.h of vmm says.
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define API     "/work/vmm.sock"
#define PATIENT 300 // seconds for what the guest has to boot or shut down for
#define ANSWER  60  // seconds for what the monitor answers by itself
#define PROMPT  "guest:~# "

extern char **environ;

static pid_t vmm;
static int events;
static char seen[1 << 17]; // of the connection read last

static int attach(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = API};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    for (int i = 0; connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0; i++) {
        if (i == 1000) {
            printf("Bail out! nobody listens\n");
            exit(1);
        }
        usleep(10000);
    }
    return fd;
}

// Reads until the text is there, into seen. False: it does not come.
static bool expect(int fd, const char *text, int seconds) {
    const struct timeval patience = {.tv_sec = seconds};
    size_t length = 0;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    seen[0] = '\0';
    while (!strstr(seen, text)) {
        ssize_t got = read(fd, seen + length, sizeof(seen) - 1 - length);

        if (got <= 0) {
            printf("# no '%s' in: %s\n", text, length > 300 ? seen + length - 300 : seen);
            return false;
        }
        for (ssize_t i = 0; i < got; i++, length++) {
            seen[length] = seen[length] ? seen[length] : ' ';
        }
        seen[length] = '\0';
    }
    return true;
}

static void send_text(int fd, const char *text) {
    if (write(fd, text, strlen(text)) < 0) {
        perror("write");
    }
}

// Whether the request, of a connection of its own, is obeyed; the answer is in seen.
static bool request(const char *line) {
    int fd = attach();

    send_text(fd, line);
    bool done = expect(fd, "ok\n", ANSWER);
    close(fd);
    return done;
}

static unsigned long long value(const char *key) {
    const char *at = strstr(seen, key);

    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static int console(void) {
    int fd = attach();

    send_text(fd, "console\n");
    return fd;
}

static void boots(void) {
    static char command_line[] =
        "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "
        "initcall_blacklist=load_system_certificate_list,init_kprobe_trace";
    static char *const arguments[] = {
        "vmm",          "--kernel",  "vmlinuz",    "--initrd",  "initrd.img",
        "--api-socket", API,         "--serial",   "api",       "--cpus",
        "boot=2,max=3", "--memory",  "192M",       "--balloon", "size=0",
        "--paused",     "--cmdline", command_line, NULL};

    CHECK_EQUAL(posix_spawn(&vmm, "/bin/vmm", NULL, NULL, arguments, environ), 0);
    events = attach();
    send_text(events, "events\n");
    CHECK(expect(events, "ok\n", ANSWER));
    CHECK(request("info\n"));
    CHECK(strstr(seen, "state=paused\ncpus=2\n") != NULL, "%s", seen);
    CHECK(value("vcpu.1.tid=") > (unsigned)vmm);
    CHECK(request("statistics\n"));
    CHECK_EQUAL(value("vcpu.0.exits="), 0);
    int fd = console();
    CHECK(request("resume\n"));
    CHECK(expect(events, "event resumed\n", ANSWER));
    CHECK(expect(fd, PROMPT, PATIENT));
    send_text(fd, "echo $((6*7))is\n");
    CHECK(expect(fd, "42is", PATIENT));
    close(fd);
}

static void shows_what_was_shown(void) {
    int fd = console(), other = console();

    CHECK(expect(fd, "42is", ANSWER));
    CHECK(expect(other, "42is", ANSWER));
    send_text(other, "head -c 100000 /dev/zero | tr '\\0' .; echo; echo di''d\n");
    CHECK(expect(fd, "did", PATIENT)); // both see it
    close(fd);
    close(other);
    fd = console();
    send_text(fd, "echo la''st\n");
    CHECK(expect(fd, "last", ANSWER));
    CHECK(strlen(seen) > 60 << 10 && strlen(seen) < 66 << 10, "%zu bytes", strlen(seen));
    CHECK(!strstr(seen, "42is"));
    close(fd);
}

static void stands_still(void) {
    unsigned long long exits, balloon;

    CHECK(request("pause\n"));
    CHECK(expect(events, "event paused\n", ANSWER));
    CHECK(request("statistics\n"));
    exits = value("vcpu.0.exits=");
    CHECK(exits > 0 && value("vcpu.0.time=") > 0, "%s", seen);
    usleep(300000);
    CHECK(request("statistics\n"));
    CHECK_EQUAL(value("vcpu.0.exits="), exits);
    int fd = console();
    send_text(fd, "echo awa''ke\n");
    CHECK(request("info\n"));
    CHECK(strstr(seen, "state=paused\n") != NULL, "%s", seen);
    CHECK(request("resume\n"));
    CHECK(expect(fd, "awake", ANSWER));
    // The third CPU, which has not run yet, was told to stop with the others.
    CHECK(request("cpus 3\n"));
    send_text(fd, "until echo 1 >/sys/devices/system/cpu/cpu2/online; do sleep 0.1; done "
                  "2>/dev/null; echo $(nproc)cp''us\n");
    CHECK(expect(fd, "3cpus", PATIENT));
    close(fd);
    CHECK(request("balloon 167772160\n"));
    balloon = 0;
    for (int i = 0; i < PATIENT * 10 && balloon != 160 << 20; i++) {
        usleep(100000);
        CHECK(request("statistics\n"));
        balloon = value("balloon.current=");
    }
    CHECK_EQUAL(balloon, 160 << 20);
    CHECK(value("balloon.total-memory=") > 100 << 20, "%s", seen);
    CHECK(value("balloon.maximum=") == 192 << 20, "%s", seen);
}

static void refuses(void) {
    int fd = attach();

    send_text(fd, "fly\nballoon 1e9\nballoon\n");
    CHECK(expect(fd,
                 "error: unknown request\nerror: not a number of bytes up to the machine's "
                 "memory\nerror: not",
                 ANSWER));
    close(fd);
}

static void says_how_it_ends(void) {
    int fd = console(), status;

    send_text(fd, "echo c >/proc/sysrq-trigger\n"); // panic=1: and reboots
    CHECK(expect(events, "event panicked\n", PATIENT));
    CHECK(request("reset\n"));
    CHECK(expect(events, "event reboot\n", ANSWER));
    send_text(fd, "");
    CHECK(expect(fd, "Kernel panic", ANSWER));
    CHECK(expect(fd, PROMPT, PATIENT));
    send_text(fd, "until test -s /tmp/acpid.pid; do sleep 0.1; done; echo list''ens\n");
    CHECK(expect(fd, "listens", PATIENT));
    CHECK(request("power-button\n"));
    CHECK(expect(events, "event powered-off\n", PATIENT));
    CHECK_EQUAL(read(events, seen, 1), 0);
    CHECK_EQUAL(waitpid(vmm, &status, 0), vmm);
    CHECK_EQUAL(status, 0);
    close(fd);
    close(events);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"boots when it is told to", boots},
        {"attaching shows the last 64 KiB", shows_what_was_shown},
        {"stands still, and gives memory back", stands_still},
        {"refuses what it does not know", refuses},
        {"says how it ends", says_how_it_ends},
    };

    signal(SIGPIPE, SIG_IGN);
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
