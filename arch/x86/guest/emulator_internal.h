// SPDX-License-Identifier: BSD-2-Clause
// Shared by the emulator's files only.
#pragma once
#include "emulator.h"

#define CR0_PE      (1ull << 0)
#define CR0_EM      (1ull << 2)
#define CR0_TS      (1ull << 3)
#define CR4_OSFXSR  (1ull << 9)
#define CR4_UMIP    (1ull << 11)
#define CR4_LA57    (1ull << 12)
#define CR4_OSXSAVE (1ull << 18)

#define FLAG_CF      0x001ull
#define FLAG_PF      0x004ull
#define FLAG_AF      0x010ull
#define FLAG_ZF      0x040ull
#define FLAG_SF      0x080ull
#define FLAG_DF      0x400ull
#define FLAG_OF      0x800ull
#define FLAG_VM      (1ull << 17)
#define FLAGS_STATUS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

// A locked exchange met a changed operand: run the instruction again from its first read.
#define EMULATE_AGAIN 100

// One run over the instruction: what it changes is undone, or not taken over, unless it completes.
#define RUN_CHANGES 4
struct run {
    struct emulation *emulation;
    const struct instruction *instruction;
    uint64_t *gpr; // changed by set_register and set_gpr
    uint64_t rip, rflags;
    bool repeats;      // a REP iteration after which rip stays
    unsigned elements; // of string I/O that devices here took in this iteration
    unsigned changes;
    struct {
        unsigned reg;
        uint64_t old;
    } undo[RUN_CHANGES];
};

static inline uint64_t size_mask(unsigned size) {
    return size >= 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;
}

int raise_exception(struct run *run, uint8_t vector, bool has_error_code);
// Linear address of segment:offset for an access of size bytes. 0, or EMULATE_EXCEPTION (#GP, #SS).
int linear_address(struct run *run, enum segment_register segment, uint64_t offset, uint32_t size,
                   bool write, uint64_t *linear);
struct kvm_segment segment_of(const struct run *run, enum segment_register which);
uint64_t effective_address(const struct run *run);
// 0, an emulate_result to return, or EMULATE_AGAIN.
int read_memory(struct run *run, uint64_t linear, void *data, uint32_t size);
int write_memory(struct run *run, uint64_t linear, const void *data, uint32_t size);
// Would a write fault? Before anything has an effect.
int check_write(struct run *run, uint64_t linear, uint32_t size);
// Writes value if the memory still holds old_value (LOCK).
int exchange_memory(struct run *run, uint64_t linear, uint64_t old_value, uint64_t value,
                    uint32_t size);
// Within a page, not logged: false, without an effect, if it is not plain memory or faults.
bool plain_access(struct run *run, uint64_t linear, void *data, uint32_t size, bool write);

uint64_t get_register(const struct run *run, struct operand operand);
void set_register(struct run *run, struct operand operand, uint64_t value);
// The register's lowest size bytes.
void set_gpr(struct run *run, unsigned reg, uint64_t value, unsigned size);

// emulator_string.c
int run_string(struct run *run);
int run_port_string(struct run *run);
int run_port(struct run *run);

// emulator_alu.c: result of operation on size-byte operands; flags as they are after it.
uint64_t alu(enum operation operation, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags);
bool condition_holds(unsigned condition, uint64_t rflags);
