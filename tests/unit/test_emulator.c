// SPDX-License-Identifier: BSD-2-Clause
// The instruction emulator: arithmetic against the processor it runs on, then memory and devices.
// Sources: arch/x86/guest/emulator.c arch/x86/guest/emulator_alu.c
// Sources: arch/x86/guest/emulator_memory.c arch/x86/guest/emulator_string.c
// Sources: arch/x86/guest/decoder.c arch/x86/guest/decoder_opcodes.c
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "emulator_fixture.h"

#define STATUS 0x8d5ull // CF PF AF ZF SF OF

// -- arithmetic against the processor --

#define NATIVE(name, instruction_text)                                                             \
    static uint64_t name(uint64_t a, uint64_t b, uint64_t *flags) {                                \
        /* Below the red zone, by LEA for the flags' sake. */                                      \
        __asm__ volatile("lea -128(%%rsp), %%rsp; push %[f]; popf; " instruction_text              \
                         "; pushf; pop %[f]; lea 128(%%rsp), %%rsp"                                \
                         : [a] "+&a"(a), [f] "+&r"(*flags)                                         \
                         : [b] "c"(b)                                                              \
                         : "cc", "memory");                                                        \
        return a;                                                                                  \
    }
#define NATIVES(op)                                                                                \
    NATIVE(op##_1, #op "b %%cl, %%al")                                                             \
    NATIVE(op##_2, #op "w %%cx, %%ax")                                                             \
    NATIVE(op##_4, #op "l %%ecx, %%eax")                                                           \
    NATIVE(op##_8, #op "q %%rcx, %%rax")
#define NATIVES_CL(op)                                                                             \
    NATIVE(op##_1, #op "b %%cl, %%al")                                                             \
    NATIVE(op##_2, #op "w %%cl, %%ax")                                                             \
    NATIVE(op##_4, #op "l %%cl, %%eax")                                                            \
    NATIVE(op##_8, #op "q %%cl, %%rax")
#define NATIVES_ONE(op)                                                                            \
    NATIVE(op##_1, #op "b %%al")                                                                   \
    NATIVE(op##_2, #op "w %%ax")                                                                   \
    NATIVE(op##_4, #op "l %%eax")                                                                  \
    NATIVE(op##_8, #op "q %%rax")

NATIVES(add);
NATIVES(or);
NATIVES(adc);
NATIVES(sbb);
NATIVES(and);
NATIVES(sub);
NATIVES(xor);
NATIVES(cmp);
NATIVES(test);
NATIVES_CL(rol);
NATIVES_CL(ror);
NATIVES_CL(rcl);
NATIVES_CL(rcr);
NATIVES_CL(shl);
NATIVES_CL(shr);
NATIVES_CL(sar);
NATIVES_ONE(inc);
NATIVES_ONE(dec);
NATIVES_ONE(not );
NATIVES_ONE(neg);

struct arithmetic {
    uint64_t (*native[4])(uint64_t a, uint64_t b, uint64_t *flags);
    uint8_t opcode, extension; // r/m form; 0xff: ModRM.reg is CL's register
    bool shift;
};

#define ROW(opcode, extension, op, shift)                                                          \
    { {op##_1, op##_2, op##_4, op##_8}, opcode, extension, shift }
static const struct arithmetic arithmetics[] = {
    ROW(0x00, 0xff, add, false), ROW(0x08, 0xff, or, false),  ROW(0x10, 0xff, adc, false),
    ROW(0x18, 0xff, sbb, false), ROW(0x20, 0xff, and, false), ROW(0x28, 0xff, sub, false),
    ROW(0x30, 0xff, xor, false), ROW(0x38, 0xff, cmp, false), ROW(0x84, 0xff, test, false),
    ROW(0xd2, 0, rol, true),     ROW(0xd2, 1, ror, true),     ROW(0xd2, 2, rcl, true),
    ROW(0xd2, 3, rcr, true),     ROW(0xd2, 4, shl, true),     ROW(0xd2, 5, shr, true),
    ROW(0xd2, 7, sar, true),     ROW(0xfe, 0, inc, false),    ROW(0xfe, 1, dec, false),
    ROW(0xf6, 2, not, false),    ROW(0xf6, 3, neg, false),
};

static uint64_t interesting(unsigned i) {
    static const uint64_t values[] = {0,          1,          2,         0x7f,       0x80,
                                      0xff,       0x7fff,     0x8000,    0xffff,     0x7fffffff,
                                      0x80000000, 0xffffffff, INT64_MAX, 1ull << 63, UINT64_MAX};
    unsigned count = sizeof values / sizeof values[0];
    return i < count ? values[i]
                     : (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ (uint64_t)random();
}

static void compare_with_native(const struct arithmetic *row, unsigned log, uint64_t a, uint64_t b,
                                uint64_t flags) {
    uint8_t bytes[4], n = 0;
    unsigned size = 1u << log;
    uint64_t mask = size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1, got = 0;
    uint64_t native_flags = flags | 0x202, native, checked = STATUS;

    if (log == 1)
        bytes[n++] = 0x66;
    if (log == 3)
        bytes[n++] = 0x48;
    bytes[n++] = (uint8_t)(row->opcode + (log > 0));
    bytes[n++] = (uint8_t)((row->extension == 0xff ? RCX : row->extension) << 3 | RDI);
    START(CODE_64, 0x00, 0x07); // resets the machine
    ck_assert_int_eq(decode(bytes, n, CODE_64, &emulation.instruction), DECODED);
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RCX] = b;
    emulation.rflags = flags | 2;
    memcpy(ram + 0x2000, &a, 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    memcpy(&got, ram + 0x2000, size);
    native = row->native[log](a, b, &native_flags);
    if (row->shift) {
        unsigned count = b & (size == 8 ? 63 : 31);
        if (count != 1) // OF undefined, and CF beyond the operand's width
            checked &= ~0x800ull;
        if (count > 8 * size)
            checked &= ~1ull;
        if (count && row->extension >= 4)
            checked &= ~0x10ull;
    } else if (row->opcode == 0x08 || row->opcode == 0x20 || row->opcode == 0x30 ||
               row->opcode == 0x84) {
        checked &= ~0x10ull; // AF undefined
    }
    ck_assert_msg(got == (native & mask), "%x/%u size %u: %lx op %lx", row->opcode, row->extension,
                  size, (long)a, (long)b);
    ck_assert_msg((emulation.rflags & checked) == (native_flags & checked),
                  "%x/%u size %u: %lx op %lx flags %lx, should be %lx", row->opcode, row->extension,
                  size, (long)a, (long)b, (long)emulation.rflags, (long)native_flags);
}

START_TEST(arithmetic) {
    const struct arithmetic *row = &arithmetics[_i];
    srandom(1);
    for (unsigned log = 0; log < 4; log++)
        for (unsigned i = 0; i < 30; i++)
            for (unsigned j = 0; j < 30; j++)
                for (unsigned carry = 0; carry < 2; carry++)
                    compare_with_native(row, log, interesting(i),
                                        row->shift ? j * 3 : interesting(j), carry);
}
END_TEST

// -- memory and devices --

START_TEST(device_load_waits_and_completes) {
    START(CODE_64, 0x8b, 0x07);
    emulation.gpr[RDI] = DEVICE + 0x20;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    ck_assert_uint_eq(emulation.mmio.gpa, DEVICE + 0x20);
    ck_assert_uint_eq(emulation.mmio.len, 4);
    ck_assert_uint_eq(emulation.rip, 0x1000);
    ck_assert_uint_eq(emulation.gpr[RAX], 0);
    memcpy(emulation.mmio.data, "\x78\x56\x34\x92", 4);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RAX], 0x92345678);
    ck_assert_uint_eq(emulation.rip, 0x1002);
}
END_TEST

START_TEST(device_store) {
    START(CODE_64, 0x48, 0xc7, 0x47, 0x08, 0xfe, 0xff, 0xff, 0xff);
    emulation.gpr[RDI] = DEVICE;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_uint_eq(emulation.mmio.gpa, DEVICE + 8);
    ck_assert_uint_eq(emulation.mmio.len, 8);
    ck_assert_mem_eq(emulation.mmio.data, "\xfe\xff\xff\xff\xff\xff\xff\xff", 8);
    ck_assert(emulation.complete);
    ck_assert_uint_eq(emulation.rip, 0x1008);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.rip, 0x1008);
}
END_TEST

START_TEST(device_modify) {
    START(CODE_64, 0xf0, 0x83, 0x0f, 0x05); // lock or dword [rdi], 5
    emulation.gpr[RDI] = DEVICE;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    memcpy(emulation.mmio.data, "\x10\0\0\x80", 4);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_mem_eq(emulation.mmio.data, "\x15\0\0\x80", 4);
    ck_assert(emulation.complete);
    ck_assert_uint_eq(emulation.rflags & STATUS, 0x80);
}
END_TEST

START_TEST(device_exchange) {
    START(CODE_64, 0x87, 0x07); // xchg [rdi], eax
    emulation.gpr[RDI] = DEVICE;
    emulation.gpr[RAX] = 0xaabbccdd;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    memcpy(emulation.mmio.data, "\1\2\3\4", 4);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_mem_eq(emulation.mmio.data, "\xdd\xcc\xbb\xaa", 4);
    ck_assert(emulation.complete);
    ck_assert_uint_eq(emulation.gpr[RAX], 0x04030201);
}
END_TEST

START_TEST(access_across_memory_and_device) {
    START(CODE_64, 0x48, 0x8b, 0x07);
    emulation.gpr[RDI] = DEVICE - 3;
    memcpy(ram + DEVICE - 3, "abc", 3);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    ck_assert_uint_eq(emulation.mmio.gpa, DEVICE);
    ck_assert_uint_eq(emulation.mmio.len, 5);
    memcpy(emulation.mmio.data, "defgh", 5);
    memcpy(ram + DEVICE - 3, "XYZ", 3); // memory is not read again
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_mem_eq(&emulation.gpr[RAX], "abcdefgh", 8);
}
END_TEST

START_TEST(fault_on_the_second_page_writes_nothing) {
    START(CODE_64, 0x48, 0x89, 0x07);
    emulation.gpr[RDI] = UNMAPPED - 4;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.vector, GUEST_PF);
    ck_assert_uint_eq(emulation.exception.cr2, UNMAPPED);
    ck_assert_uint_eq(emulation.exception.error_code, 2);
    ck_assert_uint_eq(emulation.rip, 0x1000);
    START(CODE_64, 0xff, 0x07); // INC: a fault of a read-modify-write is a write's
    emulation.gpr[RDI] = UNMAPPED;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.error_code, 2);
}
END_TEST

START_TEST(canonical_and_limits) {
    START(CODE_64, 0x8b, 0x07);
    emulation.gpr[RDI] = 0x0000800000000000;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.vector, GUEST_GP);
    START(CODE_64, 0x8b, 0x45, 0x00);
    emulation.gpr[RBP] = 0x0000800000000000;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.vector, GUEST_SS);
    START(CODE_32, 0x8b, 0x07);
    segments[SEG_DS].limit = 0xfff;
    emulation.gpr[RDI] = 0xffd;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    emulation.gpr[RDI] = 0xffc;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    START(CODE_32, 0x89, 0x07);
    segments[SEG_DS].type = 1; // read-only
    emulation.gpr[RDI] = 0;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    START(CODE_32, 0x8b, 0x07);
    segments[SEG_DS].type = 7; // expand-down
    segments[SEG_DS].limit = 0xfff;
    segments[SEG_DS].db = 1;
    emulation.gpr[RDI] = 0xfff;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    emulation.gpr[RDI] = 0x1000;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
}
END_TEST

START_TEST(segment_bases) {
    START(CODE_64, 0x65, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0); // mov eax, gs:0x10
    segments[SEG_GS].base = 0x3000;
    segments[SEG_DS].base = 0x9999; // nothing in 64-bit code
    memcpy(ram + 0x3010, "wxyz", 4);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_mem_eq(&emulation.gpr[RAX], "wxyz\0\0\0\0", 8);
    START(CODE_16, 0xa0, 0x34, 0x12); // mov al, [0x1234], real mode
    emulation.cr0 = 0;
    segments[SEG_DS] = (struct kvm_segment){.base = 0x2000, .limit = 0xffff, .type = 3};
    ram[0x3234] = 0x5a;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RAX], 0x5a);
    ck_assert_uint_eq(emulation.rip, 0x1003);
    START(CODE_64, 0x8b, 0x05, 0xfa, 0x0f, 0, 0); // mov eax, [rip + 0xffa]
    memcpy(ram + 0x2000, "rip!", 4);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_mem_eq(&emulation.gpr[RAX], "rip!", 4);
}
END_TEST

START_TEST(partial_registers) {
    START(CODE_64, 0x8a, 0x27); // mov ah, [rdi]
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RAX] = UINT64_MAX;
    ram[0x2000] = 0x12;
    emulate_step(&emulation);
    ck_assert_uint_eq(emulation.gpr[RAX], 0xffffffffffff12ff);
    START(CODE_64, 0x66, 0x8b, 0x07);
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RAX] = UINT64_MAX;
    memcpy(ram + 0x2000, "\x34\x12", 2);
    emulate_step(&emulation);
    ck_assert_uint_eq(emulation.gpr[RAX], 0xffffffffffff1234);
    START(CODE_64, 0x48, 0x0f, 0xbe, 0x07); // movsx rax, byte
    emulation.gpr[RDI] = 0x2000;
    ram[0x2000] = 0x80;
    emulate_step(&emulation);
    ck_assert_uint_eq(emulation.gpr[RAX], 0xffffffffffffff80);
    START(CODE_64, 0x0f, 0xb7, 0x07); // movzx eax, word
    emulation.gpr[RDI] = 0x2000;
    memcpy(ram + 0x2000, "\xff\xff", 2);
    emulate_step(&emulation);
    ck_assert_uint_eq(emulation.gpr[RAX], 0xffff);
}
END_TEST

START_TEST(compare_and_exchange) {
    uint32_t value = 7;
    START(CODE_64, 0xf0, 0x0f, 0xb1, 0x0f); // lock cmpxchg [rdi], ecx
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RAX] = 7;
    emulation.gpr[RCX] = 9;
    memcpy(ram + 0x2000, &value, 4);
    fail_exchanges = 1;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_int_eq(exchanges, 2);
    ck_assert_uint_eq(ram[0x2000], 9);
    ck_assert(emulation.rflags & 0x40);
    emulate_begin(&emulation);
    emulation.gpr[RAX] = 5;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RAX], 9);
    ck_assert(!(emulation.rflags & 0x40));
    START(CODE_64, 0xf0, 0x0f, 0xc1, 0x0f); // lock xadd
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RCX] = 3;
    emulate_step(&emulation);
    ck_assert_uint_eq(ram[0x2000], 12);
    ck_assert_uint_eq(emulation.gpr[RCX], 9);
    fail_exchanges = 1000;
    emulate_begin(&emulation);
    uint64_t rip = emulation.rip;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE); // gives up, comes again
    ck_assert_uint_eq(emulation.rip, rip);
}
END_TEST

START_TEST(bit_strings) {
    memset(ram + 0x2000, 0, 64);
    START(CODE_64, 0x0f, 0xab, 0x07); // bts [rdi], eax
    emulation.gpr[RDI] = 0x2010;
    emulation.gpr[RAX] = (uint32_t)-35;
    emulate_step(&emulation);
    ck_assert_uint_eq(ram[0x2008 + 3], 1 << 5); // bit -35: dword -2, bit 29
    ck_assert(!(emulation.rflags & 1));
    START(CODE_64, 0x0f, 0xba, 0x27, 0x25); // bt dword [rdi], 37: modulo 32
    emulation.gpr[RDI] = 0x2000;
    ram[0x2000] = 0x20;
    emulate_step(&emulation);
    ck_assert(emulation.rflags & 1);
}
END_TEST

START_TEST(stack) {
    START(CODE_64, 0xff, 0x37); // push qword [rdi], from a device
    emulation.gpr[RDI] = DEVICE;
    emulation.gpr[RSP] = 0x3000;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    memcpy(emulation.mmio.data, "pushpush", 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RSP], 0x2ff8);
    ck_assert_mem_eq(ram + 0x2ff8, "pushpush", 8);
    START(CODE_64, 0x8f, 0x44, 0x24, 0x10); // pop [rsp + 16]: RSP after the pop
    emulation.gpr[RSP] = 0x2ff8;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RSP], 0x3000);
    ck_assert_mem_eq(ram + 0x3010, "pushpush", 8);
    START(CODE_64, 0xff, 0x17); // call [rdi]
    emulation.gpr[RDI] = 0x3010;
    emulation.gpr[RSP] = 0x4000;
    memcpy(ram + 0x3010, "\0\x50\0\0\0\0\0\0", 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.rip, 0x5000);
    ck_assert_mem_eq(ram + 0x3ff8, "\x02\x10\0\0\0\0\0\0", 8);
}
END_TEST

START_TEST(vector_moves) {
    START(CODE_64, 0x66, 0x0f, 0x6f, 0x1f); // movdqa xmm3, [rdi]
    emulation.gpr[RDI] = DEVICE;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    ck_assert_uint_eq(emulation.mmio.len, 8);
    memcpy(emulation.mmio.data, "01234567", 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    ck_assert_uint_eq(emulation.mmio.gpa, DEVICE + 8);
    memcpy(emulation.mmio.data, "89abcdef", 8);
    memset(vectors[3], 0xee, 32);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_mem_eq(vectors[3], "0123456789abcdef\xee\xee", 18);
    START(CODE_64, 0x66, 0x0f, 0x7f, 0x1f);
    emulation.gpr[RDI] = DEVICE + 8;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION); // not aligned
    ck_assert_uint_eq(emulation.exception.vector, GUEST_GP);
    START(CODE_64, 0x0f, 0x11, 0x1f); // movups [rdi], xmm3
    emulation.gpr[RDI] = DEVICE + 8;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_mem_eq(emulation.mmio.data, "01234567", 8);
    ck_assert(!emulation.complete);
    ck_assert_uint_eq(emulation.rip, 0x1000);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_mem_eq(emulation.mmio.data, "89abcdef", 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    START(CODE_64, 0xc5, 0xf9, 0x6f, 0x1f); // vmovdqa xmm3 clears the upper half
    emulation.gpr[RDI] = 0x2000;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(vectors[3][31], 0);
    START(CODE_64, 0x0f, 0x11, 0x1f);
    emulation.cr0 |= 8; // TS
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.vector, GUEST_NM);
    START(CODE_64, 0x0f, 0x11, 0x1f);
    emulation.cr4 = 0;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.vector, GUEST_UD);
}
END_TEST

// A trap comes after each iteration.
START_TEST(ports) {
    START(CODE_64, 0xec); // in al, dx
    emulation.gpr[RDX] = 0x3f8;
    emulation.gpr[RAX] = UINT64_MAX;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_IN);
    port_page[0] = 0x12;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RAX], 0xffffffffffffff12);
    START(CODE_64, 0xe7, 0x80); // out 0x80, eax
    emulation.gpr[RAX] = 0x11223344;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    ck_assert_uint_eq(emulation.port.port, 0x80);
    ck_assert_mem_eq(port_page, "\x44\x33\x22\x11", 4);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    START(CODE_64, 0xec);
    allowed = 0;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.vector, GUEST_GP);
}
END_TEST

START_TEST(other_moves) {
    START(CODE_64, 0x0f, 0x38, 0xf1, 0x07); // movbe [rdi], eax
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RAX] = 0x11223344;
    emulate_step(&emulation);
    ck_assert_mem_eq(ram + 0x2000, "\x11\x22\x33\x44", 4);
    START(CODE_64, 0x0f, 0x44, 0x07); // cmovz eax, [rdi]: reads though ZF is clear
    emulation.gpr[RDI] = DEVICE;
    emulation.gpr[RAX] = UINT64_MAX;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RAX], 0xffffffff);
    START(CODE_64, 0x0f, 0x9c, 0x07); // setl
    emulation.gpr[RDI] = 0x2000;
    emulation.rflags |= 0x80;
    emulate_step(&emulation);
    ck_assert_uint_eq(ram[0x2000], 1);
    START(CODE_32, 0x8c, 0x1f); // mov [edi], ds
    emulation.gpr[RDI] = 0x2000;
    emulate_step(&emulation);
    ck_assert_uint_eq(ram[0x2000], 8 * SEG_DS);
}
END_TEST

Suite *emulator_suite(void) {
    Suite *suite = suite_create("emulator");
    TCase *tests = tcase_create("emulator");
    tcase_add_loop_test(tests, arithmetic, 0, sizeof arithmetics / sizeof arithmetics[0]);
    tcase_add_test(tests, device_load_waits_and_completes);
    tcase_add_test(tests, device_store);
    tcase_add_test(tests, device_modify);
    tcase_add_test(tests, device_exchange);
    tcase_add_test(tests, access_across_memory_and_device);
    tcase_add_test(tests, fault_on_the_second_page_writes_nothing);
    tcase_add_test(tests, canonical_and_limits);
    tcase_add_test(tests, segment_bases);
    tcase_add_test(tests, partial_registers);
    tcase_add_test(tests, compare_and_exchange);
    tcase_add_test(tests, bit_strings);
    tcase_add_test(tests, stack);
    tcase_add_test(tests, vector_moves);
    tcase_add_test(tests, ports);
    tcase_add_test(tests, other_moves);
    suite_add_tcase(suite, tests);
    return suite;
}
