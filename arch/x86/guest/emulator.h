// SPDX-License-Identifier: BSD-2-Clause
// Runs one decoded instruction on guest state: MMIO accesses and string I/O. Resumable: when an
// access belongs to user space emulate_step returns what is needed, the owner completes it and
// calls emulate_step again; registers and flags change only when the instruction (or one iteration
// of a REP) is complete.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "decoder.h"
#include "guest_exception.h"
#include "guest_walk.h"

enum emulated_access {
    ACCESS_DONE,
    ACCESS_MMIO,   // no memory and no in-kernel device: user space does it
    ACCESS_FAILED, // the owner cannot (emulation ends with EMULATE_FAILED)
};

// Set once by the owner; context is struct emulation's.
struct emulation_ops {
    // gpa of linear for access (enum guest_access bits; never crosses a page). 0, or -1 with the
    // exception.
    int (*translate)(void *context, uint64_t linear, unsigned access, uint64_t *gpa,
                     struct guest_exception *exception);
    // Within a page; more than 8 bytes at once are memory's only, else ACCESS_MMIO.
    enum emulated_access (*read)(void *context, uint64_t gpa, void *data, uint32_t len);
    enum emulated_access (*write)(void *context, uint64_t gpa, const void *data, uint32_t len);
    // Optional: atomic compare and exchange for LOCK on memory, len 1..8 naturally aligned;
    // *exchanged tells the result. NULL: plain read and write.
    enum emulated_access (*exchange)(void *context, uint64_t gpa, uint64_t old_value,
                                     uint64_t new_value, uint32_t len, bool *exchanged);
    void (*segment)(void *context, enum segment_register which, struct kvm_segment *segment);
    // Vector register which (0..15), size 16 or 32 bytes. clear_upper: zero above size (VEX).
    void (*read_vector)(void *context, unsigned which, void *data, uint32_t size);
    void (*write_vector)(void *context, unsigned which, const void *data, uint32_t size,
                         bool clear_upper);
    // Optional: may the guest do I/O on port (CPL against IOPL, TSS bitmap)? NULL: always.
    bool (*port_allowed)(void *context, uint16_t port, uint32_t size);
    // Optional: port I/O to in-kernel devices. ACCESS_MMIO: user space does it. NULL: user space.
    enum emulated_access (*port_read)(void *context, uint16_t port, uint32_t size, void *data);
    enum emulated_access (*port_write)(void *context, uint16_t port, uint32_t size,
                                       const void *data);
};

enum emulate_result {
    EMULATE_DONE,       // complete; rip is past the instruction (or at it: REP goes on, re-enter)
    EMULATE_EXCEPTION,  // inject emulation->exception; registers as the instruction left them
    EMULATE_MMIO_READ,  // user space reads mmio.len bytes at mmio.gpa: put them in mmio.data, step
    EMULATE_MMIO_WRITE, // user space writes mmio.data; then step again, unless complete
    EMULATE_PORT_IN,    // user space reads port.count elements of port.size into port_data; step
    EMULATE_PORT_OUT,   // user space writes them from port_data; then step again
    EMULATE_FAILED,     // not emulable: KVM_EXIT_INTERNAL_ERROR
};

#define EMULATION_READS 12
struct emulated_read {
    uint64_t gpa;
    uint8_t len;
    uint8_t data[8];
};

struct emulation {
    // Given by the owner before the first step.
    const struct emulation_ops *ops;
    void *context;
    uint64_t *gpr; // sixteen in hardware order: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
    uint64_t rip, rflags;
    uint64_t cr0, cr4;  // cr4: UMIP, OSFXSR, OSXSAVE
    uint8_t *port_data; // port_data_size bytes (kvm_run's data page) for string I/O
    uint32_t port_data_size;
    struct instruction instruction;
    bool single_step; // no more than one iteration of a REP: a trap comes after each
    // Results.
    struct guest_exception exception;
    struct {
        uint64_t gpa;
        uint32_t len; // 1, 2, 4, 8 (3, 5, 6, 7 where an access crosses a page)
        uint8_t data[8];
    } mmio;
    struct {
        uint16_t port;
        uint32_t size, count;
    } port;
    bool complete; // but for the write that user space does; rip as for EMULATE_DONE
    // Internal: what this instruction (or iteration) has read and written so far.
    uint8_t reads, read_cursor;
    uint8_t waiting; // enum emulate_result whose answer the next step takes
    bool port_complete;
    bool posted; // mmio is a write that user space is to do; more may follow it only after that
    uint16_t writes_done, write_cursor;
    struct emulated_read read_log[EMULATION_READS];
};

// Starts: clears internal state. The owner has filled the given fields; instruction is decoded.
void emulate_begin(struct emulation *emulation);
// One step, see above. At most a few hundred REP iterations per call.
enum emulate_result emulate_step(struct emulation *emulation);
