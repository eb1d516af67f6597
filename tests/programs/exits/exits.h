// SPDX-License-Identifier: BSD-2-Clause
// What exits' tests share: the machine under test, and its registers' pattern.
#pragma once
#include <stdbool.h>

#include "../tap.h"
#include "../tiny_guest.h"

#define PORT 0x1234 // in the pattern's DX; its RBX is GUEST_MMIO

extern struct tiny_guest guest;

// Distinct in every byte, so that a register swapped or cut shows.
struct kvm_regs pattern(void);
void load_code(const uint8_t *code, const uint8_t *end);
void set_regs(const struct kvm_regs *regs);

// A new machine in 64-bit mode at the block's first instruction with the pattern in its registers.
// Returns them as they are behind the block's last instruction, HLT.
#define START_LONG(block) start_long(block, block##_end)
struct kvm_regs start_long(const uint8_t *code, const uint8_t *end);

// As START_LONG for real mode.
#define START_REAL(block) start_real(block, block##_end)
struct kvm_regs start_real(const uint8_t *code, const uint8_t *end);

// Runs the guest until it exits, for this reason as checked.
bool run_to(uint32_t reason);
bool run_to_io(uint8_t direction, uint8_t size, uint16_t port); // of one count
void *io_data(void);                                            // of that exit
bool run_to_mmio(bool write, uint32_t length, uint64_t address);
void check_regs(const struct kvm_regs *expected);
// Runs it to its HLT, checks its registers and destroys it.
void finish(const struct kvm_regs *expected);

void test_io_out(void);
void test_io_in(void);
void test_io_string(void);
void test_mmio_write(void);
void test_mmio_read(void);
void test_mmio_modify(void);
void test_mmio_compare(void);
void test_mmio_string(void);
