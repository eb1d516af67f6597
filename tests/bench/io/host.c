// SPDX-License-Identifier: BSD-2-Clause
// The I/O bench: the driver domain serves a disk in memory and a switch to two Linux guests, the
// first of which measures (guest.c). The same programs run on Ashlar and, as its first process, on
// Linux.
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "../../programs/start_program.h"
#include "../../selftests/first_process.h"

#define DISK_SIZE (8 << 20)
#define GUEST_LOG "measuring.log"
#define BEGINNING "io: "
#define COMMANDS                                                                                   \
    "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "                \
    "clearcpuid=xsaves,xsavec,xsaveopt "                                                           \
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace RUN="

static pid_t start_drivers(void) {
    static char disk[] = "socket=disk.sock,path=disk.img";
    static char first[] = "socket=first.sock,switch=lan",
                second[] = "socket=second.sock,switch=lan";
    char *const arguments[] = {"./drivers", "--disk", disk, "--net", first, "--net", second, NULL};

    return start_program(arguments[0], arguments);
}

static pid_t start_guest(char *log, char *network, char *disk, char *command_line) {
    char *arguments[] = {"./vmm",      "--kernel",
                         "vmlinuz",    "--initrd",
                         "initrd.img", "--memory",
                         "128M",       "--serial",
                         log,          "--net",
                         network,      "--cmdline",
                         command_line, disk ? "--disk" : NULL,
                         disk,         NULL};

    return start_program(arguments[0], arguments);
}

// The lines of the measuring guest's log that are for us, those not shown yet. 1: it is done.
static int show_rows(long *shown) {
    FILE *log = fopen(GUEST_LOG, "r");
    char line[256];
    int done = 0;

    if (!log)
        return 0;
    fseek(log, *shown, SEEK_SET);
    while (fgets(line, sizeof(line), log) && strchr(line, '\n')) {
        *shown = ftell(log);
        const char *row = strstr(line, BEGINNING);
        if (!row)
            continue;
        done |= strncmp(row, "io: done", 8) == 0;
        line[strcspn(line, "\r\n")] = '\0';
        if (!done)
            puts(row + strlen(BEGINNING));
    }
    fclose(log);
    return done;
}

static int measure(void) {
    const struct timespec pause = {.tv_nsec = 200000000};
    long shown = 0;
    int fd = open("disk.img", O_RDWR | O_CREAT | O_TRUNC, 0600), done = 0, status;

    // Memory that is there: no hole is filled while the ticks count.
    for (long at = 0; at < DISK_SIZE; at += 4096)
        if (pwrite(fd, &at, sizeof(at), at) != sizeof(at))
            perror("disk.img");
    if (ftruncate(fd, DISK_SIZE))
        perror("disk.img");
    close(fd);
    pid_t drivers = start_drivers();
    while (access("second.sock", F_OK) && waitpid(drivers, &status, WNOHANG) == 0)
        nanosleep(&pause, NULL);
    pid_t peer = start_guest("file=peer.log", "vhost_user=true,socket=second.sock", NULL,
                             COMMANDS "\"guest_io answer eth0\"");
    pid_t guest =
        start_guest("file=" GUEST_LOG, "vhost_user=true,socket=first.sock",
                    "vhost_user=true,socket=disk.sock", COMMANDS "\"guest_io /dev/vda eth0\"");
    while (!done && waitpid(guest, &status, WNOHANG) == 0) {
        nanosleep(&pause, NULL);
        done = show_rows(&shown);
    }
    done |= show_rows(&shown);
    kill(peer, SIGKILL);
    kill(drivers, SIGKILL);
    if (!done)
        puts("the measuring guest ended before it was done");
    return done ? 0 : 1;
}

int main(void) {
    int first = getpid() == 1;

    if (first)
        first_process_begin();
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("TSC ticks an operation, guests, driver domain and kernel together, on one CPU.\n\n");
    int status = measure();
    if (first)
        first_process_end();
    return status;
}
