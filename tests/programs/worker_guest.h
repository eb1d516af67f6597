// SPDX-License-Identifier: BSD-2-Clause
// A guest with steady work whose result is known: it shows whether something beside it did harm.
#pragma once

#include "tiny_guest.h"

#define WORKER_MEMORY (4u << 20)
#define WORKER_AREA   0x100000ull // the guest's own MiBs, filled and summed each round
#define WORKER_WORDS  0x2000ull

// One round: fills the area with numbers that R8 determines, sums them up again, and reports the
// sum's lower half by OUT. Endless.
LONG_MODE_CODE(worker_code, "1: mov $0x100000, %edi\n mov $0x2000, %ecx\n mov %r8, %rax\n"
                            "2: mov %rax, (%rdi)\n imul $0x19660d, %rax, %rax\n"
                            "add $0x3c6ef35f, %rax\n add $8, %rdi\n dec %ecx\n jnz 2b\n"
                            "mov $0x100000, %esi\n mov $0x2000, %ecx\n xor %eax, %eax\n"
                            "3: add (%rsi), %rax\n add $8, %rsi\n dec %ecx\n jnz 3b\n"
                            "mov $0x10, %edx\n out %eax, %dx\n inc %r8\n jmp 1b\n");

static inline void worker_start(struct tiny_guest *guest, uint64_t seed) {
    struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2, .r8 = seed};

    tiny_create(guest, WORKER_MEMORY);
    tiny_enter_long_mode(guest);
    memcpy(guest->memory + GUEST_CODE, worker_code, (size_t)(worker_code_end - worker_code));
    tiny_check(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

static inline uint32_t worker_sum(uint64_t seed) {
    uint64_t sum = 0;

    for (uint64_t i = 0; i < WORKER_WORDS; i++) {
        sum += seed;
        seed = seed * 0x19660d + 0x3c6ef35f;
    }
    return (uint32_t)sum;
}

// Runs one round; seed is that of worker_start plus the rounds before. Returns whether the guest's
// sum was right.
static inline int worker_round(const struct tiny_guest *guest, uint64_t seed) {
    uint32_t sum;

    while (ioctl(guest->vcpu_fd, KVM_RUN, 0) < 0) {
        if (errno != EINTR) {
            perror("worker: KVM_RUN");
            return 0;
        }
    }
    if (guest->run->exit_reason != KVM_EXIT_IO || guest->run->io.size != 4) {
        fprintf(stderr, "worker: exit reason %u\n", guest->run->exit_reason);
        return 0;
    }
    memcpy(&sum, (uint8_t *)guest->run + guest->run->io.data_offset, sizeof(sum));
    if (sum != worker_sum(seed)) {
        fprintf(stderr, "worker: sum %#x, expected %#x\n", sum, worker_sum(seed));
        return 0;
    }
    return 1;
}

// Whether a new guest comes up and does rounds of work.
static inline int worker_runs(unsigned rounds) {
    struct tiny_guest guest;
    int right = 1;

    worker_start(&guest, 7);
    for (unsigned i = 0; i < rounds; i++) {
        right &= worker_round(&guest, 7 + i);
    }
    tiny_destroy(&guest);
    return right;
}
