// SPDX-License-Identifier: BSD-2-Clause
// The machine that each of exits' tests makes.
#include "exits.h"

#define MEMORY_SIZE (2u << 20)

struct tiny_guest guest;

struct kvm_regs pattern(void) {
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

void load_code(const uint8_t *code, const uint8_t *end) {
    memcpy(guest.memory + GUEST_CODE, code, (size_t)(end - code));
}

void set_regs(const struct kvm_regs *regs) {
    CHECK(ioctl(guest.vcpu_fd, KVM_SET_REGS, regs) == 0);
}

struct kvm_regs start_long(const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = pattern();

    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_long_mode(&guest);
    load_code(code, end);
    set_regs(&regs);
    regs.rip += (uint64_t)(end - code); // where the block's last instruction, HLT, leaves it
    return regs;
}

struct kvm_regs start_real(const uint8_t *code, const uint8_t *end) {
    struct kvm_regs regs = {.rip = 0x8000, .rsp = 0x7000, .rflags = 0x2};

    tiny_create(&guest, MEMORY_SIZE);
    tiny_enter_real_mode(&guest);
    memcpy(guest.memory + regs.rip, code, (size_t)(end - code));
    set_regs(&regs);
    regs.rip += (uint64_t)(end - code);
    return regs;
}

bool run_to(uint32_t reason) {
    return CHECK(ioctl(guest.vcpu_fd, KVM_RUN, 0) == 0) &&
           CHECK_EQUAL(guest.run->exit_reason, reason);
}

void *io_data(void) {
    return (uint8_t *)guest.run + guest.run->io.data_offset;
}

bool run_to_io(uint8_t direction, uint8_t size, uint16_t port) {
    return run_to(KVM_EXIT_IO) && CHECK_EQUAL(guest.run->io.direction, direction) &&
           CHECK_EQUAL(guest.run->io.size, size) && CHECK_EQUAL(guest.run->io.port, port) &&
           CHECK_EQUAL(guest.run->io.count, 1);
}

bool run_to_mmio(bool write, uint32_t length, uint64_t address) {
    return run_to(KVM_EXIT_MMIO) && CHECK_EQUAL(guest.run->mmio.is_write, write) &&
           CHECK_EQUAL(guest.run->mmio.len, length) &&
           CHECK_EQUAL(guest.run->mmio.phys_addr, address);
}

void check_regs(const struct kvm_regs *expected) {
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

void finish(const struct kvm_regs *expected) {
    if (run_to(KVM_EXIT_HLT)) {
        check_regs(expected);
    }
    tiny_destroy(&guest);
}
