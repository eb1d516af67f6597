// SPDX-License-Identifier: BSD-2-Clause
// How vCPUs share two CPUs: equally, by weight, within a limit, pinned; and how soon a guest that
// waits for its timer gets one from guests that never wait.
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "tap.h"
#include "tiny_guest.h"

#define ROOT     "/sys/fs/cgroup"
#define MOST     16
#define MEMORY   (1u << 20)
#define SLICE_US 3000

// Counts for ever.
LONG_MODE_CODE(hog_code, "1: incq 0x20000\n jmp 1b\n");
// As hog_code, and reports every 20,000.
LONG_MODE_CODE(report_code, "1: mov $20000, %ecx\n 2: incq 0x20000\n dec %ecx\n jnz 2b\n"
                            "mov $0x10, %edx\n out %eax, %dx\n jmp 1b\n");

// R8 times: starts the local APIC's timer (R9 with R14 in the divide register), halts, and notes
// how many ticks more than R10 it took until it goes on, at R11; then reports R13, the interrupts
// it got.
LONG_MODE_CODE(timer_code,
               "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n xor %edx, %edx\n"
               "mov $0x80f, %ecx\n mov $0x1ff, %eax\n wrmsr\n"
               "mov $0x832, %ecx\n mov $0x40, %eax\n wrmsr\n"
               "mov $0x83e, %ecx\n mov %r14, %rax\n wrmsr\n"
               "1: rdtsc\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r12\n"
               "mov $0x838, %ecx\n mov %r9, %rax\n xor %edx, %edx\n wrmsr\n"
               "sti\n hlt\n cli\n"
               "rdtsc\n shl $32, %rdx\n or %rdx, %rax\n sub %r12, %rax\n sub %r10, %rax\n"
               "mov %rax, (%r11)\n add $8, %r11\n dec %r8\n jnz 1b\n"
               "mov %r13, %rax\n mov $0x10, %edx\n out %eax, %dx\n hlt\n");
LONG_MODE_CODE(timer_handler, "inc %r13\n mov $0x80b, %ecx\n xor %eax, %eax\n xor %edx, %edx\n"
                              "wrmsr\n iretq\n");

struct vcpu {
    struct tiny_guest guest;
    pthread_t thread;
    int pinned;         // CPU, -1: none
    const char *group;  // directory of its control group; NULL: the root
    uint64_t before;    // its CPU time, ns, when all had started
    uint64_t ns;        // since then
    uint64_t count;     // what the guest counted
    unsigned elsewhere; // exits on another CPU than the pinned
    unsigned exits;
};

static struct vcpu vcpus[MOST];
static pthread_barrier_t barrier;
static volatile int stop;
static pthread_t watcher;
static volatile uint64_t held_up; // ns, the longest that the host kept the emulator from running

static void on_signal(int signal) {
    (void)signal;
}

static uint64_t now(clockid_t clock) {
    struct timespec time = {0};

    CHECK(clock_gettime(clock, &time) == 0, "");
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t cpu_time(const struct vcpu *vcpu) {
    clockid_t clock;

    CHECK(pthread_getcpuclockid(vcpu->thread, &clock) == 0, "");
    return now(clock);
}

static int put(const char *directory, const char *file, const char *order) {
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", directory, file);
    int fd = open(path, O_WRONLY);
    int good = fd >= 0 && write(fd, order, strlen(order)) > 0;
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

static void *run_vcpu(void *argument) {
    struct vcpu *vcpu = argument;

    if (vcpu->pinned >= 0) {
        cpu_set_t cpus;

        CPU_ZERO(&cpus);
        CPU_SET(vcpu->pinned, &cpus);
        CHECK(sched_setaffinity(0, sizeof(cpus), &cpus) == 0, "");
    }
    if (vcpu->group) {
        CHECK(put(vcpu->group, "cgroup.threads", "0"), "");
    }
    pthread_barrier_wait(&barrier);
    while (!stop) {
        int result = ioctl(vcpu->guest.vcpu_fd, KVM_RUN, 0);

        CHECK(result == 0 || errno == EINTR, "");
        vcpu->exits++;
        vcpu->elsewhere += vcpu->pinned >= 0 && sched_getcpu() != vcpu->pinned;
    }
    vcpu->count = *(volatile uint64_t *)(vcpu->guest.memory + GUEST_DATA);
    return NULL;
}

static void load_code(struct tiny_guest *guest, const uint8_t *code, const uint8_t *end) {
    memcpy(guest->memory + GUEST_CODE, code, (size_t)(end - code));
}

static void create(struct vcpu *vcpu, const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};

    *vcpu = (struct vcpu){.pinned = -1};
    tiny_create(&vcpu->guest, MEMORY);
    tiny_enter_long_mode(&vcpu->guest);
    load_code(&vcpu->guest, code, end);
    tiny_check(ioctl(vcpu->guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

// QEMU's clock is the host's, which gives the CPU to others as well while the emulator is busy.
static int host_clock(void) {
    uint32_t brand[4];

    __cpuid(0x80000002, brand[0], brand[1], brand[2], brand[3]);
    return memcmp(brand, "QEMU TCG", 8) == 0;
}

// Sleeps and looks how much too late it wakes, which at a fixed priority is the host's doing.
static void *watch_host(void *argument) {
    const struct sched_param first = {.sched_priority = 1};

    CHECK(sched_setscheduler(0, SCHED_FIFO, &first) == 0, "");
    while (!stop) {
        uint64_t from = now(CLOCK_MONOTONIC);
        usleep(5000);
        uint64_t late = now(CLOCK_MONOTONIC) - from - 5000000;
        held_up = late > held_up ? late : held_up;
    }
    return argument;
}

static void start(unsigned count) {
    stop = 0;
    held_up = 0;
    if (host_clock()) {
        pthread_create(&watcher, NULL, watch_host, NULL);
    }
    pthread_barrier_init(&barrier, NULL, count + 1);
    for (unsigned i = 0; i < count; i++) {
        pthread_create(&vcpus[i].thread, NULL, run_vcpu, &vcpus[i]);
    }
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < count; i++) {
        vcpus[i].before = cpu_time(&vcpus[i]);
    }
}

static void look(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        vcpus[i].ns = cpu_time(&vcpus[i]) - vcpus[i].before;
    }
}

static void finish(unsigned count) {
    stop = 1;
    for (unsigned i = 0; i < count; i++) {
        vcpus[i].guest.run->immediate_exit = 1;
        pthread_kill(vcpus[i].thread, SIGUSR1);
    }
    if (host_clock()) {
        pthread_join(watcher, NULL);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(vcpus[i].thread, NULL);
        tiny_destroy(&vcpus[i].guest);
    }
    pthread_barrier_destroy(&barrier);
}

static void create_hogs(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        create(&vcpus[i], hog_code, hog_code_end);
    }
}

// In ns. Who runs while the emulator is held up has had that time, and gets it later than others.
static int within(double value, double expected, double percent) {
    double off = value > expected ? value - expected : expected - value;

    return off <= expected * percent / 100 + (double)held_up;
}

// Lets them run until `fair` holds; where the emulator itself waits for a CPU, whoever runs is
// charged for that, and it takes its time until that has evened out. At least 3 s, at most 120.
static int settles(unsigned count, int (*fair)(void)) {
    for (int second = 1; second <= 120; second++) {
        sleep(1);
        look(count);
        if (second >= 3 && fair()) {
            return 1;
        }
    }
    return 0;
}

static uint64_t sum(unsigned first, unsigned count) {
    uint64_t total = 0;

    for (unsigned i = first; i < first + count; i++) {
        total += vcpus[i].ns;
    }
    return total;
}

static int all_equal(void) {
    uint64_t total = sum(0, 16);
    int good = 1;

    for (unsigned i = 0; i < 16; i++) {
        good = good && within((double)vcpus[i].ns, (double)total / 16, 2);
    }
    return good;
}

static void equal(void) {
    create_hogs(16);
    start(16);
    uint64_t from = now(CLOCK_MONOTONIC);
    int good = settles(16, all_equal);
    double elapsed = (double)(now(CLOCK_MONOTONIC) - from);
    finish(16);
    CHECK(good, "");
    for (unsigned i = 0; i < 16; i++) {
        CHECK(good || within((double)vcpus[i].ns, (double)sum(0, 16) / 16, 2),
              "(%u: %lu us, held up for %lu us)", i, vcpus[i].ns / 1000, held_up / 1000);
        CHECK(vcpus[i].count > 0, "");
    }
    CHECK(within((double)sum(0, 16), 2 * elapsed, 4), "(%lu us of 2 x %.0f)", sum(0, 16) / 1000,
          elapsed / 1000);
}

static int shares_hold(void) {
    double part = (double)sum(0, 12) / 7;

    return within((double)sum(0, 4), part, 3) && within((double)sum(4, 4), 2 * part, 3) &&
           within((double)sum(8, 4), 4 * part, 3);
}

// For threads of this process, which is in ROOT/shares.
static void make_group(const char *group) {
    CHECK(mkdir(group, 0755) == 0, "");
    CHECK(put(group, "cgroup.type", "threaded"), "");
    CHECK(put(ROOT "/shares", "cgroup.subtree_control", "+cpu"), "");
}

// A thread that has been joined may still be on its way out.
static void remove_group(const char *group) {
    while (rmdir(group) < 0 && CHECK(errno == EBUSY, "")) {
        usleep(1000);
    }
}

static void weights(void) {
    static const char *const groups[] = {ROOT "/shares/a", ROOT "/shares/b", ROOT "/shares/c"};
    static const char *const weight[] = {"100", "200", "400"};

    for (unsigned i = 0; i < 3; i++) {
        make_group(groups[i]);
        CHECK(put(groups[i], "cpu.weight", weight[i]), "");
    }
    create_hogs(12);
    for (unsigned i = 0; i < 12; i++) {
        vcpus[i].group = groups[i / 4];
    }
    start(12);
    int good = settles(12, shares_hold);
    finish(12);
    CHECK(good, "(%lu : %lu : %lu us)", sum(0, 4) / 1000, sum(4, 4) / 1000, sum(8, 4) / 1000);
    for (unsigned i = 0; i < 3; i++) {
        remove_group(groups[i]);
    }
}

static long cpu_stat(const char *directory, const char *name) {
    char path[128], text[512] = "";

    snprintf(path, sizeof(path), "%s/cpu.stat", directory);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0) {
        return -1;
    }
    close(fd);
    const char *line = strstr(text, name);
    return line ? atol(line + strlen(name)) : -1;
}

static struct {
    const char *group;
    uint64_t from; // ns
    long before, used;
    double us;
} quota;

static int quota_holds(void) {
    quota.used = cpu_stat(quota.group, "usage_usec") - quota.before;
    quota.us = (double)(now(CLOCK_MONOTONIC) - quota.from) / 1e3;
    return quota.used >= (long)(quota.us * 0.23) && quota.used <= (long)(quota.us * 0.27) &&
           cpu_stat(quota.group, "nr_throttled") >= 25;
}

static void limit(void) {
    static const char group[] = ROOT "/shares/a";

    make_group(group);
    CHECK(put(group, "cpu.max", "25000 100000"), "");
    create_hogs(2);
    vcpus[0].group = vcpus[1].group = group;
    start(2);
    quota.group = group;
    quota.before = cpu_stat(group, "usage_usec");
    quota.from = now(CLOCK_MONOTONIC);
    int good = settles(2, quota_holds);
    finish(2);
    CHECK(good, "(%ld us of %.0f, throttled %ld times)", quota.used, quota.us,
          cpu_stat(group, "nr_throttled"));
    CHECK(within((double)sum(0, 2), (double)quota.used * 1e3, 4), "(%lu us, %ld us)",
          sum(0, 2) / 1000, quota.used);
    CHECK(cpu_stat(group, "throttled_usec") > 0, "");
    remove_group(group);
}

static int has_reported(void) {
    return vcpus[4].exits > 20;
}

static void pinned(void) {
    create_hogs(5);
    load_code(&vcpus[4].guest, report_code, report_code_end);
    vcpus[4].pinned = 1;
    start(5);
    CHECK(settles(5, has_reported), "(%u exits)", vcpus[4].exits);
    finish(5);
    CHECK_EQUAL(vcpus[4].elsewhere, 0);
}

// --- timers ---

#define ROUNDS  200u
#define RESULTS 0x40000ull
#define IDT     0x22000ull
#define GDT     0x24000ull
#define HANDLER 0x11000ull

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void create_timer_guest(struct tiny_guest *guest, uint64_t ns) {
    int long_ones = ns > UINT32_MAX; // counted in 128 ns

    struct kvm_sregs sregs;

    tiny_create_vm(guest, MEMORY);
    tiny_check(ioctl(guest->vm_fd, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
    tiny_create_vcpu(guest);
    tiny_enter_long_mode(guest);
    load_code(guest, timer_code, timer_code_end);
    memcpy(guest->memory + HANDLER, timer_handler, (size_t)(timer_handler_end - timer_handler));
    uint64_t gate[2] = {(HANDLER & 0xffff) | 8 << 16 | 0x8e00ull << 32 | HANDLER >> 16 << 48, 0};
    memcpy(guest->memory + IDT + 0x400, gate, sizeof(gate));
    uint64_t descriptors[3] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    memcpy(guest->memory + GDT, descriptors, sizeof(descriptors));
    tiny_check(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
    sregs.idt.base = IDT;
    sregs.idt.limit = 0xfff;
    sregs.gdt.base = GDT;
    sregs.gdt.limit = sizeof(descriptors) - 1;
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
    uint64_t khz = (uint64_t)ioctl(guest->vcpu_fd, KVM_GET_TSC_KHZ);
    struct kvm_regs regs = {.rip = GUEST_CODE,
                            .rsp = GUEST_STACK,
                            .rflags = 2,
                            .r8 = ROUNDS,
                            .r9 = long_ones ? ns / 128 : ns,
                            .r14 = long_ones ? 0xa : 0xb,
                            .r10 = ns / 1000 * khz / 1000,
                            .r11 = RESULTS};
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

// Runs the guest to its end. Returns the 90th of 100 delays, in us; by the host's clock the 50th.
static int64_t run_timer_guest(uint64_t ns) {
    struct tiny_guest guest;
    static int64_t delays[ROUNDS];
    uint32_t interrupts = 0;

    create_timer_guest(&guest, ns);
    int64_t khz = ioctl(guest.vcpu_fd, KVM_GET_TSC_KHZ);
    while (ioctl(guest.vcpu_fd, KVM_RUN, 0) < 0 && errno == EINTR) {
        continue;
    }
    if (CHECK(guest.run->exit_reason == KVM_EXIT_IO, "(%u)", guest.run->exit_reason)) {
        memcpy(&interrupts, (uint8_t *)guest.run + guest.run->io.data_offset, sizeof(interrupts));
    }
    CHECK_EQUAL(interrupts, ROUNDS);
    memcpy(delays, guest.memory + RESULTS, sizeof(delays));
    tiny_destroy(&guest);
    qsort(delays, ROUNDS, sizeof(*delays), compare);
    CHECK(delays[0] > -khz / 20, "(%ld ticks)", (long)delays[0]); // none came early
    return delays[ROUNDS * (host_clock() ? 5 : 9) / 10] * 1000 / khz;
}

static void timers_alone(void) {
    int64_t delay = run_timer_guest(500000);

    CHECK(delay < (host_clock() ? 50000 : 500), "(%ld us)", (long)delay);
}

static void timers_beside_hogs(void) {
    create_hogs(8);
    start(8);
    int64_t delay = run_timer_guest(4000000);
    finish(8);
    CHECK(delay < (host_clock() ? 50000 : SLICE_US), "(%ld us)", (long)delay);
}

// For a machine whose clock skips what nobody uses (-icount sleep=off).
static void a_day(void) {
    uint64_t from = now(CLOCK_MONOTONIC);
    int64_t delay = run_timer_guest(86400ull * 1000000000 / ROUNDS);
    uint64_t seconds = (now(CLOCK_MONOTONIC) - from) / 1000000000;

    CHECK(delay < 1000, "(%ld us)", (long)delay);
    CHECK(seconds >= 86400 && seconds < 86410, "(%lu s)", seconds);
}

static const struct tap_test tests[] = {
    {"equal", equal},   {"weights", weights},           {"limit", limit},
    {"pinned", pinned}, {"timers alone", timers_alone}, {"timers beside hogs", timers_beside_hogs},
    {"a day", a_day},
};

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGUSR1, &action, NULL);
    put(ROOT, "cgroup.subtree_control", "+cpu");
    mkdir(ROOT "/shares", 0755);
    put(ROOT "/shares", "cgroup.procs", "0");
    size_t count = sizeof(tests) / sizeof(tests[0]);
    return tap_run(tests, argc > 1 ? count : count - 1, argc > 1 ? argv[1] : NULL);
}
