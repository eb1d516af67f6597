// SPDX-License-Identifier: BSD-2-Clause
// exits: makes each exit of KVM_RUN happen and checks what it reports and that the guest's
// registers come through it bit for bit.
#include <pthread.h>
#include <signal.h>

#include "exits/exits.h"

#define NO_SUCH_MSR "0x12345"

LONG_MODE_CODE(halt, "hlt\n");

static void test_hlt(void) {
    struct kvm_regs regs = START_LONG(halt);

    finish(&regs);
}

LONG_MODE_CODE(breakpoint, "int3\n hlt\n");

static void test_shutdown(void) {
    struct kvm_sregs sregs;

    START_LONG(breakpoint);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &sregs) == 0);
    run_to(KVM_EXIT_SHUTDOWN);
    tiny_destroy(&guest);
}

static void ignore_signal(int signal) {
    (void)signal;
}

struct signals {
    pthread_t target;
    volatile int over;
};

// Again and again: the first may come before the guest is entered.
static void *send_signals(void *argument) {
    const struct signals *signals = argument;

    while (!signals->over) {
        usleep(20000);
        pthread_kill(signals->target, SIGUSR1);
    }
    return NULL;
}

LONG_MODE_CODE(spin, "1: jmp 1b\n");

static void test_signal(void) {
    struct sigaction action = {.sa_handler = ignore_signal};
    struct signals signals = {.target = pthread_self()};
    pthread_t other;
    struct kvm_regs regs = START_LONG(spin);

    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&other, NULL, send_signals, &signals);
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_RUN, 0), -1);
    CHECK_EQUAL(errno, EINTR);
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_INTR);
    signals.over = 1;
    pthread_join(other, NULL);
    regs.rip = GUEST_CODE;
    check_regs(&regs);
    tiny_destroy(&guest);
}

static void test_immediate_exit(void) {
    struct kvm_regs regs = START_LONG(halt);
    struct kvm_regs before = pattern();

    guest.run->immediate_exit = 1;
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_RUN, 0), -1);
    CHECK_EQUAL(errno, EINTR);
    check_regs(&before);
    guest.run->immediate_exit = 0;
    finish(&regs);
}

LONG_MODE_CODE(in_byte, "in %dx, %al\n hlt\n");

// An exit that waits for its completion is completed by the run that ends at once.
static void test_immediate_exit_completes(void) {
    struct kvm_regs regs = START_LONG(in_byte);

    if (run_to_io(KVM_EXIT_IO_IN, 1, PORT)) {
        *(uint8_t *)io_data() = 0x5c;
    }
    guest.run->immediate_exit = 1;
    CHECK_EQUAL(ioctl(guest.vcpu_fd, KVM_RUN, 0), -1);
    CHECK_EQUAL(errno, EINTR);
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_IO); // It leaves the exit's report alone.
    regs.rip = GUEST_CODE + 1;
    regs.rax = (regs.rax & ~0xffull) | 0x5c;
    check_regs(&regs);
    tiny_destroy(&guest);
}

REAL_MODE_CODE(open_window, "nop\n sti\n nop\n nop\n1: jmp 1b\n");
REAL_MODE_CODE(interrupt_handler, "mov $0x77, %bl\n hlt\n");

static void test_irq_window(void) {
    struct kvm_interrupt interrupt = {.irq = 0x20};
    const uint16_t vector[2] = {0x9000, 0};
    struct kvm_regs regs;

    START_REAL(open_window);
    memcpy(guest.memory + 4 * interrupt.irq, vector, sizeof(vector));
    memcpy(guest.memory + 0x9000, interrupt_handler,
           (size_t)(interrupt_handler_end - interrupt_handler));
    guest.run->request_interrupt_window = 1;
    if (run_to(KVM_EXIT_IRQ_WINDOW_OPEN)) {
        CHECK_EQUAL(guest.run->if_flag, 1);
        CHECK_EQUAL(guest.run->ready_for_interrupt_injection, 1);
    }
    guest.run->request_interrupt_window = 0;
    CHECK(ioctl(guest.vcpu_fd, KVM_INTERRUPT, &interrupt) == 0);
    if (run_to(KVM_EXIT_HLT)) {
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0);
        CHECK_EQUAL(regs.rbx & 0xff, 0x77);
        CHECK_EQUAL(regs.rsp, 0x7000 - 6); // FLAGS, CS and IP pushed
        CHECK_EQUAL(regs.rip, 0x9003);
    }
    tiny_destroy(&guest);
}

// CS.L with CS.D is a state no processor enters a guest in: SDM volume 3, 27.3.1.2; APM volume 2,
// 15.5.1.
static void test_fail_entry(void) {
    struct kvm_sregs sregs;

    START_LONG(halt);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    sregs.cs.db = 1;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &sregs) == 0);
    if (run_to(KVM_EXIT_FAIL_ENTRY)) {
        CHECK(guest.run->fail_entry.hardware_entry_failure_reason != 0);
    }
    tiny_destroy(&guest);
}

LONG_MODE_CODE(decimal_load, "fbld (%rbx)\n hlt\n");

static void test_internal_error(void) {
    struct kvm_regs before = pattern();

    START_LONG(decimal_load);
    if (run_to(KVM_EXIT_INTERNAL_ERROR)) {
        CHECK_EQUAL(guest.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
    }
    check_regs(&before);
    tiny_destroy(&guest);
}

LONG_MODE_CODE(identify, "xor %eax, %eax\n xor %ecx, %ecx\n cpuid\n mov %rax, %r8\n mov %rbx, %r9\n"
                         "mov %rcx, %r10\n mov %rdx, %r11\n mov $0x40000000, %eax\n cpuid\n hlt\n");

static void test_cpuid(void) {
    static struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[2];
    } cpuid = {.header = {.nent = 2},
               .entries = {{.eax = 0x00000001, .ebx = 0xb1b2b3b4, .ecx = 0xc1, .edx = 0xd1d2d3d4},
                           {.function = 0x40000000,
                            .eax = 0x40000001,
                            .ebx = 0xeb,
                            .ecx = 0xec1c2c3c,
                            .edx = 0xed}}};
    struct kvm_regs regs = START_LONG(identify);

    CHECK(ioctl(guest.vcpu_fd, KVM_SET_CPUID2, &cpuid) == 0);
    regs.r8 = cpuid.entries[0].eax;
    regs.r9 = cpuid.entries[0].ebx;
    regs.r10 = cpuid.entries[0].ecx;
    regs.r11 = cpuid.entries[0].edx;
    regs.rax = cpuid.entries[1].eax;
    regs.rbx = cpuid.entries[1].ebx;
    regs.rcx = cpuid.entries[1].ecx;
    regs.rdx = cpuid.entries[1].edx;
    regs.rflags = 0x46; // of XOR: ZF, PF
    finish(&regs);
}

LONG_MODE_CODE(call_unknown, "mov $0x7fffffff, %eax\n vmcall\n hlt\n");

static void test_unknown_hypercall(void) {
    struct kvm_regs regs = START_LONG(call_unknown);

    regs.rax = (uint64_t)-1000; // -KVM_ENOSYS
    finish(&regs);
}

REAL_MODE_CODE(read_unknown_msr, "mov $" NO_SUCH_MSR ", %ecx\n rdmsr\n hlt\n");

static void test_unknown_msr(void) {
    const uint16_t vector[2] = {0x9000, 0};
    struct kvm_regs regs;

    START_REAL(read_unknown_msr);
    memcpy(guest.memory + 4 * 13, vector, sizeof(vector));
    memcpy(guest.memory + 0x9000, interrupt_handler,
           (size_t)(interrupt_handler_end - interrupt_handler));
    if (run_to(KVM_EXIT_HLT)) {
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0);
        CHECK_EQUAL(regs.rip, 0x9003);
        CHECK_EQUAL(regs.rbx & 0xff, 0x77);
    }
    tiny_destroy(&guest);
}

LONG_MODE_CODE(keep_vectors,
               "mov $0x20000, %esi\n mov $0x20100, %edi\n"
               "movups (%rsi), %xmm0\n movups 16(%rsi), %xmm7\n movups 32(%rsi), %xmm15\n"
               "fldpi\n out %al, %dx\n cpuid\n mov %al, (%r8)\n"
               "movups %xmm0, (%rdi)\n movups %xmm7, 16(%rdi)\n movups %xmm15, 32(%rdi)\n"
               "fstpt 48(%rdi)\n hlt\n");

static void test_vectors(void) {
    // 64 bits of pi's mantissa and its exponent, as x87 keeps it.
    static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
    struct kvm_regs regs;

    START_LONG(keep_vectors);
    regs = pattern();
    regs.r8 = GUEST_MMIO;
    set_regs(&regs);
    for (int i = 0; i < 48; i++) {
        guest.memory[GUEST_DATA + i] = (uint8_t)(0x80 + i);
    }
    run_to(KVM_EXIT_IO);
    run_to(KVM_EXIT_MMIO);
    run_to(KVM_EXIT_HLT);
    CHECK(memcmp(guest.memory + GUEST_DATA, guest.memory + GUEST_DATA + 0x100, 48) == 0);
    CHECK(memcmp(guest.memory + GUEST_DATA + 0x130, pi, sizeof(pi)) == 0);
    tiny_destroy(&guest);
}

LONG_MODE_CODE(write_twice, "movl $1, 0x300000\n movl $2, 0x300000\n hlt\n");

// A write to a read-only slot is an MMIO exit, and a slot taken away is no memory any more.
static void test_memory_slots(void) {
    struct kvm_regs regs = START_LONG(write_twice);
    struct kvm_userspace_memory_region region = {.slot = 1,
                                                 .flags = KVM_MEM_READONLY,
                                                 .guest_phys_addr = 0x300000,
                                                 .memory_size = 0x1000,
                                                 .userspace_addr =
                                                     (uintptr_t)guest.memory + 0x100000};

    if (ioctl(guest.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0) {
        CHECK(ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    }
    if (run_to_mmio(true, 4, 0x300000)) {
        CHECK_EQUAL(guest.run->mmio.data[0], 1);
    }
    region.memory_size = 0;
    region.flags = 0;
    ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
    if (run_to_mmio(true, 4, 0x300000)) {
        CHECK_EQUAL(guest.run->mmio.data[0], 2);
    }
    CHECK_EQUAL(guest.memory[0x100000], 0);
    finish(&regs);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"IO out", test_io_out},
        {"IO in", test_io_in},
        {"IO string", test_io_string},
        {"MMIO write", test_mmio_write},
        {"MMIO read", test_mmio_read},
        {"MMIO read-modify-write", test_mmio_modify},
        {"MMIO compare", test_mmio_compare},
        {"MMIO string", test_mmio_string},
        {"HLT", test_hlt},
        {"SHUTDOWN", test_shutdown},
        {"INTR by a signal", test_signal},
        {"immediate_exit", test_immediate_exit},
        {"immediate_exit completes", test_immediate_exit_completes},
        {"IRQ_WINDOW_OPEN", test_irq_window},
        {"FAIL_ENTRY", test_fail_entry},
        {"INTERNAL_ERROR", test_internal_error},
        {"CPUID", test_cpuid},
        {"unknown hypercall", test_unknown_hypercall},
        {"unknown MSR", test_unknown_msr},
        {"vector registers", test_vectors},
        {"memory slots", test_memory_slots},
    };

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
