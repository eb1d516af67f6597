// SPDX-License-Identifier: BSD-2-Clause
// A Linux guest's disks, one with split and one with packed rings, are served by the driver domain,
// which is killed again and again under 16 concurrent writers that read back what they wrote, while
// the disk ends requests late and in any order. No acknowledged write may be lost or torn, and the
// guest may see no error. Argument: how often to kill at least (default 200).
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "start_program.h"

#define DISK_SIZE  (4u << 20)
#define GUEST_LOG  "guest.log"
#define FIRST_WORD "the disk's first bytes"
#define LAST_WORD  "enough"
#define LAST_PLACE 512 // its sector on both disks, which the writers look at after each round

// Each writer has its part of the disk: 128 KiB of its own, written in pieces, synchronized,
// read back past the cache, compared, until the last word is there. The first bytes are those this
// program put there. Without XSAVES and its kin: Bochs restores the AVX state of its compacted
// format from where it has not saved it, so that programs lost registers. cpuid_compacts hides them
// there; this is for other hosts in Bochs.
static char command_line[] =
    "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "
    "clearcpuid=xsaves,xsavec,xsaveopt "
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace "
    "RUN=\"head -c 22 /dev/vda; echo; "
    "job() { d=/dev/vda; [ $(($1%2)) = 0 ] || d=/dev/vdb; while :; do "
    "head -c 131072 /dev/urandom >/tmp/w$1; "
    "dd if=/tmp/w$1 of=$d bs=16k seek=$(($1*8+8)) oflag=direct conv=notrunc,fsync "
    "2>/dev/null "
    "|| echo write error; "
    "dd if=$d of=/tmp/r$1 bs=16k skip=$(($1*8+8)) count=8 iflag=direct 2>/dev/null "
    "|| echo read error; "
    "cmp /tmp/w$1 /tmp/r$1 || echo differs; "
    "dd if=$d bs=512 skip=1 count=1 iflag=direct 2>/dev/null | grep -q " LAST_WORD " && break; "
    "done; echo writer $1 done; }; "
    "for n in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do job $n & done; wait; dmesg | grep -iE "
    "'[i]/o error, "
    "dev|[s]egfault at|[t]raps:'; "
    "echo all done\"";

static pid_t start_drivers(void) {
    char *const arguments[] = {"drivers",
                               "--disk",
                               "socket=disk.sock,path=disk.img,num_queues=2,delay=25",
                               "--disk",
                               "socket=packed.sock,path=packed.img,num_queues=2,delay=25",
                               NULL};

    return start_program("/bin/drivers", arguments);
}

static pid_t start_guest(void) {
    static char serial[] = "file=" GUEST_LOG;
    char *const arguments[] = {"vmm",
                               "--kernel",
                               "vmlinuz",
                               "--initrd",
                               "initrd.img",
                               "--cpus",
                               "2",
                               "--memory",
                               "128M",
                               "--serial",
                               serial,
                               "--disk",
                               "vhost_user=true,socket=disk.sock,num_queues=2",
                               "--disk",
                               "vhost_user=true,socket=packed.sock,num_queues=2,packed=on",
                               "--cmdline",
                               command_line,
                               NULL};

    return start_program("/bin/vmm", arguments);
}

static void make_disk(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || ftruncate(fd, DISK_SIZE) < 0 ||
        write(fd, FIRST_WORD, strlen(FIRST_WORD)) != (ssize_t)strlen(FIRST_WORD)) {
        perror(path);
        _exit(1);
    }
    close(fd);
}

static void end_writers(const char *path) {
    int fd = open(path, O_WRONLY);

    if (fd < 0 || pwrite(fd, LAST_WORD, strlen(LAST_WORD), LAST_PLACE) < 0)
        perror(path);
    close(fd);
}

static char *read_log(void) {
    static char log[65536];
    int fd = open(GUEST_LOG, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, log, sizeof(log) - 1);

    if (fd >= 0)
        close(fd);
    log[got > 0 ? got : 0] = '\0';
    return log;
}

static int check_log(void) {
    static const struct {
        const char *text;
        bool wanted;
    } lines[] = {{FIRST_WORD, true},      {"all done", true},      {"write error", false},
                 {"read error", false},   {"differs", false},      {"I/O error, dev vd", false},
                 {"writer 1 done", true}, {"writer 15 done", true}};
    const char *log = read_log();
    int bad = 0;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if ((strstr(log, lines[i].text) != NULL) != lines[i].wanted) {
            printf("not ok - '%s' is %s the guest's log\n", lines[i].text,
                   lines[i].wanted ? "not in" : "in");
            bad = 1;
        }
    }
    if (bad)
        printf("%s\n", log);
    return bad;
}

int main(int argc, char **argv) {
    unsigned wanted = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
    unsigned kills = 0;
    pid_t ended;
    int status;

    make_disk("disk.img");
    make_disk("packed.img");
    pid_t drivers = start_drivers();
    pid_t guest = start_guest();
    srandom(1);
    // From when the guest has read the disk for the first time.
    while (!strstr(read_log(), FIRST_WORD) && waitpid(guest, &status, WNOHANG) == 0)
        usleep(20000);
    for (ended = waitpid(guest, &status, WNOHANG); ended == 0 && kills < wanted; kills++) {
        usleep(20000 + (useconds_t)(random() % 100000));
        kill(drivers, SIGKILL);
        waitpid(drivers, NULL, 0);
        drivers = start_drivers();
        ended = waitpid(guest, &status, WNOHANG);
    }
    end_writers("disk.img");
    end_writers("packed.img");
    if (ended == 0)
        waitpid(guest, &status, 0);
    kill(drivers, SIGKILL);
    waitpid(drivers, NULL, 0);
    printf("the driver domain was killed %u times\n", kills);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("not ok - the VMM's status is %#x\n", status);
        return 1;
    }
    if (kills < wanted)
        printf("not ok - that is fewer than %u\n", wanted);
    return check_log() || kills < wanted;
}
