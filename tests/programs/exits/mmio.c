// SPDX-License-Identifier: BSD-2-Clause
// exits' MMIO: loads, stores, what reads and writes at once, and moves.
#include "exits.h"

LONG_MODE_CODE(store_all, "mov %al, (%rbx)\n mov %ax, 2(%rbx)\n mov %eax, 4(%rbx)\n"
                          "mov %rax, 8(%rbx)\n movl $0x12345678, 16(%rbx)\n"
                          "movq $-2, 24(%rbx)\n mov %r9b, (%rbx)\n hlt\n");

void test_mmio_write(void) {
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

void test_mmio_read(void) {
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

void test_mmio_modify(void) {
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

void test_mmio_compare(void) {
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

void test_mmio_string(void) {
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
