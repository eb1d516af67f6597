// SPDX-License-Identifier: BSD-2-Clause
// exits' port I/O: IN and OUT of each size, and the string instructions.
#include "exits.h"

LONG_MODE_CODE(out_all, "out %al, %dx\n out %ax, %dx\n out %eax, %dx\n"
                        "out %al, $0x42\n out %ax, $0x42\n out %eax, $0x42\n hlt\n");

void test_io_out(void) {
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

void test_io_in(void) {
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

void test_io_string(void) {
    test_string_out(rep_outsb, rep_outsb_end, 1);
    test_string_out(rep_outsw, rep_outsw_end, 2);
    test_string_out(rep_outsl, rep_outsl_end, 4);
    test_string_in(rep_insb, rep_insb_end, 1);
    test_string_in(rep_insw, rep_insw_end, 2);
    test_string_in(rep_insl, rep_insl_end, 4);
}
