// SPDX-License-Identifier: BSD-2-Clause
// modes: a guest's way through the processor's modes, PAE paging, debug registers and single steps,
// its own and a debugger's, and the faults of register values that may not be.
#include "tap.h"
#include "tiny_guest.h"

#define MEMORY_SIZE    (2u << 20)
#define GDT            0x7000ull
#define IDT            0x7800ull
#define IDT_VECTORS    32u
#define REAL_CODE      0x8000ull
#define REAL_LONG_CODE 0x8100ull
#define HANDLERS       0xa000ull
#define PAE_TABLES     0xb000ull // PDPT, two page directories
#define MAGIC          0x5ca1ab1eu

#define CR0_CD    (1ull << 30)
#define DR6_FIXED 0xffff0ff0ull
#define VECTOR_DB 1
#define VECTOR_BP 3
#define VECTOR_GP 13

static struct tiny_guest guest;

static void set_gdt(struct kvm_sregs *sregs) {
    static const uint64_t entries[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};

    memcpy(guest.memory + GDT, entries, sizeof(entries));
    sregs->gdt.base = GDT;
    sregs->gdt.limit = sizeof(entries) - 1;
}

static void set_gate(unsigned vector, uint64_t handler) {
    uint64_t *gate = (uint64_t *)(guest.memory + IDT) + (size_t)vector * 2;

    gate[0] = (handler & 0xffff) | 8ull << 16 | 0x8eull << 40 | (handler >> 16 & 0xffff) << 48;
    gate[1] = handler >> 32;
}

LONG_MODE_CODE(count_debug, "inc %r15\n mov %dr6, %r14\n iretq\n");
LONG_MODE_CODE(count_fault, "inc %r15\n add $8, %rsp\n addq $3, (%rsp)\n iretq\n");

static void load(uint64_t address, const uint8_t *code, const uint8_t *end) {
    memcpy(guest.memory + address, code, (size_t)(end - code));
}

static void start(const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};
    struct kvm_sregs sregs;

    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_long_mode(&guest);
    load(GUEST_CODE, code, end);
    load(HANDLERS, count_debug, count_debug_end);
    load(HANDLERS + 0x100, count_fault, count_fault_end);
    set_gate(VECTOR_DB, HANDLERS);
    set_gate(VECTOR_GP, HANDLERS + 0x100);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    set_gdt(&sregs);
    sregs.idt.base = IDT;
    sregs.idt.limit = IDT_VECTORS * 16 - 1;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0);
}

static struct kvm_regs get_regs(void) {
    struct kvm_regs regs = {0};

    CHECK(ioctl(guest.vcpu_fd, KVM_GET_REGS, &regs) == 0);
    return regs;
}

static void run_to(uint32_t reason) {
    CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == 0);
    CHECK_EQUAL(guest.run->exit_reason, reason);
}

static struct kvm_regs run_to_halt(void) {
    struct kvm_regs regs;

    run_to(KVM_EXIT_HLT);
    regs = get_regs();
    return regs;
}

// -- modes --

REAL_MODE_CODE(to_long_mode, "lgdtl 0x7f00\n mov $0x20, %eax\n mov %eax, %cr4\n"
                             "mov $0x1000, %eax\n mov %eax, %cr3\n"
                             "mov $0xc0000080, %ecx\n rdmsr\n or $0x100, %eax\n wrmsr\n"
                             "mov %cr0, %eax\n mov %eax, %ebx\n or $0x80000001, %eax\n"
                             "and $0x9fffffff, %eax\n mov %eax, %cr0\n ljmpl $8, $0x8100\n");
LONG_MODE_CODE(in_long_mode, "mov $0x123456789abcdef0, %r8\n mov %cr0, %r9\n"
                             "mov $0xc0000080, %ecx\n rdmsr\n mov %rax, %r10\n hlt\n");

static void test_real_to_long_mode(void) {
    struct kvm_regs regs = {.rip = REAL_CODE, .rsp = REAL_CODE, .rflags = 2};
    struct kvm_sregs sregs;
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {23, GDT};

    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_long_mode(&guest); // for its page tables
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    set_gdt(&sregs);
    memcpy(guest.memory + 0x7f00, &pointer, sizeof(pointer));
    load(REAL_CODE, to_long_mode, to_long_mode_end);
    load(REAL_LONG_CODE, in_long_mode, in_long_mode_end);
    memset(&sregs.gdt, 0, sizeof(sregs.gdt));
    sregs.cr0 = 0x60000010; // as after reset
    sregs.cr4 = sregs.cr3 = sregs.efer = 0;
    tiny_set_segments(&sregs, 0);
    struct kvm_segment real = {.limit = 0xffff, .type = 3, .present = 1, .s = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = real;
    real.type = 11;
    sregs.cs = real;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0);
    regs = run_to_halt();
    CHECK_EQUAL(regs.rbx, 0x60000010);
    CHECK_EQUAL(regs.r8, 0x123456789abcdef0);
    CHECK_EQUAL(regs.r9, 0x80000011);
    CHECK_EQUAL(regs.r10, 0x500);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    CHECK_EQUAL(sregs.efer, 0x500);
    CHECK_EQUAL(sregs.cr4, 0x20);
    CHECK(sregs.cs.l && !sregs.cs.db);
    tiny_destroy(&guest);
}

// Reads through the second directory pointer before and after each change of CR0 that the processor
// does not make alone: caching off; paging off; paging and caching on at once.
GUEST_CODE_BLOCK(use_pae, ".code32",
                 "mov 0x40020000, %esi\n"
                 "mov %cr0, %eax\n or $0x40000000, %eax\n mov %eax, %cr0\n mov %cr0, %edi\n"
                 "mov %cr3, %eax\n mov %eax, %cr3\n mov 0x40020000, %ebx\n"
                 "mov %cr0, %eax\n and $0x7fffffff, %eax\n mov %eax, %cr0\n"
                 "mov %cr0, %eax\n or $0x80000000, %eax\n and $0xbfffffff, %eax\n mov %eax, %cr0\n"
                 "mov 0x40020000, %ecx\n mov %cr0, %edx\n hlt\n");

static void test_pae_paging(void) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};
    struct kvm_sregs sregs;

    tiny_create(&guest, MEMORY_SIZE);
    uint64_t *tables = (uint64_t *)(guest.memory + PAE_TABLES);
    tables[0] = (PAE_TABLES + 0x1000) | 1;
    tables[1] = (PAE_TABLES + 0x2000) | 1;
    tables[512] = tables[1024] = 0x83; // 2 MiB at 0, from both
    *(uint32_t *)(guest.memory + GUEST_DATA) = MAGIC;
    load(GUEST_CODE, use_pae, use_pae_end);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_SREGS, &sregs) == 0);
    tiny_set_segments(&sregs, 0);
    sregs.cr0 = 0x80000011;
    sregs.cr3 = PAE_TABLES;
    sregs.cr4 = 0x20;
    sregs.efer = 0;
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0);
    regs = run_to_halt();
    CHECK_EQUAL(regs.rsi, MAGIC);
    CHECK_EQUAL(regs.rdi, 0x80000011 | CR0_CD);
    CHECK_EQUAL(regs.rbx, MAGIC);
    CHECK_EQUAL(regs.rcx, MAGIC);
    CHECK_EQUAL(regs.rdx, 0x80000011);
    tiny_destroy(&guest);
}

// -- a debugger outside --

LONG_MODE_CODE(to_be_stepped, "nop\n xor %eax, %eax\n cpuid\n nop\n nop\n hlt\n");
static const uint8_t step_lengths[] = {1, 2, 2, 1, 1};

static void set_debug(struct kvm_guest_debug *debug) {
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_GUEST_DEBUG, debug) == 0);
}

static void test_single_step(void) {
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
    uint64_t rip = GUEST_CODE;

    start(to_be_stepped, to_be_stepped_end);
    set_debug(&debug);
    for (unsigned i = 0; i < sizeof(step_lengths); i++) {
        run_to(KVM_EXIT_DEBUG);
        rip += step_lengths[i];
        CHECK_EQUAL(guest.run->debug.arch.exception, VECTOR_DB);
        CHECK_EQUAL(guest.run->debug.arch.pc, rip);
        CHECK(guest.run->debug.arch.dr6 & 1 << 14);
        struct kvm_regs regs = get_regs();
        CHECK_EQUAL(regs.rip, rip);
        CHECK_EQUAL(regs.rflags & 1 << 8, 0); // TF is the debugger's
    }
    debug.control = 0;
    set_debug(&debug);
    run_to_halt();
    tiny_destroy(&guest);
}

// Instructions that are run for the processor, the last with three repetitions: what each asks user
// space for, and how far RIP is when it is done.
LONG_MODE_CODE(step_over_exits, "mov %al, (%rdi)\n mov (%rdi), %rbx\n rep outsb\n hlt\n");

static const struct {
    uint32_t reason;
    unsigned length;
} exiting_steps[] = {{KVM_EXIT_MMIO, 2}, {KVM_EXIT_MMIO, 3}, {KVM_EXIT_IO, 0},
                     {KVM_EXIT_IO, 0},   {KVM_EXIT_IO, 2},   {KVM_EXIT_HLT, 1}};

static void start_exiting(uint64_t rflags) {
    struct kvm_regs regs = {.rip = GUEST_CODE,
                            .rsp = GUEST_STACK,
                            .rflags = rflags,
                            .rdi = GUEST_MMIO,
                            .rsi = GUEST_DATA,
                            .rcx = 3,
                            .rdx = 0x80};

    start(step_over_exits, step_over_exits_end);
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, &regs) == 0);
}

static void test_single_step_over_exits(void) {
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
    uint64_t rip = GUEST_CODE;

    start_exiting(2);
    set_debug(&debug);
    for (unsigned i = 0; i < sizeof(exiting_steps) / sizeof(exiting_steps[0]); i++) {
        rip += exiting_steps[i].length;
        run_to(exiting_steps[i].reason);
        run_to(KVM_EXIT_DEBUG);
        CHECK_EQUAL(guest.run->debug.arch.pc, rip);
        CHECK_EQUAL(guest.run->debug.arch.dr6, DR6_FIXED | 1 << 14);
    }
    tiny_destroy(&guest);

    // A debugger that has gone meanwhile leaves no trap behind.
    start_exiting(2);
    set_debug(&debug);
    run_to(KVM_EXIT_MMIO);
    debug.control = 0;
    set_debug(&debug);
    run_to(KVM_EXIT_MMIO);
    run_to(KVM_EXIT_IO);
    CHECK_EQUAL(run_to_halt().r15, 0);
    tiny_destroy(&guest);
}

static void test_hardware_breakpoint(void) {
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP};

    start(to_be_stepped, to_be_stepped_end);
    debug.arch.debugreg[1] = GUEST_CODE + 5; // the NOP after CPUID
    debug.arch.debugreg[7] = 0x400 | 1 << 2;
    set_debug(&debug);
    run_to(KVM_EXIT_DEBUG);
    CHECK_EQUAL(guest.run->debug.arch.exception, VECTOR_DB);
    CHECK_EQUAL(guest.run->debug.arch.pc, GUEST_CODE + 5);
    CHECK_EQUAL(guest.run->debug.arch.dr6 & 15, 2);
    debug.control = 0;
    set_debug(&debug);
    run_to_halt();
    tiny_destroy(&guest);
}

LONG_MODE_CODE(breakpoint, "nop\n int3\n nop\n hlt\n");

static void test_software_breakpoint(void) {
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP};

    start(breakpoint, breakpoint_end);
    set_debug(&debug);
    run_to(KVM_EXIT_DEBUG);
    CHECK_EQUAL(guest.run->debug.arch.exception, VECTOR_BP);
    CHECK_EQUAL(guest.run->debug.arch.pc, GUEST_CODE + 1);
    CHECK_EQUAL(get_regs().rip, GUEST_CODE + 1);
    tiny_destroy(&guest);
}

// -- the guest's own --

// Traps follow CPUID, NOP, PUSHF, AND and the POPF that ends it.
LONG_MODE_CODE(step_oneself, "pushfq\n orl $0x100, (%rsp)\n popfq\n cpuid\n nop\n"
                             "pushfq\n andl $0xfffffeff, (%rsp)\n popfq\n hlt\n");

static void test_own_single_step(void) {
    struct kvm_regs regs;

    start(step_oneself, step_oneself_end);
    regs = run_to_halt();
    CHECK_EQUAL(regs.r15, 5);
    CHECK_EQUAL(regs.r14, DR6_FIXED | 1 << 14);
    tiny_destroy(&guest);
}

static void test_own_single_step_over_exits(void) {
    start_exiting(0x102);
    for (unsigned i = 0; i < 5; i++)
        run_to(exiting_steps[i].reason);
    struct kvm_regs regs = run_to_halt();
    CHECK_EQUAL(regs.r15, 5);
    CHECK_EQUAL(regs.r14, DR6_FIXED | 1 << 14);
    tiny_destroy(&guest);
}

// Writes of 4 bytes at the data page; DR6 is cleared between, DR3 and DR7 read back.
LONG_MODE_CODE(watch_data, "mov $0x20000, %edi\n mov %rdi, %dr3\n"
                           "mov $0xd0000440, %eax\n mov %rax, %dr7\n"
                           "movl $1, (%rdi)\n movl $1, 8(%rdi)\n mov (%rdi), %ebx\n"
                           "mov %r14, %r13\n mov $0xffff0ff0, %eax\n mov %rax, %dr6\n"
                           "movb $2, 3(%rdi)\n mov %dr3, %rsi\n mov %dr7, %r12\n hlt\n");

static void test_own_watchpoint(void) {
    struct kvm_debugregs debug;
    struct kvm_regs regs;

    start(watch_data, watch_data_end);
    regs = run_to_halt();
    CHECK_EQUAL(regs.r15, 2);
    CHECK_EQUAL(regs.r13, DR6_FIXED | 8);
    CHECK_EQUAL(regs.rsi, GUEST_DATA);
    CHECK_EQUAL(regs.r12, 0xd0000440);
    CHECK(ioctl(guest.vcpu_fd, KVM_GET_DEBUGREGS, &debug) == 0);
    CHECK_EQUAL(debug.db[3], GUEST_DATA);
    CHECK_EQUAL(debug.dr6, DR6_FIXED | 8);
    CHECK_EQUAL(debug.dr7, 0xd0000440);
    tiny_destroy(&guest);
}

// Six instructions of three bytes, each with a value its register may not hold.
LONG_MODE_CODE(write_nonsense,
               "mov $1, %eax\n shl $40, %rax\n mov %rax, %cr4\n" // reserved
               "mov $0x11, %eax\n mov %rax, %cr0\n"              // no paging in 64-bit code
               "mov $0xa0000011, %eax\n mov %rax, %cr0\n"        // NW without CD
               "mov $0x600, %eax\n mov %rax, %cr4\n"             // no PAE in long mode
               "mov $1, %eax\n shl $32, %rax\n mov %rax, %dr7\n" // upper half
               "mov %cr4, %rbx\n mov %rbx, %rax\n or $0x40000, %eax\n mov %rax, %cr4\n"
               "xor %eax, %eax\n xor %edx, %edx\n xor %ecx, %ecx\n xsetbv\n" // without x87
               "mov %cr4, %rsi\n mov %cr0, %rdi\n hlt\n");

static void test_illegal_values(void) {
    struct kvm_regs regs;

    start(write_nonsense, write_nonsense_end);
    regs = run_to_halt();
    CHECK_EQUAL(regs.r15, 6);
    CHECK_EQUAL(regs.rbx, 0x620);
    CHECK_EQUAL(regs.rsi, 0x40620);
    CHECK_EQUAL(regs.rdi, 0x80000011);
    tiny_destroy(&guest);
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"real mode to long mode", test_real_to_long_mode},
        {"PAE paging", test_pae_paging},
        {"single step", test_single_step},
        {"single step over exits", test_single_step_over_exits},
        {"hardware breakpoint", test_hardware_breakpoint},
        {"software breakpoint", test_software_breakpoint},
        {"the guest's own single step", test_own_single_step},
        {"the guest's own single step over exits", test_own_single_step_over_exits},
        {"the guest's own watchpoint", test_own_watchpoint},
        {"illegal register values", test_illegal_values},
    };

    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
