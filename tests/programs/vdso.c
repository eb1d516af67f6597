// SPDX-License-Identifier: BSD-2-Clause
// vdso: the object that the kernel maps into every program, found as a C library finds it, must
// say what the system calls say.
#define _GNU_SOURCE
#include <elf.h>
#include <sched.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define ROUNDS 200

static int (*vdso_clock_gettime)(clockid_t, struct timespec *);
static int (*vdso_gettimeofday)(struct timeval *, void *);
static time_t (*vdso_time)(time_t *);
static int (*vdso_getcpu)(unsigned *, unsigned *, void *);

static const char *base(void) {
    return (const char *)getauxval(AT_SYSINFO_EHDR);
}

static const Elf64_Phdr *find_segment(unsigned type) {
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)base();
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(base() + header->e_phoff);

    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == type) {
            return &segments[i];
        }
    }
    return NULL;
}

static const void *find_table(Elf64_Sxword tag) {
    const Elf64_Dyn *entry = (const Elf64_Dyn *)(base() + find_segment(PT_DYNAMIC)->p_vaddr);

    for (; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == tag) {
            return base() + entry->d_un.d_ptr;
        }
    }
    return NULL;
}

static void *find(const char *name) {
    const Elf64_Sym *symbols = find_table(DT_SYMTAB);
    const char *names = find_table(DT_STRTAB);
    const uint32_t *hash = find_table(DT_HASH);
    const Elf64_Half *versions = find_table(DT_VERSYM);

    // Without a hash table the number of symbols is unknown: glibc needs one, musl takes either.
    for (uint32_t i = 0; symbols && names && versions && hash && i < hash[1]; i++) {
        if (symbols[i].st_shndx != SHN_UNDEF && strcmp(names + symbols[i].st_name, name) == 0) {
            return (void *)(base() + symbols[i].st_value);
        }
    }
    return NULL;
}

static void test_object(void) {
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)base();

    if (!header) {
        CHECK(header != NULL);
        return;
    }
    CHECK(memcmp(header->e_ident, ELFMAG, SELFMAG) == 0);
    CHECK_EQUAL(header->e_type, ET_DYN);
    CHECK_EQUAL(header->e_machine, EM_X86_64);
    CHECK(find_segment(PT_LOAD) && !(find_segment(PT_LOAD)->p_flags & PF_W));
    *(void **)&vdso_clock_gettime = find("__vdso_clock_gettime");
    *(void **)&vdso_gettimeofday = find("__vdso_gettimeofday");
    *(void **)&vdso_time = find("__vdso_time");
    *(void **)&vdso_getcpu = find("__vdso_getcpu");
    CHECK(vdso_clock_gettime && vdso_gettimeofday && vdso_time && vdso_getcpu);
}

static int64_t ns(const struct timespec *time) {
    return time->tv_sec * 1000000000ll + time->tv_nsec;
}

static void test_clocks(void) {
    static const clockid_t exact[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI};

    for (int i = 0; vdso_clock_gettime && i < ROUNDS; i++) {
        clockid_t clock = exact[i % 4];
        struct timespec before, within, after;

        syscall(SYS_clock_gettime, clock, &before);
        CHECK_EQUAL(vdso_clock_gettime(clock, &within), 0);
        syscall(SYS_clock_gettime, clock, &after);
        CHECK(ns(&before) <= ns(&within) && ns(&within) <= ns(&after), "clock %d: %ld, %ld, %ld",
              clock, ns(&before), ns(&within), ns(&after));
        CHECK(within.tv_nsec >= 0 && within.tv_nsec < 1000000000);
    }
}

static void test_other_clocks(void) {
    static const clockid_t others[] = {CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                                       CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID,
                                       CLOCK_THREAD_CPUTIME_ID};
    struct timespec time;

    for (size_t i = 0; vdso_clock_gettime && i < sizeof(others) / sizeof(others[0]); i++) {
        CHECK_EQUAL(vdso_clock_gettime(others[i], &time), 0);
    }
    if (vdso_clock_gettime) {
        CHECK_EQUAL(vdso_clock_gettime(1000, &time), -EINVAL);
    }
    CHECK(clock_gettime(1000, &time) == -1 && errno == EINVAL);
}

static void test_time_of_day(void) {
    struct timeval time;
    struct timespec exact;
    time_t seconds = 0;

    if (!vdso_gettimeofday || !vdso_time) {
        return;
    }
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &exact);
    CHECK_EQUAL(vdso_gettimeofday(&time, NULL), 0);
    CHECK(time.tv_usec >= 0 && time.tv_usec < 1000000);
    CHECK(time.tv_sec * 1000000ll + time.tv_usec >= ns(&exact) / 1000);
    CHECK(time.tv_sec - exact.tv_sec < 60);
    CHECK(vdso_time(&seconds) >= exact.tv_sec - 1 && seconds >= exact.tv_sec - 1);
}

// The last field that /proc/TID/stat has here.
static unsigned shown_cpu(void) {
    char path[32], text[512] = "";
    unsigned cpu = ~0u;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)gettid());
    FILE *file = fopen(path, "r");
    if (file) {
        CHECK(fscanf(file,
                     "%511[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
                     "%*d %*d %*d %*d %*u %*u %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u "
                     "%*u %*u %*u %*d %u",
                     text, &cpu) == 2);
        fclose(file);
    }
    return cpu;
}

static void test_cpu(void) {
    cpu_set_t all;

    sched_getaffinity(0, sizeof(all), &all);
    for (unsigned cpu = 0; vdso_getcpu && cpu < CPU_SETSIZE; cpu++) {
        cpu_set_t one;
        unsigned seen = ~0u, node = ~0u;

        if (!CPU_ISSET(cpu, &all)) {
            continue;
        }
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
        CHECK_EQUAL(vdso_getcpu(&seen, &node, NULL), 0);
        CHECK_EQUAL(seen, cpu);
        CHECK_EQUAL(sched_getcpu(), cpu);
        CHECK_EQUAL(shown_cpu(), cpu);
    }
    sched_setaffinity(0, sizeof(all), &all);
}

static uint64_t ticks(void) {
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static uint64_t cost(int by_system_call) {
    uint64_t best = UINT64_MAX;
    struct timespec time;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = ticks();
        if (by_system_call) {
            syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
        } else {
            clock_gettime(CLOCK_MONOTONIC, &time);
        }
        uint64_t spent = ticks() - start;
        best = spent < best ? spent : best;
    }
    return best;
}

// The C library must really use it.
static void test_library(void) {
    uint64_t library = cost(0), direct = cost(1);

    printf("# clock_gettime: %lu ticks, by system call %lu\n", library, direct);
    CHECK(library < direct);
}

int main(void) {
    static const struct tap_test tests[] = {
        {"object", test_object},
        {"clocks", test_clocks},
        {"other clocks", test_other_clocks},
        {"time of day", test_time_of_day},
        {"CPU number", test_cpu},
        {"the C library uses it", test_library},
    };

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
