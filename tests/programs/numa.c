// SPDX-License-Identifier: BSD-2-Clause
// NUMA: memory comes from the node of the CPU that touches it first, or from where mbind and
// set_mempolicy say. On a machine of one node it is that one.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define PAGE 4096ul
#define SIZE (64 * PAGE)

static unsigned nodes = 1;

static long bind(void *start, size_t size, int mode, unsigned long mask, unsigned flags) {
    return syscall(SYS_mbind, start, size, mode, mask ? &mask : NULL, 64ul, flags);
}

static int node_of(const void *address) {
    int node = -1;

    return syscall(SYS_get_mempolicy, &node, NULL, 0ul, address, MPOL_F_NODE | MPOL_F_ADDR) == 0
               ? node
               : -errno;
}

static unsigned char *map(int flags) {
    unsigned char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    return CHECK(memory != MAP_FAILED, "") ? memory : NULL;
}

// Touches every page and counts them by node.
static void touch(unsigned char *memory, unsigned count[16]) {
    for (size_t at = 0; at < SIZE; at += PAGE) {
        memory[at] = 1;
        int node = node_of(memory + at);
        if (CHECK(node >= 0 && node < 16, "(%d)", node)) {
            count[node]++;
        }
    }
}

// Waits until the process sleeps. False: it does not.
static int sleeps(pid_t pid) {
    char path[32], state = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    for (int i = 0; i < 1000 && state != 'S'; i++) {
        FILE *file = fopen(path, "r");
        CHECK(file && fscanf(file, "%*[^)]) %c", &state) == 1, "");
        fclose(file);
        usleep(10000);
    }
    return state == 'S';
}

static void run_on(unsigned cpu) {
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    CHECK(sched_setaffinity(0, sizeof(cpus), &cpus) == 0, "");
}

static unsigned node_here(void) {
    unsigned cpu, node = 99;

    return getcpu(&cpu, &node) == 0 ? node : 99;
}

static void first_touch(void) {
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        unsigned count[16] = {0}, shared[16] = {0};

        run_on(cpu);
        CHECK(node_here() < nodes, "");
        CHECK(nodes == 1 || node_here() == cpu, "");
        touch(map(MAP_PRIVATE), count);
        CHECK_EQUAL(count[node_here()], SIZE / PAGE);
        touch(map(MAP_SHARED), shared);
        CHECK_EQUAL(shared[node_here()], SIZE / PAGE);
    }
}

static void bound(void) {
    run_on(0);
    for (unsigned node = 0; node < nodes; node++) {
        for (int shared = 0; shared < 2; shared++) {
            unsigned count[16] = {0};
            unsigned char *memory = map(shared ? MAP_SHARED : MAP_PRIVATE);
            unsigned long mask = 0;
            int mode = -1;

            CHECK(bind(memory, SIZE, MPOL_BIND, 1ul << node, MPOL_MF_STRICT | MPOL_MF_MOVE) == 0,
                  "");
            touch(memory, count);
            CHECK_EQUAL(count[node], SIZE / PAGE);
            CHECK(syscall(SYS_get_mempolicy, &mode, &mask, 64ul, memory, MPOL_F_ADDR) == 0, "");
            CHECK(mode == MPOL_BIND && mask == 1ul << node, "");
            CHECK(bind(memory, SIZE, MPOL_BIND, 1ul << (nodes - 1 - node), MPOL_MF_STRICT) ==
                      (nodes > 1 ? -1 : 0),
                  "");
        }
    }
}

// Pages that are there go too: private and shared ones, with what a second process sees of these;
// and a shared futex on one still finds who waits.
static void moved(void) {
    run_on(0);
    for (int shared = 0; shared < 2; shared++) {
        unsigned count[16] = {0};
        unsigned char *memory = map(shared ? MAP_SHARED : MAP_PRIVATE);
        int status = -1;

        CHECK(bind(memory, SIZE, MPOL_BIND, 1, 0) == 0, "");
        touch(memory, count);
        for (size_t at = 0; at < SIZE; at += PAGE) {
            memory[at + 8] = (unsigned char)(at / PAGE);
        }
        _Atomic int *word = (_Atomic int *)memory;
        *word = 5;
        pid_t child = shared ? fork() : -1;
        if (child == 0) {
            const struct timespec limit = {.tv_sec = 20};
            long woken = syscall(SYS_futex, word, FUTEX_WAIT, 5, &limit, NULL, 0);
            _exit(woken == 0 && *word == 6 && memory[9 * PAGE + 8] == 9 ? 0 : 1);
        }
        CHECK(!shared || sleeps(child), "");
        CHECK(bind(memory, SIZE, MPOL_BIND, 1ul << (nodes - 1), MPOL_MF_STRICT | MPOL_MF_MOVE) == 0,
              "(%d)", errno);
        for (size_t at = 0; at < SIZE; at += PAGE) {
            CHECK_EQUAL(node_of(memory + at), (int)nodes - 1);
            CHECK_EQUAL(memory[at + 8], at / PAGE);
        }
        if (shared) {
            *word = 6;
            CHECK(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) == 1, "");
            CHECK(waitpid(child, &status, 0) == child && status == 0, "(%d)", status);
        }
    }
}

static void interleaved(void) {
    unsigned count[16] = {0}, thread[16] = {0};
    unsigned long mask = (1ul << nodes) - 1;
    unsigned char *memory = map(MAP_PRIVATE);

    CHECK(bind(memory, SIZE, MPOL_INTERLEAVE, mask, 0) == 0, "");
    touch(memory, count);
    CHECK(syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &mask, 64ul) == 0, "");
    touch(map(MAP_PRIVATE), thread);
    CHECK(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0ul) == 0, "");
    for (unsigned node = 0; node < nodes; node++) {
        CHECK_EQUAL(count[node], SIZE / PAGE / nodes);
        CHECK_EQUAL(thread[node], SIZE / PAGE / nodes);
    }
}

static void preferred(void) {
    unsigned count[16] = {0};
    unsigned long mask = 1ul << (nodes - 1);

    run_on(0);
    CHECK(syscall(SYS_set_mempolicy, MPOL_PREFERRED, &mask, 64ul) == 0, "");
    touch(map(MAP_PRIVATE), count);
    CHECK_EQUAL(count[nodes - 1], SIZE / PAGE);
    CHECK(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0ul) == 0, "");
}

static void errors(void) {
    unsigned char *memory = map(MAP_PRIVATE);
    unsigned long mask = 0;
    int mode;

    CHECK(bind(memory + 1, PAGE, MPOL_BIND, 1, 0) < 0 && errno == EINVAL, "");
    CHECK(bind(memory, PAGE, 77, 1, 0) < 0 && errno == EINVAL, "");
    CHECK(bind(memory, PAGE, MPOL_BIND, 0, 0) < 0 && errno == EINVAL, "");
    CHECK(bind(memory, PAGE, MPOL_DEFAULT, 1, 0) < 0 && errno == EINVAL, "");
    CHECK(bind(memory, PAGE, MPOL_BIND, 1ul << nodes, 0) < 0 && errno == EINVAL, "");
    munmap(memory + PAGE, PAGE);
    CHECK(bind(memory, 3 * PAGE, MPOL_BIND, 1, 0) < 0 && errno == EFAULT, "");
    CHECK(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, memory + PAGE, MPOL_F_ADDR) < 0 &&
              errno == EFAULT,
          "");
    CHECK(syscall(SYS_get_mempolicy, NULL, &mask, 64ul, NULL, MPOL_F_MEMS_ALLOWED) == 0, "");
    CHECK_EQUAL(mask, (1ul << nodes) - 1);
}

static void files(void) {
    char text[256] = "";
    int fd = open("/sys/devices/system/node/online", O_RDONLY);

    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "");
    CHECK(strcmp(text, nodes == 1 ? "0\n" : "0-1\n") == 0, "(%s)", text);
    close(fd);
    fd = open("/sys/devices/system/node/node0/distance", O_RDONLY);
    memset(text, 0, sizeof(text));
    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "");
    CHECK(strcmp(text, nodes == 1 ? "10\n" : "10 21\n") == 0, "(%s)", text);
    close(fd);
    fd = open("/sys/devices/system/node/node0/cpulist", O_RDONLY);
    memset(text, 0, sizeof(text));
    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "");
    CHECK(strcmp(text, nodes == 1 ? "0-1\n" : "0\n") == 0, "(%s)", text);
    close(fd);
}

static const struct tap_test tests[] = {
    {"first touch", first_touch}, {"mbind", bound},   {"moved", moved}, {"interleave", interleaved},
    {"preferred", preferred},     {"errors", errors}, {"files", files},
};

// numa [NODES]: the machine has two CPUs, and this many nodes with a distance of 21.
int main(int argc, char **argv) {
    if (argc > 1) {
        nodes = (unsigned)atoi(argv[1]);
    }
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
