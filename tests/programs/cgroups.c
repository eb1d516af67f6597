// SPDX-License-Identifier: BSD-2-Clause
// The tree of control groups at /sys/fs/cgroup, and the scheduling calls, as Linux has them.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "tiny_guest.h"

#define ROOT "/sys/fs/cgroup"
#define MIB  (1u << 20)

static char text[8192];

static const char *get(const char *path) {
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    text[length < 0 ? 0 : length] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

// Writes one order; 0 or the errno.
static int put(const char *path, const char *order) {
    int fd = open(path, O_WRONLY | O_TRUNC);
    int error = fd < 0 || write(fd, order, strlen(order)) < 0 ? errno : 0;

    if (fd >= 0) {
        close(fd);
    }
    return error;
}

#define CHECK_TEXT(path, expected)                                                                 \
    CHECK(strcmp(get(path), expected) == 0, "(%s has \"%s\")", path, text)

static void the_tree(void) {
    struct statfs fs;
    struct stat status;

    CHECK(statfs(ROOT, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC, "");
    CHECK(statfs("/tmp", &fs) == 0 && fs.f_type != CGROUP2_SUPER_MAGIC, "");
    CHECK(strstr(get("/proc/self/mountinfo"), " /sys/fs/cgroup ") != NULL, "");
    CHECK_TEXT("/proc/self/cgroup", "0::/\n");
    CHECK_TEXT(ROOT "/cgroup.controllers", "cpuset cpu memory\n");
    CHECK_TEXT(ROOT "/cgroup.subtree_control", "\n");
    CHECK(mkdir(ROOT "/a", 0755) == 0, "");
    CHECK(mkdir(ROOT "/a", 0755) < 0 && errno == EEXIST, "");
    CHECK_TEXT(ROOT "/a/cgroup.controllers", "\n");
    CHECK(stat(ROOT "/a/cpu.weight", &status) < 0 && errno == ENOENT, "");
    CHECK(put(ROOT "/a/cgroup.subtree_control", "+cpu") == ENOENT, "");
    CHECK(put(ROOT "/cgroup.subtree_control", "+cpu +io") == EINVAL, "");
    CHECK(put(ROOT "/cgroup.subtree_control", "+cpu +cpuset +memory\n") == 0, "");
    CHECK_TEXT(ROOT "/cgroup.subtree_control", "cpuset cpu memory\n");
    CHECK_TEXT(ROOT "/a/cgroup.controllers", "cpuset cpu memory\n");
    CHECK(stat(ROOT "/a/cpu.weight", &status) == 0 && S_ISREG(status.st_mode), "");
    CHECK(open(ROOT "/a/file", O_RDWR | O_CREAT, 0600) < 0 && errno == EACCES, "");
    CHECK(unlink(ROOT "/a/cpu.weight") < 0 && errno == EPERM, "");
    CHECK_TEXT(ROOT "/a/cgroup.type", "domain\n");
    CHECK_TEXT(ROOT "/a/cgroup.events", "populated 0\nfrozen 0\n");
    CHECK_TEXT(ROOT "/a/cgroup.procs", "");
    CHECK(mkdir(ROOT "/a/b", 0755) == 0, "");
    CHECK(rmdir(ROOT "/a") < 0 && errno == EBUSY, "");
    CHECK(rmdir(ROOT "/a/b") == 0 && rmdir(ROOT "/a") == 0, "");
    CHECK(rmdir(ROOT "/a") < 0 && errno == ENOENT, "");
    CHECK(rmdir(ROOT) < 0 && errno == EBUSY, "");
}

static void settings(void) {
    mkdir(ROOT "/a", 0755);
    CHECK_TEXT(ROOT "/a/cpu.weight", "100\n");
    CHECK_TEXT(ROOT "/a/cpu.weight.nice", "0\n");
    CHECK(put(ROOT "/a/cpu.weight", "0") == ERANGE, "");
    CHECK(put(ROOT "/a/cpu.weight", "10001") == ERANGE, "");
    CHECK(put(ROOT "/a/cpu.weight", "ten") == EINVAL, "");
    CHECK(put(ROOT "/a/cpu.weight", "335") == 0, "");
    CHECK_TEXT(ROOT "/a/cpu.weight", "335\n");
    CHECK(put(ROOT "/a/cpu.weight.nice", "-5\n") == 0, "");
    CHECK_TEXT(ROOT "/a/cpu.weight.nice", "-5\n");
    CHECK(put(ROOT "/a/cpu.weight.nice", "20") == ERANGE, "");
    CHECK_TEXT(ROOT "/a/cpu.max", "max 100000\n");
    CHECK(put(ROOT "/a/cpu.max", "25000\n") == 0, "");
    CHECK_TEXT(ROOT "/a/cpu.max", "25000 100000\n");
    CHECK(put(ROOT "/a/cpu.max", "max 50000") == 0, "");
    CHECK_TEXT(ROOT "/a/cpu.max", "max 50000\n");
    CHECK(put(ROOT "/a/cpu.max", "1") == EINVAL, "");
    CHECK(put(ROOT "/a/cpu.max", "5000 2000000") == EINVAL, "");
    CHECK_TEXT(ROOT "/a/cpuset.cpus", "\n");
    CHECK_TEXT(ROOT "/a/cpuset.cpus.effective", "0-1\n");
    CHECK(put(ROOT "/a/cpuset.cpus", "1") == 0, "");
    CHECK_TEXT(ROOT "/a/cpuset.cpus.effective", "1\n");
    mkdir(ROOT "/a/b", 0755);
    CHECK(put(ROOT "/a/cgroup.subtree_control", "+cpuset") == 0, "");
    CHECK_TEXT(ROOT "/a/b/cpuset.cpus.effective", "1\n");
    CHECK(put(ROOT "/a/cpuset.cpus", "0-") == EINVAL, "");
    CHECK(put(ROOT "/a/cpuset.cpus", "\n") == 0, "");
    CHECK_TEXT(ROOT "/a/b/cpuset.cpus.effective", "0-1\n");
    CHECK(put(ROOT "/cgroup.subtree_control", "-cpuset") == EBUSY, "");
    CHECK_TEXT(ROOT "/a/memory.max", "max\n");
    CHECK(put(ROOT "/a/memory.max", "10M") == 0, "");
    CHECK_TEXT(ROOT "/a/memory.max", "10485760\n");
    CHECK(put(ROOT "/a/memory.max", "lots") == EINVAL, "");
    CHECK_TEXT(ROOT "/a/memory.current", "0\n");
    CHECK(put(ROOT "/a/memory.current", "1") == EINVAL, "");
    rmdir(ROOT "/a/b");
    rmdir(ROOT "/a");
}

// Runs body in a process of its own that joins ROOT/a; its exit status.
static int in_group(int (*body)(void)) {
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(put(ROOT "/a/cgroup.procs", "0") ? 99 : body());
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int stays_and_sees(void) {
    char number[32];
    cpu_set_t cpus;

    snprintf(number, sizeof(number), "%d\n", getpid());
    if (strcmp(get(ROOT "/a/cgroup.procs"), number) != 0 ||
        strcmp(get(ROOT "/a/cgroup.events"), "populated 1\nfrozen 0\n") != 0 ||
        strcmp(get("/proc/self/cgroup"), "0::/a\n") != 0) {
        return 1;
    }
    if (rmdir(ROOT "/a") == 0 || errno != EBUSY) {
        return 2;
    }
    for (int i = 0; i < 100; i++) {
        if (sched_getcpu() != 1) {
            return 3;
        }
        sched_yield();
    }
    if (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) != 1 ||
        !CPU_ISSET(1, &cpus)) {
        return 4;
    }
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) == 0 || errno != EINVAL) {
        return 5;
    }
    // A child is born where its parent is.
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(sched_getcpu() == 1 && strcmp(get("/proc/self/cgroup"), "0::/a\n") == 0 ? 0 : 1);
    }
    waitpid(child, &status, 0);
    if (status) {
        return 6;
    }
    return put(ROOT "/cgroup.procs", "0") || strcmp(get(ROOT "/a/cgroup.procs"), "") != 0 ? 7 : 0;
}

static void members(void) {
    mkdir(ROOT "/a", 0755);
    CHECK(put(ROOT "/a/cgroup.procs", "999999") == ESRCH, "");
    CHECK(put(ROOT "/a/cgroup.procs", "1") == EACCES, "");
    CHECK(put(ROOT "/a/cpuset.cpus", "1") == 0, "");
    CHECK_EQUAL(in_group(stays_and_sees), 0);
    CHECK_TEXT(ROOT "/a/cgroup.procs", "");
    CHECK(rmdir(ROOT "/a") == 0, "");
}

static void on_bus_error(int signal) {
    (void)signal;
    _exit(42);
}

static int takes_too_much(void) {
    unsigned char *memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    // The handler's frame needs a place that is there when no page is left.
    static unsigned char place[64 << 10];
    stack_t stack = {.ss_sp = place, .ss_size = sizeof(place)};
    struct sigaction action = {.sa_handler = on_bus_error, .sa_flags = SA_ONSTACK};
    memset(place, 1, sizeof(place));
    sigaltstack(&stack, NULL);
    sigaction(SIGBUS, &action, NULL);
    for (size_t i = 0; i < 64 * MIB; i += 4096) {
        memory[i] = 1;
        if (i == 4 * MIB && atol(get(ROOT "/a/memory.current")) < (long)(4 * MIB)) {
            return 1;
        }
    }
    return 0;
}

static int asks_too_much(void) {
    void *memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return madvise(memory, 64 * MIB, MADV_POPULATE_WRITE) < 0 && errno == ENOMEM ? 0 : 1;
}

// Writes to each page from 1 MiB on.
LONG_MODE_CODE(touch_code,
               "mov $0x100000, %edi\n 1: mov %rdi, (%rdi)\n add $0x1000, %rdi\n jmp 1b\n");

static int runs_a_large_guest(void) {
    struct tiny_guest guest;
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};

    // What the program itself needs once no page is left. Two: so that munmap has been called.
    void *ballast[2];
    for (int i = 0; i < 2; i++) {
        ballast[i] = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    }
    munmap(ballast[0], MIB);
    tiny_create(&guest, 64 * MIB);
    tiny_enter_long_mode(&guest);
    memcpy(guest.memory + GUEST_CODE, touch_code, (size_t)(touch_code_end - touch_code));
    ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs);
    int result = ioctl(guest.vcpu_fd, KVM_RUN, 0);
    int error = errno;
    munmap(ballast[1], MIB);
    if (result == 0 || error != EFAULT) {
        return 1;
    }
    // The guest stands where it was and goes on once there is memory.
    if (put(ROOT "/a/memory.max", "max")) {
        return 2;
    }
    result = ioctl(guest.vcpu_fd, KVM_RUN, 0);
    return result == 0 && guest.run->exit_reason == KVM_EXIT_MMIO &&
                   guest.run->mmio.phys_addr == 64 * MIB
               ? 0
               : 3;
}

static void memory_limit(void) {
    mkdir(ROOT "/a", 0755);
    CHECK(put(ROOT "/a/memory.max", "16M") == 0, "");
    CHECK_EQUAL(in_group(takes_too_much), 42);
    CHECK_EQUAL(in_group(asks_too_much), 0);
    CHECK_EQUAL(in_group(runs_a_large_guest), 0);
    CHECK(strstr(get(ROOT "/a/memory.events"), "\nmax 0\n") == NULL, "(%s)", text);
    CHECK(atol(get(ROOT "/a/memory.current")) < (long)MIB, "(%s)", text);
    CHECK(rmdir(ROOT "/a") == 0, "");
}

static _Atomic int worker_tid, worker_stop;

static void *worker(void *argument) {
    (void)argument;
    worker_tid = gettid();
    while (!worker_stop) {
        usleep(1000);
    }
    return NULL;
}

static int moves_a_thread(void) {
    pthread_t thread;
    char number[32];

    pthread_create(&thread, NULL, worker, NULL);
    while (!worker_tid) {
        usleep(1000);
    }
    snprintf(number, sizeof(number), "%d\n", worker_tid);
    if (mkdir(ROOT "/a/t", 0755) || put(ROOT "/a/t/cgroup.threads", number) != EOPNOTSUPP ||
        put(ROOT "/a/t/cgroup.type", "threaded")) {
        return 1;
    }
    if (strcmp(get(ROOT "/a/cgroup.type"), "domain threaded\n") != 0 ||
        strcmp(get(ROOT "/a/t/cgroup.type"), "threaded\n") != 0) {
        return 2;
    }
    if (put(ROOT "/a/cgroup.subtree_control", "+memory") != EOPNOTSUPP &&
        put(ROOT "/a/cgroup.subtree_control", "+memory") != EBUSY) {
        return 3;
    }
    if (put(ROOT "/a/cgroup.subtree_control", "+cpu +cpuset") ||
        put(ROOT "/a/t/cgroup.procs", "0") != EOPNOTSUPP) {
        return 4;
    }
    if (put(ROOT "/a/t/cgroup.threads", number) ||
        strcmp(get(ROOT "/a/t/cgroup.threads"), number) != 0) {
        return 5;
    }
    if (put(ROOT "/a/t/cpu.max", "10000 20000") || rmdir(ROOT "/a/t") == 0) {
        return 6;
    }
    worker_stop = 1;
    pthread_join(thread, NULL);
    while (*get(ROOT "/a/t/cgroup.threads")) {
        usleep(1000);
    }
    return rmdir(ROOT "/a/t") ? 7 : 0;
}

static void threads(void) {
    mkdir(ROOT "/a", 0755);
    CHECK_EQUAL(in_group(moves_a_thread), 0);
    CHECK(rmdir(ROOT "/a") == 0, "");
}

// --- scheduling calls ---

struct attributes { // struct sched_attr, whose header does not go with <sched.h>
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t least, most, unknown;
};

static void policies(void) {
    struct sched_param param = {.sched_priority = 0};
    struct attributes attributes = {.size = 48};
    struct timespec time;

    CHECK_EQUAL(sched_getscheduler(0), SCHED_OTHER);
    CHECK(sched_setscheduler(0, SCHED_FIFO, &param) < 0 && errno == EINVAL, "");
    CHECK(sched_setscheduler(0, 77, &param) < 0 && errno == EINVAL, "");
    CHECK(sched_setscheduler(999999, SCHED_OTHER, &param) < 0 && errno == ESRCH, "");
    CHECK(sched_setscheduler(1, SCHED_OTHER, &param) < 0 && errno == EPERM, "");
    param.sched_priority = 7;
    CHECK(sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param) == 0, "");
    CHECK_EQUAL(sched_getscheduler(0), SCHED_RR | SCHED_RESET_ON_FORK);
    param.sched_priority = 0;
    CHECK(sched_getparam(0, &param) == 0 && param.sched_priority == 7, "");
    CHECK(sched_rr_get_interval(0, &time) == 0 && time.tv_nsec > 0, "");
    pid_t child = fork();
    int status;
    if (child == 0) {
        _exit(sched_getscheduler(0));
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, SCHED_OTHER);
    param.sched_priority = 0;
    CHECK(sched_setscheduler(0, SCHED_BATCH, &param) == 0, "");
    CHECK_EQUAL(sched_getscheduler(0), SCHED_BATCH);
    CHECK_EQUAL(sched_get_priority_max(SCHED_FIFO), 99);
    CHECK_EQUAL(sched_get_priority_min(SCHED_RR), 1);
    CHECK_EQUAL(sched_get_priority_max(SCHED_IDLE), 0);
    CHECK(sched_get_priority_max(77) < 0 && errno == EINVAL, "");

    attributes.nice = 5;
    attributes.runtime = 1000000;
    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0) == 0, "");
    memset(&attributes, 0xff, sizeof(attributes));
    CHECK(syscall(SYS_sched_getattr, 0, &attributes, 48, 0) == 0, "");
    CHECK(attributes.size == 48 && attributes.nice == 5 && attributes.policy == SCHED_OTHER &&
              attributes.runtime == 1000000 && attributes.least == UINT32_MAX,
          "");
    attributes = (struct attributes){.size = 47};
    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0) < 0 && errno == E2BIG, "");
    attributes = (struct attributes){.size = 60, .unknown = 1};
    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0) < 0 && errno == E2BIG, "");
    CHECK(syscall(SYS_sched_getattr, 0, &attributes, 40, 0) < 0 && errno == EINVAL, "");
}

static void niceness(void) {
    CHECK(setpriority(PRIO_PROCESS, 0, 7) == 0, "");
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), 7);
    CHECK(setpriority(PRIO_PROCESS, 0, 100) == 0, "");
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), 19);
    CHECK(setpriority(PRIO_PROCESS, 0, -3) == 0, "");
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), -3);
    CHECK(setpriority(77, 0, 1) < 0 && errno == EINVAL, "");
    CHECK(setpriority(PRIO_PROCESS, 999999, 1) < 0 && errno == ESRCH, "");
    CHECK(setpriority(PRIO_USER, 0, 0) == 0 && getpriority(PRIO_USER, 0) == 0, "");
    CHECK(setpriority(PRIO_PGRP, 0, 1) == 0 && getpriority(PRIO_PGRP, getpgrp()) == 1, "");
    CHECK(getpriority(PRIO_PROCESS, 0) == 1 && setpriority(PRIO_PGRP, 0, 0) == 0, "");
    // A lower limit holds for what is to come.
    struct rlimit limit = {.rlim_cur = 20, .rlim_max = RLIM_INFINITY}, none = {0, 0};
    CHECK(setrlimit(RLIMIT_NICE, &limit) == 0, "");
    CHECK(setpriority(PRIO_PROCESS, 0, -1) < 0 && errno == EACCES, "");
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_NICE, &limit) == 0, "");
    pid_t child = fork();
    int status;
    if (child == 0) {
        struct sched_param param = {.sched_priority = 1};

        setrlimit(RLIMIT_RTPRIO, &none);
        _exit(sched_setscheduler(0, SCHED_FIFO, &param) < 0 && errno == EPERM ? 0 : 1);
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

static pid_t start_hog(int priority) {
    struct sched_param param = {.sched_priority = priority};
    cpu_set_t cpus;
    pid_t child = fork();

    if (child == 0) {
        CPU_ZERO(&cpus);
        CPU_SET(0, &cpus);
        sched_setaffinity(0, sizeof(cpus), &cpus);
        if (priority && sched_setscheduler(0, SCHED_FIFO, &param) < 0) {
            _exit(1);
        }
        for (;;) {
            __asm__ volatile("");
        }
    }
    return child;
}

static double seconds(clockid_t clock) {
    struct timespec time = {0};

    CHECK(clock_gettime(clock, &time) == 0, "");
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_seconds(pid_t child) {
    clockid_t clock;

    CHECK(clock_getcpuclockid(child, &clock) == 0, "");
    return seconds(clock);
}

// What an ordinary thread gets of a CPU beside a fixed priority that never sleeps.
static double part_beside_fixed(void) {
    pid_t ordinary = start_hog(0), fixed = start_hog(10);
    int status;

    usleep(200000);
    double before = cpu_seconds(ordinary), fixed_before = cpu_seconds(fixed);
    sleep(2);
    double part = cpu_seconds(ordinary) - before;
    part /= part + cpu_seconds(fixed) - fixed_before;
    kill(ordinary, SIGKILL);
    kill(fixed, SIGKILL);
    CHECK(waitpid(ordinary, &status, 0) == ordinary && waitpid(fixed, &status, 0) == fixed, "");
    return part;
}

static void throttle(void) {
    static const char runtime[] = "/proc/sys/kernel/sched_rt_runtime_us",
                      period[] = "/proc/sys/kernel/sched_rt_period_us";

    CHECK_TEXT(runtime, "950000\n");
    CHECK_TEXT(period, "1000000\n");
    CHECK_EQUAL(put(period, "900000"), EINVAL);
    CHECK_EQUAL(put(runtime, "1000001"), EINVAL);
    CHECK_EQUAL(put(runtime, "180000"), 0);
    CHECK_EQUAL(put(period, "200000"), 0);
    // A host that holds up an emulator at the end of a period shortens what the ordinary one gets
    // of it: not each time.
    double part = 0;
    for (int tries = 0; tries < 20 && !(part > 0.07 && part < 0.14); tries++) {
        part = part_beside_fixed();
    }
    CHECK(part > 0.07 && part < 0.14, "(%.3f)", part);
    CHECK_EQUAL(put(runtime, "-1"), 0);
    CHECK_TEXT(runtime, "-1\n");
    part = part_beside_fixed();
    CHECK(part < 0.01, "(%.3f)", part);
    CHECK_EQUAL(put(period, "1000000"), 0);
    CHECK_EQUAL(put(runtime, "950000"), 0);
}

// How much of a CPU this thread gets within that many seconds of never sleeping.
static double part_of_cpu(double duration) {
    double from = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_THREAD_CPUTIME_ID), now = from;

    while (now - from < duration) {
        now = seconds(CLOCK_MONOTONIC);
    }
    return (seconds(CLOCK_THREAD_CPUTIME_ID) - used) / (now - from);
}

static void reservations(void) {
    struct attributes attributes = {
        .size = 48, .policy = SCHED_DEADLINE, .runtime = 5000000, .deadline = 10000000};

    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0) == 0, "");
    CHECK_EQUAL(sched_getscheduler(0), SCHED_DEADLINE);
    // Half of a CPU is all it gets, even where nobody else wants it; where an emulator is held up
    // within its time, it has more for once.
    double part = 1;
    for (int tries = 0; tries < 20 && part >= 0.6; tries++) {
        part = part_of_cpu(0.2);
    }
    CHECK(part < 0.6, "(%.3f)", part);
    attributes = (struct attributes){.size = 48};
    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0) == 0, "");
    attributes = (struct attributes){
        .size = 48, .policy = SCHED_DEADLINE, .runtime = 11000000, .deadline = 10000000};
    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0) < 0 && errno == EINVAL, "");
    // Two CPUs: what they cannot keep is refused.
    pid_t child[3];
    int refused = 0, status, asked[2] = {-1, -1}, all[2] = {-1, -1};
    char byte;
    CHECK(pipe2(asked, O_CLOEXEC) == 0 && pipe2(all, O_CLOEXEC) == 0, "");
    for (int i = 0; i < 3; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            attributes.runtime = 8000000;
            int error = syscall(SYS_sched_setattr, 0, &attributes, 0) < 0 ? errno : 0;
            close(all[1]);
            int told = write(asked[1], "", 1) == 1 && read(all[0], &byte, 1) == 0;
            _exit(told ? error : ENOTRECOVERABLE);
        }
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(read(asked[0], &byte, 1), 1);
    }
    close(all[1]); // all have asked
    for (int i = 0; i < 3; i++) {
        waitpid(child[i], &status, 0);
        CHECK(status == 0 || WEXITSTATUS(status) == EBUSY, "");
        refused += status != 0;
    }
    CHECK(refused >= 1, "");
    close(all[0]);
    close(asked[0]);
    close(asked[1]);
}

static volatile bool moved_enough;

static void *bind_again(void *tid) {
    cpu_set_t set;

    for (unsigned i = 0; !moved_enough; i++) {
        CPU_ZERO(&set);
        CPU_SET(i & 1, &set);
        sched_setaffinity((pid_t)(intptr_t)tid, sizeof(set), &set);
    }
    return NULL;
}

// Another sets a thread's CPUs while it goes from group to group: it stays where it went.
static void bound_and_moved(void) {
    static const char *const groups[] = {ROOT "/a/cgroup.procs", ROOT "/b/cgroup.procs"};
    char own[16];
    pthread_t other;
    int strays = 0;

    snprintf(own, sizeof(own), "%d\n", getpid());
    mkdir(ROOT "/a", 0755);
    mkdir(ROOT "/b", 0755);
    CHECK(pthread_create(&other, NULL, bind_again, (void *)(intptr_t)gettid()) == 0, "");
    for (int i = 0; i < 300; i++) {
        CHECK(put(groups[i & 1], "0") == 0, "");
        strays += strcmp(get(groups[i & 1]), own) != 0;
    }
    moved_enough = true;
    pthread_join(other, NULL);
    CHECK_EQUAL(strays, 0);
    put(ROOT "/cgroup.procs", "0");
    CHECK(rmdir(ROOT "/a") == 0 && rmdir(ROOT "/b") == 0, "");
}

static const struct tap_test tests[] = {
    {"the tree", the_tree}, {"settings", settings},
    {"members", members},   {"memory.max", memory_limit},
    {"threads", threads},   {"policies", policies},
    {"niceness", niceness}, {"reservations", reservations},
    {"throttle", throttle}, {"bound and moved", bound_and_moved},
};

int main(int argc, char **argv) {
    if (argc > 1) { // else the first test does it
        put(ROOT "/cgroup.subtree_control", "+cpu +cpuset +memory");
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
