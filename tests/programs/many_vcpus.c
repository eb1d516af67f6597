// SPDX-License-Identifier: BSD-2-Clause
// VMs of several vCPUs: a storm of IPIs to APIC ids of more than eight bits, and a spinlock whose
// holder may be preempted while others spin for it.
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include "tests/programs/tap.h"
#include "tests/programs/tiny_guest.h"

#define START_PAGE 0x30u   // of the SIPI: guest address 0x30000
#define COUNTERS   0x40000 // one word for each target
#define STORM      1000u
#define TARGETS    3u

static const unsigned ids[TARGETS] = {255, 256, 1000};

// x2APIC mode; then for each target INIT, SIPI, and STORM times an IPI whose handler's count is
// awaited. edi: target's index; its id stands at 0x41000.
LONG_MODE_CODE(sender,
               "mov $0x1b, %ecx\n rdmsr\n or $0x400, %eax\n wrmsr\n"
               "xor %edi, %edi\n"
               "next: mov 0x41000(,%rdi,4), %edx\n"
               "mov $0x830, %ecx\n"
               "mov $0x4500, %eax\n wrmsr\n" // INIT, assert
               "mov $0x4630, %eax\n wrmsr\n" // SIPI to START_PAGE
               "started: pause\n cmpl $0, 0x40000(,%rdi,4)\n je started\n"
               "mov $1, %ebx\n"
               "again: mov $0x4040, %eax\n wrmsr\n" // fixed, vector 40H
               "inc %ebx\n"
               "taken: pause\n cmp %ebx, 0x40000(,%rdi,4)\n jne taken\n"
               "cmp $1001, %ebx\n jne again\n"
               "inc %edi\n cmp $3, %edi\n jne next\n"
               "mov $0x80, %dx\n out %al, %dx\n");

// What SIPI starts, at 3000:0000. Its counter's place is found by its x2APIC id.
REAL_MODE_CODE(target,
               "xor %ax, %ax\n mov %ax, %ss\n mov $0x7000, %sp\n"
               "mov $0x1b, %ecx\n rdmsr\n or $0x400, %eax\n wrmsr\n"
               "mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, %edx\n wrmsr\n" // enabled
               "mov $0x802, %ecx\n rdmsr\n"
               "mov $0x4100, %bx\n mov %bx, %ds\n"
               "xor %esi, %esi\n"
               "find: cmp %eax, (%esi)\n je found\n add $4, %esi\n jmp find\n"
               "found: mov $0x4000, %bx\n mov %bx, %ds\n"
               "incl (%esi)\n"
               "sti\n"
               "wait: hlt\n jmp wait\n");

// Vector 40H, at 3000:0800.
REAL_MODE_CODE(handler, "incl (%esi)\n mov $0x80b, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n"
                        "iret\n");

static struct tiny_guest guest;
static struct kvm_run *runs[TARGETS];
static int vcpus[TARGETS];

static void *run_target(void *argument) {
    // A signal at the end; SIPI's EAGAIN; nothing else comes out.
    while (ioctl(*(int *)argument, KVM_RUN, 0) < 0 && errno == EAGAIN) {
    }
    return NULL;
}

static void ignore(int signal) {
    (void)signal;
}

static void copy(const struct tiny_guest *to, uint64_t address, const uint8_t *code,
                 const uint8_t *end) {
    memcpy(to->memory + address, code, (size_t)(end - code));
}

static void create_targets(void) {
    static struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[256];
    } cpuid = {.header.nent = 256};

    tiny_check(ioctl(guest.kvm_fd, KVM_GET_SUPPORTED_CPUID, &cpuid) == 0, "supported CPUID");
    for (unsigned i = 0; i < TARGETS; i++) {
        vcpus[i] = ioctl(guest.vm_fd, KVM_CREATE_VCPU, ids[i]);
        tiny_check(vcpus[i] >= 0, "KVM_CREATE_VCPU");
        runs[i] = mmap(NULL, guest.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpus[i], 0);
        tiny_check(runs[i] != MAP_FAILED, "kvm_run");
        tiny_check(ioctl(vcpus[i], KVM_SET_CPUID2, &cpuid) == 0, "KVM_SET_CPUID2");
        memcpy(guest.memory + COUNTERS + 0x1000 + 4 * i, &ids[i], sizeof(ids[i]));
    }
}

static void storm(void) {
    struct kvm_enable_cap wide = {
        .cap = KVM_CAP_X2APIC_API,
        .args = {KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK}};
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};
    const uint16_t vector[2] = {0x800, START_PAGE << 8};
    struct sigaction action = {.sa_handler = ignore};
    pthread_t threads[TARGETS];

    tiny_create_vm(&guest, 1 << 20);
    CHECK(ioctl(guest.vm_fd, KVM_ENABLE_CAP, &wide) == 0, "");
    tiny_check(ioctl(guest.vm_fd, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
    tiny_create_vcpu(&guest);
    create_targets();
    tiny_enter_long_mode(&guest);
    copy(&guest, GUEST_CODE, sender, sender_end);
    copy(&guest, START_PAGE << 12, target, target_end);
    copy(&guest, (START_PAGE << 12) + 0x800, handler, handler_end);
    memcpy(guest.memory + 0x40 * sizeof(vector), vector, sizeof(vector));
    tiny_check(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    sigaction(SIGUSR1, &action, NULL);
    for (unsigned i = 0; i < TARGETS; i++) {
        pthread_create(&threads[i], NULL, run_target, &vcpus[i]);
    }
    CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == 0, "");
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_IO);
    for (unsigned i = 0; i < TARGETS; i++) {
        CHECK_EQUAL(*(uint32_t *)(guest.memory + COUNTERS + 4 * i), STORM + 1);
        runs[i]->immediate_exit = 1;
        pthread_kill(threads[i], SIGUSR1);
        pthread_join(threads[i], NULL);
    }
}

// --- a lock ---

#define SPINNERS 4u // on two CPUs

// For ever: takes a ticket at 0x20000, waits for its turn at 0x20040, counts at 0x20080, works.
LONG_MODE_CODE(spinner, "ticket: mov $1, %eax\n lock xadd %eax, 0x20000\n"
                        "turn: cmp %eax, 0x20040\n je held\n pause\n jmp turn\n"
                        "held: incq 0x20080\n mov $100, %ecx\n work: dec %ecx\n jnz work\n"
                        "incl 0x20040\n jmp ticket\n");

struct row {
    struct kvm_stats_desc fixed;
    char name[48];
};

static uint64_t statistic(int vcpu_fd, const char *name) {
    struct kvm_stats_header header = {0};
    uint64_t value = 0;
    int found = 0;
    int fd = ioctl(vcpu_fd, KVM_GET_STATS_FD, NULL);

    CHECK(fd >= 0 && pread(fd, &header, sizeof(header), 0) == sizeof(header), "");
    for (uint32_t i = 0; i < header.num_desc && !found; i++) {
        struct row row = {0};
        ssize_t size = (ssize_t)(sizeof(row.fixed) + header.name_size);

        CHECK(pread(fd, &row, (size_t)size, header.desc_offset + i * size) == size, "");
        found = strcmp(row.name, name) == 0 &&
                pread(fd, &value, 8, header.data_offset + row.fixed.offset) == 8;
    }
    CHECK(found, "(%s)", name);
    close(fd);
    return value;
}

static void *run_spinner(void *argument) {
    CHECK(ioctl(*(int *)argument, KVM_RUN, 0) < 0 && errno == EINTR, "");
    return NULL;
}

// How often the lock changed hands in a second; *yields: times a spinner gave its CPU to another.
static uint64_t run_spinners(int pause_exits, uint64_t *yields) {
    struct kvm_enable_cap without = {.cap = KVM_CAP_X86_DISABLE_EXITS,
                                     .args = {KVM_X86_DISABLE_EXITS_PAUSE}};
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};
    struct tiny_guest spinners[SPINNERS];
    pthread_t threads[SPINNERS];

    tiny_create_vm(&spinners[0], 1 << 20);
    CHECK(pause_exits || ioctl(spinners[0].vm_fd, KVM_ENABLE_CAP, &without) == 0, "");
    copy(&spinners[0], GUEST_CODE, spinner, spinner_end);
    for (unsigned i = 0; i < SPINNERS; i++) {
        spinners[i] = spinners[0];
        tiny_create_vcpu_with_id(&spinners[i], i);
        tiny_enter_long_mode(&spinners[i]);
        tiny_check(ioctl(spinners[i].vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
    }
    for (unsigned i = 0; i < SPINNERS; i++) {
        pthread_create(&threads[i], NULL, run_spinner, &spinners[i].vcpu_fd);
    }
    sleep(1);
    uint64_t count = *(volatile uint64_t *)(spinners[0].memory + 0x20080);
    *yields = 0;
    for (unsigned i = 0; i < SPINNERS; i++) {
        spinners[i].run->immediate_exit = 1;
        pthread_kill(threads[i], SIGUSR1);
        pthread_join(threads[i], NULL);
        *yields += statistic(spinners[i].vcpu_fd, "directed_yield_successful");
        munmap(spinners[i].run, spinners[i].run_size);
        close(spinners[i].vcpu_fd);
    }
    munmap(spinners[0].memory, spinners[0].memory_size);
    close(spinners[0].vm_fd);
    close(spinners[0].kvm_fd);
    return count;
}

// QEMU's AMD-V has no PAUSE filter, without which no PAUSE exits.
static int pause_loops_exit(void) {
    unsigned eax, ebx, ecx, edx;

    __cpuid(0, eax, ebx, ecx, edx);
    if (ebx == signature_INTEL_ebx) {
        return 1;
    }
    return __get_cpuid(0x8000000a, &eax, &ebx, &ecx, &edx) && (edx >> 10 & 1);
}

static void lock_holder(void) {
    uint64_t yields, none;
    uint64_t with = run_spinners(1, &yields), without = run_spinners(0, &none);

    CHECK_EQUAL(none, 0);
    printf("# %lu turns and %lu yields, %lu turns without PAUSE exits\n", with, yields, without);
    if (pause_loops_exit()) {
        CHECK(yields > 0 && with > 2 * without, "");
    }
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {{"a storm of IPIs to wide APIC ids", storm},
                                            {"a lock whose holder is preempted", lock_holder}};

    return tap_run(tests, 2, argc > 1 ? argv[1] : NULL);
}
