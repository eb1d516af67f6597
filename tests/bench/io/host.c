// SPDX-License-Identifier: BSD-2-Clause
// The I/O bench: the driver domain serves a disk in memory and a switch to two Linux guests, the
// first of which measures (guest.c). The same programs run on Ashlar and, as its first process, on
// Linux; there QEMU is measured after vmm.
#define _GNU_SOURCE
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../../programs/start_program.h"
#include "../../selftests/first_process.h"

#define DISK_SIZE (8 << 20)
#define GUEST_LOG "measuring.log"
#define BEGINNING "io: "
#define MEASURE   COMMANDS "\"guest_io /dev/vda eth0\""
#define ANSWER    COMMANDS "\"guest_io answer eth0\""
#define COMMANDS                                                                                   \
    "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "                \
    "clearcpuid=xsaves,xsavec,xsaveopt "                                                           \
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace RUN="

static pid_t start_drivers(void) {
    static char disk[] = "socket=disk.sock,path=disk.img";
    static char first[] = "socket=first.sock,switch=lan",
                second[] = "socket=second.sock,switch=lan";
    char *const arguments[] = {"./drivers", "--disk", disk, "--net", first, "--net", second, NULL};

    unlink("second.sock");
    return start_program(arguments[0], arguments);
}

static pid_t start_vmm(bool measuring) {
    char *arguments[] = {"./vmm",
                         "--kernel",
                         "vmlinuz",
                         "--initrd",
                         "initrd.img",
                         "--memory",
                         "128M",
                         "--serial",
                         measuring ? "file=" GUEST_LOG : "file=peer.log",
                         "--cmdline",
                         measuring ? MEASURE : ANSWER,
                         "--net",
                         measuring ? "vhost_user=true,socket=first.sock"
                                   : "vhost_user=true,socket=second.sock",
                         measuring ? "--disk" : NULL,
                         "vhost_user=true,socket=disk.sock",
                         NULL};

    return start_program(arguments[0], arguments);
}

// QEMU with its libraries, all in the working directory, and the devices that `devices` names.
static pid_t start_qemu(bool measuring, char *const *devices) {
    char *arguments[64] = {"./ld-linux-x86-64.so.2",
                           "--library-path",
                           ".",
                           "./qemu-system-x86_64",
                           "-L",
                           ".",
                           "-nodefaults",
                           "-no-user-config",
                           "-display",
                           "none",
                           "-machine",
                           "q35,accel=kvm,memory-backend=memory",
                           "-object",
                           "memory-backend-memfd,id=memory,size=128M,share=on",
                           "-m",
                           "128M",
                           "-cpu",
                           "host",
                           "-kernel",
                           "vmlinuz",
                           "-initrd",
                           "initrd.img",
                           "-serial",
                           measuring ? "file:" GUEST_LOG : "file:peer.log",
                           "-append",
                           measuring ? MEASURE : ANSWER};
    size_t count = 0;

    while (arguments[count])
        count++;
    while (*devices)
        arguments[count++] = *devices++;
    return start_program(arguments[0], arguments);
}

// A descriptor of a new tap interface on the bridge; QEMU inherits it.
static int open_tap(int any_socket, const char *bridge) {
    struct ifreq tap = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR}, port = {0};
    int fd = open("/dev/net/tun", O_RDWR);

    if (fd < 0 || ioctl(fd, TUNSETIFF, &tap))
        perror("/dev/net/tun");
    strncpy(port.ifr_name, bridge, IFNAMSIZ - 1);
    port.ifr_ifindex = (int)if_nametoindex(tap.ifr_name);
    tap.ifr_flags = IFF_UP;
    if (ioctl(any_socket, SIOCBRADDIF, &port) || ioctl(any_socket, SIOCSIFFLAGS, &tap))
        perror(tap.ifr_name);
    return fd;
}

// QEMU's own virtio-blk and virtio-net: the host's kernel switches between two taps.
static pid_t start_qemu_alone(bool measuring) {
    static int any_socket = -1;
    char tap[32];
    char *const devices[] = {"-netdev",
                             tap,
                             "-device",
                             measuring ? "virtio-net-pci,netdev=net,romfile="
                                       : "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:12:34:57",
                             measuring ? "-drive" : NULL,
                             "file=disk.img,format=raw,if=virtio",
                             NULL};

    if (any_socket < 0) {
        struct ifreq bridge = {.ifr_name = "bridge", .ifr_flags = IFF_UP};
        static const char *const modules[] = {"llc.ko", "stp.ko", "bridge.ko", "tun.ko"};

        for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++)
            first_process_load(modules[i], "");
        any_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (ioctl(any_socket, SIOCBRADDBR, bridge.ifr_name) ||
            ioctl(any_socket, SIOCSIFFLAGS, &bridge))
            perror("bridge");
    }
    int fd = open_tap(any_socket, "bridge");
    snprintf(tap, sizeof(tap), "tap,id=net,fd=%d", fd);
    pid_t child = start_qemu(measuring, devices);
    close(fd);
    return child;
}

// QEMU with the driver domain behind its devices.
static pid_t start_qemu_vhost_user(bool measuring) {
    char *const devices[] = {"-chardev",
                             measuring ? "socket,id=port,path=first.sock"
                                       : "socket,id=port,path=second.sock",
                             "-netdev",
                             "vhost-user,id=net,chardev=port",
                             "-device",
                             "virtio-net-pci,netdev=net,romfile=",
                             measuring ? "-chardev" : NULL,
                             "socket,id=disk,path=disk.sock",
                             "-device",
                             "vhost-user-blk-pci,chardev=disk",
                             NULL};

    return start_qemu(measuring, devices);
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

static void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void make_disk(void) {
    int fd = open("disk.img", O_RDWR | O_CREAT | O_TRUNC, 0600);

    // Memory that is there: no hole is filled while the ticks count.
    for (long at = 0; at < DISK_SIZE; at += 4096)
        if (pwrite(fd, &at, sizeof(at), at) != sizeof(at))
            perror("disk.img");
    if (ftruncate(fd, DISK_SIZE))
        perror("disk.img");
    close(fd);
}

// Two guests of the monitor that start() starts. 0, or 1 after a message.
static int measure(pid_t (*start)(bool measuring), bool with_drivers) {
    const struct timespec pause = {.tv_nsec = 200000000};
    long shown = 0;
    int done = 0, status;
    pid_t drivers = with_drivers ? start_drivers() : -1;

    unlink(GUEST_LOG);
    while (with_drivers && access("second.sock", F_OK) && waitpid(drivers, &status, WNOHANG) == 0)
        nanosleep(&pause, NULL);
    pid_t peer = start(false);
    pid_t guest = start(true);
    while (!done && waitpid(guest, &status, WNOHANG) == 0) {
        nanosleep(&pause, NULL);
        done = show_rows(&shown);
    }
    done |= show_rows(&shown);
    end(guest);
    end(peer);
    if (with_drivers)
        end(drivers);
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
    make_disk();
    int status = measure(start_vmm, true);
    if (access("qemu-system-x86_64", F_OK) == 0) {
        puts("\nQEMU, its own devices");
        status |= measure(start_qemu_alone, false);
        puts("\nQEMU, vhost-user");
        status |= measure(start_qemu_vhost_user, true);
    }
    if (first)
        first_process_end();
    return status;
}
