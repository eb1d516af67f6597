// SPDX-License-Identifier: BSD-2-Clause
// bench: what the KVM API costs, in ticks of the time stamp counter; medians of 400 rounds. Inside
// Bochs and, as make bench runs it, QEMU TCG a tick is an instruction. The peers were measured in
// Bochs, which is an Intel processor: only beside one are they shown.
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#include "../programs/tiny_guest.h"
#include "../selftests/first_process.h"

#define ROUNDS         400
#define MEMORY_SIZE    (2u << 20)
#define TOUCH_BASE     0x10000000ull
#define SMALL_PAGE     0x1000ull
#define LARGE_PAGE     0x200000ull
#define LARGE_PAGES    16u // host memory behind the 400 large pages, seen again and again
#define SMALL_TOUCH_AT TOUCH_BASE
#define LARGE_TOUCH_AT (TOUCH_BASE + 2 * LARGE_PAGE)
#define UNKNOWN_CALL   "0x7fffffff"
#define KICK_PORT      0xc000u
#define KICK_ADDRESS   (GUEST_MMIO + SMALL_PAGE)

// Every block measures `operation` RCX times and stores the ticks of each round at RDI. R8 and R9
// are a pointer and its stride for operations that touch memory. The end is HLT.
#define MEASURED(name, operation)                                                                  \
    LONG_MODE_CODE(                                                                                \
        name, "mov %rcx, %r11\n"                                                                   \
              "1: lfence\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r10\n" operation     \
              "lfence\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n sub %r10, %rax\n"                  \
              "mov %rax, (%rdi)\n add $8, %rdi\n add %r9, %r8\n dec %r11\n jnz 1b\n"               \
              "hlt\n")

MEASURED(measure_nothing, "");
MEASURED(measure_cpuid, "xor %eax, %eax\n xor %ecx, %ecx\n cpuid\n");
MEASURED(measure_rdmsr, "mov $0x1b, %ecx\n rdmsr\n"); // IA32_APIC_BASE
MEASURED(measure_vmcall, "mov $" UNKNOWN_CALL ", %eax\n vmcall\n");
MEASURED(measure_out, "mov $0x80, %edx\n out %al, %dx\n");
MEASURED(measure_kick, "mov $0xc000, %edx\n out %ax, %dx\n"); // KICK_PORT
MEASURED(measure_store, "mov %eax, (%r8)\n");

struct measurement {
    const char *name;
    const uint8_t *code, *code_end;
    uint64_t pointer, stride;        // R8 and R9
    unsigned linux_ticks, xen_ticks; // of the peers, 0 where none is known
    unsigned limit;                  // what Ashlar promises, 0 where nothing
};

#define GUEST_MEASUREMENT(block) .code = block, .code_end = block##_end

static const struct measurement empty = {GUEST_MEASUREMENT(measure_nothing)};

// Peers: Linux 6.1 KVM and Xen 4.17 under Bochs with their default mitigations.
static const struct measurement guest_measurements[] = {
    {"CPUID exit", GUEST_MEASUREMENT(measure_cpuid), 0, 0, 1134, 827, 200},
    {"RDMSR exit", GUEST_MEASUREMENT(measure_rdmsr), 0, 0, 1250, 725, 0},
    {"unknown hypercall", GUEST_MEASUREMENT(measure_vmcall), 0, 0, 1121, 838, 0},
    {"OUT to user space and back", GUEST_MEASUREMENT(measure_out), 0, 0, 3288, 0, 700},
    {"MMIO write to user space and back", GUEST_MEASUREMENT(measure_store), GUEST_MMIO, 0, 5581, 0,
     2000},
    {"first touch of a present 4 KiB page", GUEST_MEASUREMENT(measure_store), SMALL_TOUCH_AT,
     SMALL_PAGE, 3103, 0, 0},
    {"first touch of a present 2 MiB page", GUEST_MEASUREMENT(measure_store), LARGE_TOUCH_AT,
     LARGE_PAGE, 3502, 0, 0},
};

// Apart: a machine with eventfds looks for one at every access that user space may answer.
static const struct measurement kick_measurements[] = {
    {"kick: OUT to an eventfd", GUEST_MEASUREMENT(measure_kick), 0, 0, 1375, 0, 0},
    {"kick: MMIO write to an eventfd", GUEST_MEASUREMENT(measure_store), KICK_ADDRESS, 0, 3900, 0,
     0},
};

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t median(uint64_t rounds[ROUNDS]) {
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    return rounds[ROUNDS / 2];
}

static uint64_t measure_in_guest(struct tiny_guest *guest, const struct measurement *measurement) {
    struct kvm_regs regs = {.rip = GUEST_CODE,
                            .rsp = GUEST_STACK,
                            .rflags = 2,
                            .rdi = GUEST_DATA,
                            .rcx = ROUNDS,
                            .r8 = measurement->pointer,
                            .r9 = measurement->stride};

    memcpy(guest->memory + GUEST_CODE, measurement->code,
           (size_t)(measurement->code_end - measurement->code));
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    do {
        tiny_check(ioctl(guest->vcpu_fd, KVM_RUN, 0) == 0, "KVM_RUN");
    } while (guest->run->exit_reason == KVM_EXIT_IO || guest->run->exit_reason == KVM_EXIT_MMIO);
    if (guest->run->exit_reason != KVM_EXIT_HLT) {
        fprintf(stderr, "bench: %s: exit reason %u\n", measurement->name, guest->run->exit_reason);
        exit(1);
    }
    return median((uint64_t *)(guest->memory + GUEST_DATA));
}

// Memory that is present in this process and that the guest has not touched. The host addresses of
// the small pages are a page off a large page's bounds, so that no large page can map them.
static void add_touch_memory(const struct tiny_guest *guest) {
    const size_t large_bytes = LARGE_PAGES * LARGE_PAGE;
    uint8_t *mapping = mmap(NULL, large_bytes + 2 * LARGE_PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint32_t slot = 1;

    tiny_check(mapping != MAP_FAILED, "touched memory");
    uint8_t *large =
        (uint8_t *)(((uintptr_t)mapping + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1));
    madvise(large, large_bytes, MADV_HUGEPAGE); // A hint: Linux has large pages off by default.
    memset(large, 1, large_bytes);
    tiny_add_memory(guest, slot++, SMALL_TOUCH_AT, large + SMALL_PAGE, LARGE_PAGE);
    for (unsigned i = 0; i < ROUNDS / LARGE_PAGES; i++) {
        tiny_add_memory(guest, slot++, LARGE_TOUCH_AT + i * large_bytes, large, large_bytes);
    }
}

// What a driver's notifications are turned into, with nobody waiting.
static void add_kicks(const struct tiny_guest *guest) {
    const struct kvm_ioeventfd port = {.addr = KICK_PORT,
                                       .len = 2,
                                       .fd = eventfd(0, EFD_NONBLOCK),
                                       .flags = KVM_IOEVENTFD_FLAG_PIO};
    const struct kvm_ioeventfd memory = {
        .addr = KICK_ADDRESS, .len = 4, .fd = eventfd(0, EFD_NONBLOCK)};

    tiny_check(port.fd >= 0 && ioctl(guest->vm_fd, KVM_IOEVENTFD, &port) == 0 && memory.fd >= 0 &&
                   ioctl(guest->vm_fd, KVM_IOEVENTFD, &memory) == 0,
               "KVM_IOEVENTFD");
}

static uint64_t host_ticks(void (*operation)(int fd), int fd) {
    static uint64_t rounds[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        _mm_lfence();
        uint64_t start = __rdtsc();
        operation(fd);
        _mm_lfence();
        rounds[i] = __rdtsc() - start;
    }
    return median(rounds);
}

static void do_nothing(int fd) {
    (void)fd;
}

static void null_ioctl(int fd) {
    ioctl(fd, KVM_GET_API_VERSION, 0);
}

static void null_system_call(int fd) {
    (void)fd;
    syscall(SYS_getppid);
}

static void print_peer(uint64_t ticks, unsigned peer) {
    if (peer && ticks && __builtin_cpu_is("intel")) {
        printf(" %7u %5.1fx", peer, (double)peer / (double)ticks);
    } else {
        printf(" %7s %6s", "-", "");
    }
}

static bool print_row(const char *name, uint64_t ticks, unsigned linux_ticks, unsigned xen_ticks,
                      unsigned limit) {
    printf("%-38s %8llu", name, (unsigned long long)ticks);
    print_peer(ticks, linux_ticks);
    print_peer(ticks, xen_ticks);
    if (limit) {
        printf("  limit %u: %s", limit, ticks <= limit ? "kept" : "BROKEN");
    }
    putchar('\n');
    return !limit || ticks <= limit;
}

static uint64_t above(uint64_t ticks, uint64_t base) {
    return ticks > base ? ticks - base : 0;
}

static bool measure_rows(struct tiny_guest *guest, const struct measurement *rows, size_t count,
                         uint64_t base, bool enforce) {
    bool kept = true;

    for (size_t i = 0; i < count; i++) {
        const struct measurement *row = &rows[i];
        uint64_t ticks = above(measure_in_guest(guest, row), base);
        kept &=
            print_row(row->name, ticks, row->linux_ticks, row->xen_ticks, enforce ? row->limit : 0);
    }
    return kept;
}

// With --limits the promised limits are shown, and the exit status is 1 where one is broken.
int main(int argc, char **argv) {
    bool first = getpid() == 1;
    bool enforce = argc > 1 && strcmp(argv[1], "--limits") == 0;
    struct tiny_guest guest;
    bool kept = true;

    if (first) {
        first_process_begin();
    }
    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_long_mode(&guest);
    add_touch_memory(&guest);

    printf("TSC ticks, medians of %d rounds, less the empty measurement.\n"
           "The peers' figures are Bochs's instruction counts.\n\n"
           "%-38s %8s %14s %14s\n",
           ROUNDS, "operation", "ticks", "Linux 6.1 KVM", "Xen 4.17");
    uint64_t base = measure_in_guest(&guest, &empty);
    kept &= measure_rows(&guest, guest_measurements,
                         sizeof(guest_measurements) / sizeof(guest_measurements[0]), base, enforce);
    add_kicks(&guest);
    kept &= measure_rows(&guest, kick_measurements,
                         sizeof(kick_measurements) / sizeof(kick_measurements[0]), base, enforce);
    base = host_ticks(do_nothing, guest.kvm_fd);
    print_row("null ioctl", above(host_ticks(null_ioctl, guest.kvm_fd), base), 713, 0, 0);
    print_row("null system call (getppid)", above(host_ticks(null_system_call, -1), base), 459, 0,
              0);
    printf("(empty measurement: %llu ticks)\n", (unsigned long long)base);
    tiny_destroy(&guest);
    if (first) {
        first_process_end();
    }
    return kept ? 0 : 1;
}
