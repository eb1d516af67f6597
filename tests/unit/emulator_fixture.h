// SPDX-License-Identifier: BSD-2-Clause
// A machine for the emulator's tests: RAM below DEVICE, a device from there to UNMAPPED, page
// faults above.
#pragma once
#include "arch/x86/guest/emulator.h"

#define DEVICE   0x10000u
#define UNMAPPED 0x20000u

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

extern uint8_t ram[DEVICE], vectors[16][32], port_page[4096];
extern int reads, writes, exchanges; // of memory so far
extern int fail_exchanges;           // so many of the next ones find another value
extern bool allowed;                 // whether ports are
extern struct kvm_segment segments[6];
extern struct emulation emulation;

// Begins to emulate this instruction, at 0x1000, in a new machine but for its memory.
#define START(mode, ...)                                                                           \
    start_bytes(mode, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
void start_bytes(enum code_mode mode, const uint8_t *bytes, uint32_t length);
