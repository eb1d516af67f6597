// SPDX-License-Identifier: BSD-2-Clause
// exits: makes each exit of KVM_RUN happen and checks what it reports and that the guest's
// registers come through it bit for bit.
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "tap.h"
#include "tiny_guest.h"

#define MEMORY_SIZE (2u << 20)
#define PORT        0x1234
#define NO_SUCH_MSR "0x12345"

static struct tiny_guest guest;

// Distinct in every byte, so that a register swapped or cut shows.
static struct kvm_regs pattern(void) {
    return (struct kvm_regs){
        .rax = 0xa0a1a2a3a4a5a6a7,
        .rbx = GUEST_MMIO,
        .rcx = 0xc0c1c2c3c4c5c6c7,
        .rdx = PORT,
        .rsi = 0x5051525354555657,
        .rdi = 0xd0d1d2d3d4d5d6d7,
        .rsp = GUEST_STACK,
        .rbp = 0xb0b1b2b3b4b5b6b7,
        .r8 = 0x0808080808080888,
        .r9 = 0x0909090909090999,
        .r10 = 0x1010101010101010,
        .r11 = 0x1111111111111111,
        .r12 = 0x1212121212121212,
        .r13 = 0x1313131313131313,
        .r14 = 0x1414141414141414,
        .r15 = 0x1515151515151515,
        .rip = GUEST_CODE,
        .rflags = 0x2,
    };
}

static void load_code(const uint8_t *code, const uint8_t *end) {
    memcpy(guest.memory + GUEST_CODE, code, (size_t)(end - code));
}

static void set_regs(const struct kvm_regs *regs) {
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, regs) == 0);
}

// A new machine in 64-bit mode at the block's first instruction with the pattern in its registers.
#define START_LONG(block) start_long(block, block##_end)

static struct kvm_regs start_long(const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = pattern();

    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_long_mode(&guest);
    load_code(code, end);
    set_regs(&regs);
    regs.rip += (uint64_t)(end - code); // where the block's last instruction, HLT, leaves it
    return regs;
}

// As start_long for real mode.
#define START_REAL(block) start_real(block, block##_end)

static struct kvm_regs start_real(const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = {.rip = 0x8000, .rsp = 0x7000, .rflags = 0x2};

    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_real_mode(&guest);
    memcpy(guest.memory + regs.rip, code, (size_t)(end - code));
    set_regs(&regs);
    regs.rip += (uint64_t)(end - code);
    return regs;
}

static bool run_to(uint32_t reason) {
    return CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == 0) &&
           CHECK_EQUAL(guest.run->exit_reason, reason);
}

static void check_regs(const struct kvm_regs *expected) {
    static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi",
                                        "rsp", "rbp", "r8",  "r9",  "r10", "r11",
                                        "r12", "r13", "r14", "r15", "rip", "rflags"};
    struct kvm_regs regs;
    uint64_t seen[18];
    uint64_t wanted[18];

    _Static_assert(sizeof(regs) == sizeof(seen), "struct kvm_regs");
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0);
    memcpy(seen, &regs, sizeof(seen));
    memcpy(wanted, expected, sizeof(wanted));
    for (int i = 0; i < 18; i++) {
        CHECK(seen[i] == wanted[i], "%s is %#llx, expected %#llx", names[i],
              (unsigned long long)seen[i], (unsigned long long)wanted[i]);
    }
}

static void finish(const struct kvm_regs *expected) {
    if (run_to(KVM_EXIT_HLT)) {
        check_regs(expected);
    }
    tiny_destroy(&guest);
}

static void *io_data(void) {
    return (uint8_t *)guest.run + guest.run->io.data_offset;
}

static bool run_to_io(uint8_t direction, uint8_t size, uint16_t port) {
    return run_to(KVM_EXIT_IO) && CHECK_EQUAL(guest.run->io.direction, direction) &&
           CHECK_EQUAL(guest.run->io.size, size) && CHECK_EQUAL(guest.run->io.port, port) &&
           CHECK_EQUAL(guest.run->io.count, 1);
}

LONG_MODE_CODE(out_all, "out %al, %dx\n out %ax, %dx\n out %eax, %dx\n"
                        "out %al, $0x42\n out %ax, $0x42\n out %eax, $0x42\n hlt\n");

static void test_io_out(void) {
    struct kvm_regs regs = START_LONG(out_all);

    for (int i = 0; i < 6; i++) {
        uint8_t size = (uint8_t)(1 << i % 3);
        if (run_to_io(KVM_EXIT_IO_OUT, size, i < 3 ? PORT : 0x42)) {
            CHECK(memcmp(io_data(), &regs.rax, size) == 0, "size %u", size);
        }
    }
    finish(&regs);
}

LONG_MODE_CODE(in_all, "in %dx, %al\n mov %rax, %r8\n in %dx, %ax\n mov %rax, %r9\n"
                       "in %dx, %eax\n mov %rax, %r10\n in $0x42, %al\n hlt\n");

static void test_io_in(void) {
    static const uint32_t value = 0xf4e3d2c1;
    struct kvm_regs regs = START_LONG(in_all);

    for (int i = 0; i < 4; i++) {
        uint8_t size = (uint8_t)(1 << i % 3);
        if (run_to_io(KVM_EXIT_IO_IN, size, i < 3 ? PORT : 0x42)) {
            memcpy(io_data(), &value, size);
        }
    }
    regs.r8 = (regs.rax & ~0xffull) | 0xc1; // AL and AX leave the rest alone,
    regs.r9 = (regs.r8 & ~0xffffull) | 0xd2c1;
    regs.r10 = value; // EAX clears the upper half.
    regs.rax = value;
    finish(&regs);
}

// Serves string instructions until the guest halts: output is gathered, input is counted up.
static size_t serve_strings(uint8_t *output, size_t size) {
    size_t gathered = 0;
    uint8_t next = 0;

    while (ioctl(guest.vcpu_fd, KVM_RUN, 0) == 0 && guest.run->exit_reason == KVM_EXIT_IO) {
        uint8_t *data = io_data();
        size_t length = (size_t)guest.run->io.size * guest.run->io.count;
        for (size_t i = 0; i < length; i++) {
            if (guest.run->io.direction == KVM_EXIT_IO_IN) {
                data[i] = next++;
            } else if (gathered < size) {
                output[gathered++] = data[i];
            }
        }
    }
    CHECK_EQUAL(guest.run->exit_reason, KVM_EXIT_HLT);
    return gathered;
}

static struct kvm_regs start_string(struct kvm_regs regs, uint64_t count) {
    regs.rip = GUEST_CODE;
    regs.rsi = GUEST_DATA;
    regs.rdi = GUEST_DATA + 0x8000;
    regs.rcx = count;
    set_regs(&regs);
    return regs;
}

#define STRING_BYTES 256

static void test_string_out(const uint8_t *code, const uint8_t *end, unsigned size) {
    uint8_t output[2 * STRING_BYTES];
    struct kvm_regs regs = start_string(start_long(code, end), STRING_BYTES / size);

    for (unsigned i = 0; i < STRING_BYTES; i++) {
        guest.memory[GUEST_DATA + i] = (uint8_t)(i * 7);
    }
    CHECK_EQUAL(serve_strings(output, sizeof(output)), STRING_BYTES);
    CHECK(memcmp(output, guest.memory + GUEST_DATA, STRING_BYTES) == 0);
    regs.rip += (uint64_t)(end - code);
    regs.rsi += STRING_BYTES;
    regs.rcx = 0;
    check_regs(&regs);
    tiny_destroy(&guest);
}

static void test_string_in(const uint8_t *code, const uint8_t *end, unsigned size) {
    struct kvm_regs regs = start_string(start_long(code, end), STRING_BYTES / size);

    serve_strings(NULL, 0);
    for (unsigned i = 0; i < STRING_BYTES; i++) {
        if (!CHECK_EQUAL(guest.memory[regs.rdi + i], (uint8_t)i)) {
            break;
        }
    }
    regs.rip += (uint64_t)(end - code);
    regs.rdi += STRING_BYTES;
    regs.rcx = 0;
    check_regs(&regs);
    tiny_destroy(&guest);
}

LONG_MODE_CODE(rep_outsb, "rep outsb\n hlt\n");
LONG_MODE_CODE(rep_outsw, "rep outsw\n hlt\n");
LONG_MODE_CODE(rep_outsl, "rep outsl\n hlt\n");
LONG_MODE_CODE(rep_insb, "rep insb\n hlt\n");
LONG_MODE_CODE(rep_insw, "rep insw\n hlt\n");
LONG_MODE_CODE(rep_insl, "rep insl\n hlt\n");

static void test_io_string(void) {
    test_string_out(rep_outsb, rep_outsb_end, 1);
    test_string_out(rep_outsw, rep_outsw_end, 2);
    test_string_out(rep_outsl, rep_outsl_end, 4);
    test_string_in(rep_insb, rep_insb_end, 1);
    test_string_in(rep_insw, rep_insw_end, 2);
    test_string_in(rep_insl, rep_insl_end, 4);
}

static bool run_to_mmio(bool write, uint32_t length, uint64_t address) {
    return run_to(KVM_EXIT_MMIO) && CHECK_EQUAL(guest.run->mmio.is_write, write) &&
           CHECK_EQUAL(guest.run->mmio.len, length) &&
           CHECK_EQUAL(guest.run->mmio.phys_addr, address);
}

LONG_MODE_CODE(store_all, "mov %al, (%rbx)\n mov %ax, 2(%rbx)\n mov %eax, 4(%rbx)\n"
                          "mov %rax, 8(%rbx)\n movl $0x12345678, 16(%rbx)\n"
                          "movq $-2, 24(%rbx)\n mov %r9b, (%rbx)\n hlt\n");

static void test_mmio_write(void) {
    struct kvm_regs regs = START_LONG(store_all);
    const struct {
        uint64_t offset, value;
        uint32_t length;
    } stores[] = {{0, regs.rax, 1},    {2, regs.rax, 2},   {4, regs.rax, 4}, {8, regs.rax, 8},
                  {16, 0x12345678, 4}, {24, ~0ull - 1, 8}, {0, regs.r9, 1}};

    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        if (run_to_mmio(true, stores[i].length, GUEST_MMIO + stores[i].offset)) {
            CHECK(memcmp(guest.run->mmio.data, &stores[i].value, stores[i].length) == 0,
                  "store %zu", i);
        }
    }
    finish(&regs);
}

LONG_MODE_CODE(load_all, "mov (%rbx), %al\n mov %rax, %r8\n mov (%rbx), %ax\n mov %rax, %r9\n"
                         "mov (%rbx), %r10d\n mov (%rbx), %r11\n movzbl (%rbx), %r12d\n"
                         "movsbq (%rbx), %r13\n movzwl (%rbx), %r14d\n movslq (%rbx), %r15\n"
                         "movswq (%rbx), %rsi\n hlt\n");

static void test_mmio_read(void) {
    static const uint64_t value = 0x8897a6b5c4d3e2f1;
    static const uint32_t lengths[] = {1, 2, 4, 8, 1, 1, 2, 4, 2};
    struct kvm_regs regs = START_LONG(load_all);

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        if (run_to_mmio(false, lengths[i], GUEST_MMIO)) {
            memcpy(guest.run->mmio.data, &value, lengths[i]);
        }
    }
    regs.r8 = (regs.rax & ~0xffull) | 0xf1;
    regs.r9 = (regs.rax & ~0xffffull) | 0xe2f1;
    regs.rax = regs.r9;
    regs.r10 = 0xc4d3e2f1;
    regs.r11 = value;
    regs.r12 = 0xf1;
    regs.r13 = 0xfffffffffffffff1;
    regs.r14 = 0xe2f1;
    regs.r15 = 0xffffffffc4d3e2f1;
    regs.rsi = 0xffffffffffffe2f1;
    finish(&regs);
}

LONG_MODE_CODE(modify, "orl $0x0f, (%rbx)\n andb %al, 1(%rbx)\n xchg %ecx, 4(%rbx)\n hlt\n");

static void test_mmio_modify(void) {
    struct kvm_regs regs = START_LONG(modify);
    uint32_t value;

    if (run_to_mmio(false, 4, GUEST_MMIO)) {
        memcpy(guest.run->mmio.data, &(uint32_t){0x80000060}, 4);
    }
    if (run_to_mmio(true, 4, GUEST_MMIO)) {
        memcpy(&value, guest.run->mmio.data, 4);
        CHECK_EQUAL(value, 0x8000006f);
    }
    if (run_to_mmio(false, 1, GUEST_MMIO + 1)) {
        guest.run->mmio.data[0] = 0xf5;
    }
    if (run_to_mmio(true, 1, GUEST_MMIO + 1)) {
        CHECK_EQUAL(guest.run->mmio.data[0], 0xf5 & 0xa7);
    }
    if (run_to_mmio(false, 4, GUEST_MMIO + 4)) {
        memcpy(guest.run->mmio.data, &(uint32_t){0xdeadbeef}, 4);
    }
    if (run_to_mmio(true, 4, GUEST_MMIO + 4)) {
        memcpy(&value, guest.run->mmio.data, 4);
        CHECK_EQUAL(value, (uint32_t)regs.rcx);
        // But for the write the instruction is complete: user space need not come back for it.
        struct kvm_regs now;
        CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &now) == 0);
        CHECK_EQUAL(now.rcx, 0xdeadbeef);
        CHECK_EQUAL(guest.memory[now.rip], 0xf4); // HLT
    }
    regs.rcx = 0xdeadbeef;
    regs.rflags = 0x86; // AND left SF and PF: 0xa5 has four bits set.
    finish(&regs);
}

LONG_MODE_CODE(compare, "cmpl $0x55, (%rbx)\n sete %cl\n testb $0x80, (%rbx)\n setnz %ch\n hlt\n");

static void test_mmio_compare(void) {
    struct kvm_regs regs = START_LONG(compare);

    if (run_to_mmio(false, 4, GUEST_MMIO)) {
        memcpy(guest.run->mmio.data, &(uint32_t){0x55}, 4);
    }
    if (run_to_mmio(false, 1, GUEST_MMIO)) {
        guest.run->mmio.data[0] = 0x80;
    }
    regs.rcx = (regs.rcx & ~0xffffull) | 0x0101;
    regs.rflags = 0x82; // TEST of 80h with 80h: SF, an odd number of bits.
    finish(&regs);
}

LONG_MODE_CODE(copy, "mov $2, %ecx\n mov %rbx, %rsi\n mov $0x20000, %edi\n rep movsl\n"
                     "mov $2, %ecx\n mov %rbx, %rdi\n rep stosb\n hlt\n");

static void test_mmio_string(void) {
    struct kvm_regs regs = START_LONG(copy);
    uint32_t copied[2];

    for (uint32_t i = 0; i < 2; i++) {
        if (run_to_mmio(false, 4, GUEST_MMIO + 4 * i)) {
            memcpy(guest.run->mmio.data, &(uint32_t){0xabcd0000 + i}, 4);
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (run_to_mmio(true, 1, GUEST_MMIO + i)) {
            CHECK_EQUAL(guest.run->mmio.data[0], regs.rax & 0xff);
        }
    }
    memcpy(copied, guest.memory + GUEST_DATA, sizeof(copied));
    CHECK_EQUAL(copied[0], 0xabcd0000);
    CHECK_EQUAL(copied[1], 0xabcd0001);
    regs.rcx = 0;
    regs.rsi = GUEST_MMIO + 8;
    regs.rdi = GUEST_MMIO + 2;
    finish(&regs);
}

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

// An exit that waits for its completion is completed by the run that ends at once.
static void test_immediate_exit_completes(void) {
    struct kvm_regs regs = START_LONG(in_all);

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
