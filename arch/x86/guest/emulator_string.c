// SPDX-License-Identifier: BSD-2-Clause
// String instructions, one iteration a run, and port I/O.
#include "emulator_internal.h"

// Longest a string I/O exit may be; it also bounds the time spent here.
#define PORT_BATCH 1024u

static uint64_t counter(const struct run *run) {
    return run->gpr[RCX] & size_mask(run->instruction->address_size);
}

static bool is_repeated(const struct run *run) {
    return run->instruction->repeat != REPEAT_NONE;
}

// RSI or RDI so many elements on.
static uint64_t ahead(const struct run *run, unsigned reg, uint64_t elements) {
    uint64_t bytes = elements * run->instruction->operand_size;
    return run->rflags & FLAG_DF ? run->gpr[reg] - bytes : run->gpr[reg] + bytes;
}

static void advance(struct run *run, unsigned reg, uint64_t elements) {
    set_gpr(run, reg, ahead(run, reg, elements), run->instruction->address_size);
}

// Counts elements down; the instruction stays (repeats) unless it has come to its end.
static void count_down(struct run *run, uint64_t elements, bool ends) {
    if (!is_repeated(run))
        return;
    set_gpr(run, RCX, counter(run) - elements, run->instruction->address_size);
    run->repeats = counter(run) != 0 && !ends;
}

static int source_address(struct run *run, uint64_t elements, uint64_t *linear) {
    uint64_t offset = ahead(run, RSI, elements) & size_mask(run->instruction->address_size);
    return linear_address(run, run->instruction->segment, offset, run->instruction->operand_size,
                          false, linear);
}

static int destination_address(struct run *run, bool write, uint64_t *linear) {
    uint64_t offset = run->gpr[RDI] & size_mask(run->instruction->address_size);
    return linear_address(run, SEG_ES, offset, run->instruction->operand_size, write, linear);
}

static int move_string(struct run *run) {
    unsigned size = run->instruction->operand_size;
    uint64_t from, to, value = 0;
    int result = source_address(run, 0, &from);

    if (result == 0)
        result = destination_address(run, true, &to);
    if (result == 0)
        result = check_write(run, to, size);
    if (result == 0)
        result = read_memory(run, from, &value, size);
    if (result == 0)
        result = write_memory(run, to, &value, size);
    if (result)
        return result;
    advance(run, RSI, 1);
    advance(run, RDI, 1);
    count_down(run, 1, false);
    return 0;
}

static int store_string(struct run *run) {
    uint64_t to;
    int result = destination_address(run, true, &to);

    if (result == 0)
        result = write_memory(run, to, &run->gpr[RAX], run->instruction->operand_size);
    if (result)
        return result;
    advance(run, RDI, 1);
    count_down(run, 1, false);
    return 0;
}

static int load_string(struct run *run) {
    unsigned size = run->instruction->operand_size;
    uint64_t from, value = 0;
    int result = source_address(run, 0, &from);

    if (result == 0)
        result = read_memory(run, from, &value, size);
    if (result)
        return result;
    set_register(run, (struct operand){.kind = OPERAND_REGISTER, .reg = RAX, .size = (uint8_t)size},
                 value);
    advance(run, RSI, 1);
    count_down(run, 1, false);
    return 0;
}

static int compare_string(struct run *run, bool scan) {
    unsigned size = run->instruction->operand_size;
    uint64_t from = 0, to, left = run->gpr[RAX], right = 0;
    bool wanted = run->instruction->repeat == REPEAT_REP;
    int result = scan ? 0 : source_address(run, 0, &from);

    if (result == 0)
        result = destination_address(run, false, &to);
    if (result == 0 && !scan) {
        left = 0;
        result = read_memory(run, from, &left, size);
    }
    if (result == 0)
        result = read_memory(run, to, &right, size);
    if (result)
        return result;
    alu(OP_CMP, left, right, size, &run->rflags);
    if (!scan)
        advance(run, RSI, 1);
    advance(run, RDI, 1);
    count_down(run, 1, ((run->rflags & FLAG_ZF) != 0) != wanted);
    return 0;
}

int run_string(struct run *run) {
    if (is_repeated(run) && counter(run) == 0)
        return 0;
    switch (run->instruction->operation) {
    case OP_MOVS:
        return move_string(run);
    case OP_STOS:
        return store_string(run);
    case OP_LODS:
        return load_string(run);
    case OP_CMPS:
        return compare_string(run, false);
    default:
        return compare_string(run, true);
    }
}

// -- ports --

static bool port_allowed(struct run *run, uint16_t port, uint32_t size) {
    const struct emulation_ops *ops = run->emulation->ops;
    return !ops->port_allowed || ops->port_allowed(run->emulation->context, port, size);
}

static void ask_port(struct emulation *emulation, uint16_t port, uint32_t size, uint32_t count) {
    emulation->port.port = port;
    emulation->port.size = size;
    emulation->port.count = count;
}

// Elements the in-kernel device took, the rest is user space's.
static int port_out(struct run *run, uint16_t port, uint32_t size, uint32_t count) {
    struct emulation *emulation = run->emulation;
    const struct emulation_ops *ops = emulation->ops;

    ask_port(emulation, port, size, count);
    for (uint32_t i = 0; ops->port_write && i < count; i++) {
        switch (ops->port_write(emulation->context, port, size, emulation->port_data + i * size)) {
        case ACCESS_DONE:
            continue;
        case ACCESS_MMIO:
            // A device answers for all elements or for none.
            return i ? EMULATE_FAILED : EMULATE_PORT_OUT;
        default:
            return EMULATE_FAILED;
        }
    }
    run->elements = ops->port_write ? count : 0;
    return ops->port_write ? 0 : EMULATE_PORT_OUT;
}

static int port_in(struct run *run, uint16_t port, uint32_t size, uint32_t count) {
    struct emulation *emulation = run->emulation;
    const struct emulation_ops *ops = emulation->ops;

    ask_port(emulation, port, size, count);
    for (uint32_t i = 0; ops->port_read && i < count; i++) {
        switch (ops->port_read(emulation->context, port, size, emulation->port_data + i * size)) {
        case ACCESS_DONE:
            continue;
        case ACCESS_MMIO:
            return i ? EMULATE_FAILED : EMULATE_PORT_IN;
        default:
            return EMULATE_FAILED;
        }
    }
    run->elements = ops->port_read ? count : 0;
    return ops->port_read ? 0 : EMULATE_PORT_IN;
}

// Elements that may go in one exit.
static uint32_t batch(const struct run *run) {
    uint32_t size = run->instruction->operand_size;
    uint32_t most = run->emulation->port_data_size;
    uint64_t wanted = is_repeated(run) && !run->emulation->single_step ? counter(run) : 1;

    if (most > PORT_BATCH)
        most = PORT_BATCH;
    return wanted < most / size ? (uint32_t)wanted : most / size;
}

// Elements that may be one access to memory, at most so many: ascending, within a page and the
// segment. 1: none but the first.
static uint32_t at_once(struct run *run, enum segment_register segment, uint64_t offset,
                        uint64_t linear, uint32_t most, bool write) {
    uint32_t size = run->instruction->operand_size, room = (4096 - (linear & 4095)) / size;
    uint32_t count = most < room ? most : room;
    uint64_t mask = size_mask(run->instruction->address_size), ignored;

    offset &= mask;
    bool several = count > 1 && !(run->rflags & FLAG_DF) && offset + count * size - 1 <= mask &&
                   linear_address(run, segment, offset, count * size, write, &ignored) == 0;
    return several ? count : 1;
}

// Those elements in plain memory, if worth it.
static bool access_at_once(struct run *run, uint64_t linear, uint32_t count, bool write) {
    uint32_t bytes = count * run->instruction->operand_size;
    return bytes > 8 && plain_access(run, linear, run->emulation->port_data, bytes, write);
}

static int out_string(struct run *run, uint16_t port) {
    struct emulation *emulation = run->emulation;
    uint32_t size = run->instruction->operand_size, count, most = batch(run);
    uint64_t from;
    int result;

    if (most == 0)
        return EMULATE_FAILED;
    if (!emulation->port_complete) {
        result = source_address(run, 0, &from);
        if (result)
            return result;
        count = at_once(run, run->instruction->segment, run->gpr[RSI], from, most, false);
        if (!access_at_once(run, from, count, false)) {
            result = read_memory(run, from, emulation->port_data, size);
            if (result)
                return result;
            count = 1;
        }
        // The rest as far as it is memory; a fault there comes when its turn comes.
        while (count < most && !source_address(run, count, &from) &&
               plain_access(run, from, emulation->port_data + count * size, size, false))
            count++;
        result = port_out(run, port, size, count);
        if (result)
            return result;
    }
    count = emulation->port.count;
    advance(run, RSI, count);
    count_down(run, count, false);
    return 0;
}

static int in_string(struct run *run, uint16_t port) {
    struct emulation *emulation = run->emulation;
    uint32_t size = run->instruction->operand_size, count = batch(run);
    uint64_t to;
    int result = destination_address(run, true, &to);

    if (count == 0)
        return EMULATE_FAILED;
    if (result)
        return result;
    if (!emulation->port_complete) {
        // Only as much as the page checked here holds: what is read from a port cannot be put back.
        count = at_once(run, SEG_ES, run->gpr[RDI], to, count, true);
        result = check_write(run, to, size);
        if (result == 0)
            result = port_in(run, port, size, count);
        if (result)
            return result;
        emulation->port_complete = true;
    }
    // User space may have lowered the counter meanwhile; what was read beyond it is lost, as in
    // KVM.
    if (emulation->port.count < count)
        count = emulation->port.count;
    bool written = access_at_once(run, to, count, true);
    for (uint32_t i = 0; i < count && !written; i++) {
        result = write_memory(run, to + i * size, emulation->port_data + i * size, size);
        if (result)
            return result;
    }
    advance(run, RDI, count);
    count_down(run, count, false);
    return 0;
}

int run_port_string(struct run *run) {
    uint16_t port = (uint16_t)run->gpr[RDX];

    if (!port_allowed(run, port, run->instruction->operand_size))
        return raise_exception(run, GUEST_GP, true);
    if (is_repeated(run) && counter(run) == 0)
        return 0;
    return run->instruction->operation == OP_OUTS ? out_string(run, port) : in_string(run, port);
}

int run_port(struct run *run) {
    const struct instruction *instruction = run->instruction;
    struct emulation *emulation = run->emulation;
    bool in = instruction->operation == OP_IN;
    struct operand where = in ? instruction->source : instruction->destination;
    uint16_t port =
        (uint16_t)(where.kind == OPERAND_IMMEDIATE ? instruction->immediate : run->gpr[RDX]);
    uint32_t size = instruction->operand_size;
    uint64_t value = 0;
    int result = 0;

    if (!port_allowed(run, port, size))
        return raise_exception(run, GUEST_GP, true);
    if (emulation->port_data_size < size)
        return EMULATE_FAILED;
    if (!emulation->port_complete) {
        if (!in)
            __builtin_memcpy(emulation->port_data, &run->gpr[RAX], size);
        result = in ? port_in(run, port, size, 1) : port_out(run, port, size, 1);
        if (result)
            return result;
    }
    if (in) {
        __builtin_memcpy(&value, emulation->port_data, size);
        set_register(run, instruction->destination, value);
    }
    return 0;
}
