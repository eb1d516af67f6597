// SPDX-License-Identifier: BSD-2-Clause
// Runs a decoded instruction: each run starts from the beginning, and takes reads that were
// answered from the log (emulator_memory.c).
#include "emulator_internal.h"

// REP iterations a call: keeps interrupts' latency bounded.
#define MAX_ITERATIONS 256
#define MAX_RETRIES    16

// -- registers --

uint64_t get_register(const struct run *run, struct operand operand) {
    uint64_t value = run->gpr[operand.reg];

    if (operand.high_byte)
        value >>= 8;
    return value & size_mask(operand.size);
}

void set_gpr(struct run *run, unsigned reg, uint64_t value, unsigned size) {
    uint64_t old = run->gpr[reg];

    run->undo[run->changes].reg = reg;
    run->undo[run->changes++].old = old;
    if (size == 4) // a 32-bit result clears the upper half
        run->gpr[reg] = (uint32_t)value;
    else
        run->gpr[reg] = (old & ~size_mask(size)) | (value & size_mask(size));
}

void set_register(struct run *run, struct operand operand, uint64_t value) {
    if (operand.high_byte)
        set_gpr(run, operand.reg, (run->gpr[operand.reg] & 0xff) | (value & 0xff) << 8, 2);
    else
        set_gpr(run, operand.reg, value, operand.size);
}

static void set_rip(struct run *run, uint64_t rip) {
    static const uint64_t masks[] = {
        [CODE_16] = 0xffff, [CODE_32] = 0xffffffff, [CODE_64] = UINT64_MAX};
    run->rip = rip & masks[run->instruction->mode];
}

// -- operands --

static int memory_operand(struct run *run, uint32_t size, bool write, uint64_t *linear) {
    return linear_address(run, run->instruction->segment, effective_address(run), size, write,
                          linear);
}

static int read_operand(struct run *run, struct operand operand, uint64_t *value) {
    uint64_t linear;
    int result;

    *value = 0;
    switch (operand.kind) {
    case OPERAND_REGISTER:
        *value = get_register(run, operand);
        return 0;
    case OPERAND_IMMEDIATE:
        *value = run->instruction->immediate;
        return 0;
    case OPERAND_SEGMENT:
        *value = segment_of(run, operand.reg).selector;
        return 0;
    case OPERAND_MEMORY:
        result = memory_operand(run, operand.size, false, &linear);
        return result ? result : read_memory(run, linear, value, operand.size);
    default:
        return EMULATE_FAILED;
    }
}

static int write_operand(struct run *run, struct operand operand, uint64_t value) {
    uint64_t linear;
    int result;

    if (operand.kind == OPERAND_REGISTER) {
        set_register(run, operand, value);
        return 0;
    }
    if (operand.kind != OPERAND_MEMORY)
        return EMULATE_FAILED;
    result = memory_operand(run, operand.size, true, &linear);
    return result ? result : write_memory(run, linear, &value, operand.size);
}

// -- operations --

// Flat: nearly all that drivers do with devices is this.
static __attribute__((flatten)) int run_move(struct run *run) {
    uint64_t value;
    int result;

    if (run->instruction->source.kind == OPERAND_REGISTER)
        return write_operand(run, run->instruction->destination,
                             get_register(run, run->instruction->source));
    result = read_operand(run, run->instruction->source, &value);
    return result ? result : write_operand(run, run->instruction->destination, value);
}

static int run_move_signed(struct run *run) {
    unsigned shift = 64 - 8 * run->instruction->source.size;
    uint64_t value;
    int result = read_operand(run, run->instruction->source, &value);

    if (result)
        return result;
    value = (uint64_t)((int64_t)(value << shift) >> shift);
    return write_operand(run, run->instruction->destination, value);
}

static int run_move_swapped(struct run *run) {
    unsigned size = run->instruction->operand_size;
    uint64_t value;
    int result = read_operand(run, run->instruction->source, &value);

    if (result)
        return result;
    return write_operand(run, run->instruction->destination,
                         __builtin_bswap64(value) >> (64 - 8 * size));
}

static int run_conditional_move(struct run *run) {
    uint64_t value;
    int result = read_operand(run, run->instruction->source, &value);

    if (result)
        return result;
    // A false condition still clears the upper half of a 32-bit destination.
    if (!condition_holds(run->instruction->condition, run->rflags))
        value = get_register(run, run->instruction->destination);
    return write_operand(run, run->instruction->destination, value);
}

static int run_set_condition(struct run *run) {
    return write_operand(run, run->instruction->destination,
                         condition_holds(run->instruction->condition, run->rflags));
}

// CMP, TEST, BT: no result.
static int run_compare(struct run *run) {
    uint64_t a, b;
    int result = read_operand(run, run->instruction->destination, &a);

    if (result == 0)
        result = read_operand(run, run->instruction->source, &b);
    if (result)
        return result;
    alu(run->instruction->operation, a, b, run->instruction->destination.size, &run->rflags);
    return 0;
}

// A bit string in memory: a register's offset reaches beyond the operand (SDM vol. 2 BT).
static uint64_t bit_displacement(const struct run *run) {
    const struct instruction *instruction = run->instruction;
    unsigned size = instruction->operand_size, shift = 64 - 8 * size;
    int64_t bit;

    if (instruction->operation < OP_BT || instruction->operation > OP_BTC ||
        instruction->source.kind != OPERAND_REGISTER)
        return 0;
    bit = (int64_t)(get_register(run, instruction->source) << shift) >> shift;
    return (uint64_t)((bit >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size);
}

// The destination's new value; source, RAX and flags change with it.
static uint64_t modify(struct run *run, uint64_t old, uint64_t operand, unsigned size) {
    const struct instruction *instruction = run->instruction;
    uint64_t value;

    switch (instruction->operation) {
    case OP_XCHG:
        set_register(run, instruction->source, old);
        return operand;
    case OP_XADD:
        value = alu(OP_XADD, old, operand, size, &run->rflags);
        set_register(run, instruction->source, old);
        return value;
    case OP_CMPXCHG:
        alu(OP_CMP, run->gpr[RAX], old, size, &run->rflags);
        if (run->rflags & FLAG_ZF)
            return operand;
        set_gpr(run, RAX, old, size);
        return old; // the destination is written in either case
    default:
        return alu(instruction->operation, old, operand, size, &run->rflags);
    }
}

static int modify_memory(struct run *run, bool write) {
    const struct instruction *instruction = run->instruction;
    unsigned size = instruction->destination.size;
    uint64_t offset =
        (effective_address(run) + bit_displacement(run)) & size_mask(instruction->address_size);
    uint64_t linear, old = 0, operand = 0, value;
    bool locked = instruction->lock || instruction->operation == OP_XCHG;
    int result = linear_address(run, instruction->segment, offset, size, write, &linear);

    if (result == 0 && write)
        result = check_write(run, linear, size);
    if (result == 0)
        result = read_memory(run, linear, &old, size);
    if (result == 0 && instruction->source.kind != OPERAND_NONE)
        result = read_operand(run, instruction->source, &operand);
    if (result)
        return result;
    value = modify(run, old, operand, size);
    if (!write)
        return 0;
    return locked ? exchange_memory(run, linear, old, value, size)
                  : write_memory(run, linear, &value, size);
}

static int modify_register(struct run *run) {
    const struct instruction *instruction = run->instruction;
    struct operand to = instruction->destination;
    uint64_t old = get_register(run, to), operand = 0;
    int result = 0;

    if (instruction->source.kind != OPERAND_NONE)
        result = read_operand(run, instruction->source, &operand);
    if (result)
        return result;
    set_register(run, to, modify(run, old, operand, to.size));
    return 0;
}

static int run_modify(struct run *run) {
    return run->instruction->destination.kind == OPERAND_MEMORY ? modify_memory(run, true)
                                                                : modify_register(run);
}

static int run_bit_test(struct run *run) {
    return run->instruction->destination.kind == OPERAND_MEMORY ? modify_memory(run, false)
                                                                : run_compare(run);
}

static unsigned stack_address_size(struct run *run) {
    if (run->instruction->mode == CODE_64)
        return 8;
    return segment_of(run, SEG_SS).db ? 4 : 2;
}

static int push(struct run *run, uint64_t value, unsigned size) {
    unsigned width = stack_address_size(run);
    uint64_t top = (run->gpr[RSP] - size) & size_mask(width), linear;
    int result = linear_address(run, SEG_SS, top, size, true, &linear);

    if (result == 0)
        result = write_memory(run, linear, &value, size);
    if (result == 0)
        set_gpr(run, RSP, top, width);
    return result;
}

static int run_push(struct run *run) {
    uint64_t value;
    int result = read_operand(run, run->instruction->source, &value);

    return result ? result : push(run, value, run->instruction->operand_size);
}

static int run_pop(struct run *run) {
    unsigned size = run->instruction->destination.size, width = stack_address_size(run);
    uint64_t linear, value = 0;
    int result =
        linear_address(run, SEG_SS, run->gpr[RSP] & size_mask(width), size, false, &linear);

    if (result == 0)
        result = read_memory(run, linear, &value, size);
    if (result)
        return result;
    // Before the destination's address, which may be by RSP (SDM vol. 2 POP).
    set_gpr(run, RSP, run->gpr[RSP] + size, width);
    return write_operand(run, run->instruction->destination, value);
}

static int run_branch(struct run *run) {
    unsigned size = run->instruction->operand_size;
    uint64_t target, back = run->rip;
    int result = read_operand(run, run->instruction->source, &target);

    if (result)
        return result;
    if (run->instruction->mode == CODE_64) {
        unsigned shift = run->emulation->cr4 & CR4_LA57 ? 7 : 16;
        if ((uint64_t)((int64_t)(target << shift) >> shift) != target)
            return raise_exception(run, GUEST_GP, true);
    }
    set_rip(run, target & size_mask(size));
    return run->instruction->operation == OP_CALL ? push(run, back, size) : 0;
}

static int vector_unavailable(struct run *run) {
    const struct emulation *emulation = run->emulation;

    if (run->instruction->vex ? !(emulation->cr4 & CR4_OSXSAVE)
                              : (emulation->cr0 & CR0_EM) || !(emulation->cr4 & CR4_OSFXSR))
        return raise_exception(run, GUEST_UD, false);
    if (emulation->cr0 & CR0_TS)
        return raise_exception(run, GUEST_NM, false);
    return 0;
}

static int run_vector(struct run *run) {
    const struct instruction *instruction = run->instruction;
    const struct emulation_ops *ops = run->emulation->ops;
    void *context = run->emulation->context;
    bool load = instruction->destination.kind == OPERAND_VECTOR;
    uint32_t size = instruction->operand_size, whole = size > 16 ? 32 : 16;
    uint8_t data[32] = {0};
    uint64_t linear;
    int result = vector_unavailable(run);

    if (result == 0)
        result = memory_operand(run, size, !load, &linear);
    if (result)
        return result;
    if (instruction->aligned && (linear & (size - 1)))
        return raise_exception(run, GUEST_GP, true);
    if (!load) {
        ops->read_vector(context, instruction->source.reg, data, whole);
        return write_memory(run, linear, data + instruction->vector_offset, size);
    }
    if (instruction->partial)
        ops->read_vector(context, instruction->destination.reg, data, whole);
    result = read_memory(run, linear, data + instruction->vector_offset, size);
    if (result == 0)
        ops->write_vector(context, instruction->destination.reg, data, whole, instruction->vex);
    return result;
}

static int run_nothing(struct run *run) {
    return 0;
}

static int (*const operations[OP_COUNT])(struct run *run) = {
    [OP_ADD] = run_modify,
    [OP_OR] = run_modify,
    [OP_ADC] = run_modify,
    [OP_SBB] = run_modify,
    [OP_AND] = run_modify,
    [OP_SUB] = run_modify,
    [OP_XOR] = run_modify,
    [OP_CMP] = run_compare,
    [OP_MOV] = run_move,
    [OP_MOVZX] = run_move,
    [OP_MOVSX] = run_move_signed,
    [OP_TEST] = run_compare,
    [OP_XCHG] = run_modify,
    [OP_XADD] = run_modify,
    [OP_CMPXCHG] = run_modify,
    [OP_NOT] = run_modify,
    [OP_NEG] = run_modify,
    [OP_INC] = run_modify,
    [OP_DEC] = run_modify,
    [OP_BT] = run_bit_test,
    [OP_BTS] = run_modify,
    [OP_BTR] = run_modify,
    [OP_BTC] = run_modify,
    [OP_ROL] = run_modify,
    [OP_ROR] = run_modify,
    [OP_RCL] = run_modify,
    [OP_RCR] = run_modify,
    [OP_SHL] = run_modify,
    [OP_SHR] = run_modify,
    [OP_SAR] = run_modify,
    [OP_PUSH] = run_push,
    [OP_POP] = run_pop,
    [OP_MOVS] = run_string,
    [OP_STOS] = run_string,
    [OP_LODS] = run_string,
    [OP_CMPS] = run_string,
    [OP_SCAS] = run_string,
    [OP_INS] = run_port_string,
    [OP_OUTS] = run_port_string,
    [OP_IN] = run_port,
    [OP_OUT] = run_port,
    [OP_SETCC] = run_set_condition,
    [OP_CMOVCC] = run_conditional_move,
    [OP_MOVBE] = run_move_swapped,
    [OP_MOVNTI] = run_move,
    [OP_MOV_VECTOR] = run_vector,
    [OP_NOP] = run_nothing,
    [OP_CALL] = run_branch,
    [OP_JMP] = run_branch,
    [OP_MOV_SEGMENT] = run_move,
};

// -- the machine --

static void begin_run(struct emulation *emulation, struct run *run) {
    run->emulation = emulation;
    run->instruction = &emulation->instruction;
    run->gpr = emulation->gpr;
    run->rflags = emulation->rflags;
    run->repeats = false;
    run->elements = 0;
    run->changes = 0;
    set_rip(run, emulation->rip + emulation->instruction.length);
    emulation->read_cursor = 0;
    emulation->write_cursor = 0;
}

static void forget(struct emulation *emulation) {
    emulation->reads = 0;
    emulation->writes_done = 0;
    emulation->port_complete = false;
}

static void roll_back(struct run *run) {
    while (run->changes--)
        run->gpr[run->undo[run->changes].reg] = run->undo[run->changes].old;
}

static void commit(const struct run *run) {
    struct emulation *emulation = run->emulation;

    emulation->rflags = run->rflags;
    if (!run->repeats)
        emulation->rip = run->rip;
    forget(emulation);
}

// What user space has done since the last step.
static void take_answer(struct emulation *emulation) {
    struct emulated_read *entry = &emulation->read_log[emulation->reads];

    switch (emulation->waiting) {
    case EMULATE_MMIO_READ:
        __builtin_memcpy(entry->data, emulation->mmio.data, entry->len);
        emulation->reads++;
        break;
    case EMULATE_MMIO_WRITE:
        emulation->writes_done++;
        break;
    case EMULATE_PORT_IN:
    case EMULATE_PORT_OUT:
        emulation->port_complete = true;
        break;
    }
    emulation->waiting = EMULATE_DONE;
}

void emulate_begin(struct emulation *emulation) {
    forget(emulation);
    emulation->waiting = EMULATE_DONE;
    emulation->complete = emulation->posted = false;
}

enum emulate_result emulate_step(struct emulation *emulation) {
    int (*operation)(struct run * run) = operations[emulation->instruction.operation];
    unsigned retries = 0;
    struct run run;

    if (!operation)
        return EMULATE_FAILED;
    if (emulation->complete)
        return EMULATE_DONE;
    take_answer(emulation);
    for (unsigned iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
        begin_run(emulation, &run);
        int result = operation(&run);
        bool posted = emulation->posted;
        emulation->posted = false;
        if (result) {
            roll_back(&run);
            if (posted) // whatever came after the write comes again when it is done
                result = EMULATE_MMIO_WRITE;
        }
        if (result == EMULATE_AGAIN) {
            forget(emulation);
            if (++retries < MAX_RETRIES)
                continue;
            return EMULATE_DONE; // rip has not moved: the guest comes again
        }
        if (result) {
            emulation->waiting = (uint8_t)result;
            return (enum emulate_result)result;
        }
        commit(&run);
        bool ends = !run.repeats || emulation->single_step;
        iteration += run.elements; // each is as long as an iteration
        emulation->complete = posted && ends;
        if (posted)
            return EMULATE_MMIO_WRITE;
        if (ends)
            return EMULATE_DONE;
    }
    return EMULATE_DONE;
}
