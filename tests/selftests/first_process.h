// SPDX-License-Identifier: BSD-2-Clause
// What a program of ours does as Linux's first process, with Debian's modules of KVM beside it.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static inline void first_process_load(const char *name, const char *parameters) {
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 ||
        (syscall(SYS_finit_module, fd, parameters, 0) && errno != EOPNOTSUPP && errno != EEXIST))
        perror(name);
    close(fd);
}

// Mounts what is usual, and has KVM. The working directory is /work then.
static inline void first_process_begin(void) {
    static const char *const mounts[][2] = {
        {"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}};

    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        mkdir(mounts[i][1], 0755);
        mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL);
    }
    mkdir("/dev/shm", 0777);
    if (chdir("/work"))
        perror("/work");
    first_process_load("irqbypass.ko", "");
    first_process_load("kvm.ko", "");
    // One of them has its processor; the other gets EOPNOTSUPP or EEXIST. Nested virtualization is
    // off, as Ashlar has none.
    first_process_load("kvm-intel.ko", "nested=0");
    first_process_load("kvm-amd.ko", "nested=0");
}

// Powers off once all that was printed is out: Bochs ends where its port is told so, other machines
// have ACPI.
static inline void first_process_end(void) {
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    if (iopl(3) == 0)
        for (const char *c = "Shutdown"; *c; c++)
            outb((unsigned char)*c, 0x8900);
    reboot(RB_POWER_OFF);
}
