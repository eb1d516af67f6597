// SPDX-License-Identifier: BSD-2-Clause
// Two Linux guests on the driver domain's switch: each reaches the other, with small frames, large
// ones and VLAN tags, and through the machine's network interface the emulator's host; both go on
// when the driver domain was killed and started again. Then a megabyte goes from one to the other,
// its digest is compared.
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "start_program.h"

#define GUESTS 2
#define PATIENT                                                                                    \
    "until ping -c 1 -W 1 10.0.0.%c >/dev/null; do true; done; "                                   \
    "until ping -c 1 -W 1 10.0.2.2 >/dev/null; do true; done; "
#define SEES(name, options)                                                                        \
    "ping -q -c 3 -i 0.2 " options " | grep -q ' 0%% packet loss' && echo sees " name "; "

// Without XSAVES and its kin: see driverdomain.c.
static const char command_line[] =
    "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "
    "clearcpuid=xsaves,xsavec,xsaveopt "
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace "
    "RUN=\"me=%c; ls /sys/class/net/eth0/queues | grep -c rx | sed 's/^/queues /'; "
    "cat /sys/class/net/eth0/mtu | sed 's/^/mtu /'; modprobe 8021q; "
    "ip link set eth0 up; ip address add 10.0.0.$me/24 dev eth0; "
    "ip address add 10.0.2.10$me/24 dev eth0; "
    "ip link add link eth0 name eth0.5 type vlan id 5; "
    "ip address add 10.0.5.$me/24 dev eth0.5; ip link set eth0.5 up; " PATIENT SEES(
        "frames", "10.0.0.%c") SEES("large frames", "-s 7950 10.0.0.%c")
        SEES("tagged frames",
             "10.0.5.%c") "echo ready; sleep 2; " PATIENT "echo again; "
                          "if [ $me = 1 ]; then head -c 1048576 /dev/urandom >/tmp/file; "
                          "until nc 10.0.0.2 7 </tmp/file; do sleep 1; done; "
                          "else mkfifo /tmp/hold; sleep 1000 >/tmp/hold & nc -l -p 7 </tmp/hold "
                          ">/tmp/file; fi; "
                          "echo digest $(sha256sum </tmp/file)\"";

static const char *const wanted[] = {
    "sees frames", "sees large frames", "mtu 9000", "sees tagged frames", "again", "digest "};

static pid_t start_drivers(void) {
    char *const arguments[] = {"drivers",
                               "--net",
                               "socket=net1.sock,switch=lan,mac=52:54:00:00:00:01,num_queues=4",
                               "--net",
                               "socket=net2.sock,switch=lan,mac=52:54:00:00:00:02",
                               "--nic",
                               "switch=lan",
                               NULL};

    return start_program("/bin/drivers", arguments);
}

static pid_t start_guest(int number) {
    static char serial[GUESTS][32], net[GUESTS][128], command[GUESTS][sizeof(command_line) + 16];
    char me = (char)('1' + number), other = (char)('2' - number);
    char *const arguments[] = {
        "vmm",       "--kernel",  "vmlinuz",          "--initrd", "initrd.img",   "--memory",
        "128M",      "--cpus",    number ? "1" : "2", "--serial", serial[number], "--net",
        net[number], "--cmdline", command[number],    NULL};

    snprintf(serial[number], sizeof(serial[number]), "file=guest%c.log", me);
    snprintf(net[number], sizeof(net[number]),
             "vhost_user=true,socket=net%c.sock,mac=52:54:00:00:00:0%c,mtu=9000%s", me, me,
             number ? "" : ",num_queues=4");
    snprintf(command[number], sizeof(command[number]), command_line, me, other, other, other, other,
             other);
    return start_program("/bin/vmm", arguments);
}

static const char *read_log(int number) {
    static char logs[GUESTS][16384];
    char path[32];

    snprintf(path, sizeof(path), "guest%d.log", number + 1);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, logs[number], sizeof(logs[number]) - 1);
    if (fd >= 0)
        close(fd);
    logs[number][got > 0 ? got : 0] = '\0';
    return logs[number];
}

static bool check_log(int number, int status) {
    const char *log = read_log(number);
    bool good = true;

    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("not ok - the VMM's status is %#x\n", status);
        good = false;
    }
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (!strstr(log, wanted[i])) {
            printf("not ok - '%s' is not in the log of guest %d\n", wanted[i], number + 1);
            good = false;
        }
    }
    if (!good)
        printf("%s\n", log);
    return good;
}

int main(void) {
    pid_t guests[GUESTS], drivers = start_drivers();
    bool good = true, ended[GUESTS] = {false};
    int status[GUESTS];

    for (int i = 0; i < GUESTS; i++)
        guests[i] = start_guest(i);
    for (int i = 0; i < GUESTS; i++) {
        while (!ended[i] && !strstr(read_log(i), "ready")) {
            usleep(50000);
            ended[i] = waitpid(guests[i], &status[i], WNOHANG) != 0;
        }
    }
    kill(drivers, SIGKILL);
    waitpid(drivers, NULL, 0);
    drivers = start_drivers();
    for (int i = 0; i < GUESTS; i++) {
        if (!ended[i])
            waitpid(guests[i], &status[i], 0);
        good = check_log(i, status[i]) && good;
    }
    kill(drivers, SIGKILL);
    waitpid(drivers, NULL, 0);
    const char *first = strstr(read_log(0), "digest "), *second = strstr(read_log(1), "digest ");
    if (good && strncmp(first, second, 7 + 64) != 0) {
        printf("not ok - %.71s was sent, %.71s received\n", first, second);
        good = false;
    }
    if (!strstr(read_log(0), "queues 2") || !strstr(read_log(1), "queues 1")) {
        printf("not ok - the guests' queues are not 2 and 1\n%s\n", read_log(0));
        good = false;
    }
    if (good)
        printf("ok - two guests on a switch\n");
    return !good;
}
