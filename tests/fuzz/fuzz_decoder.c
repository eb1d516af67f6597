// SPDX-License-Identifier: BSD-2-Clause
// Decoder and emulator on arbitrary instructions, memory and device answers.
// Sources: arch/x86/guest/emulator.c arch/x86/guest/emulator_alu.c
// Sources: arch/x86/guest/emulator_memory.c arch/x86/guest/emulator_string.c
// Sources: arch/x86/guest/decoder.c arch/x86/guest/decoder_opcodes.c
#include <stdlib.h>
#include <string.h>
#include "arch/x86/guest/emulator.h"

#define RAM      0x4000u
#define DEVICE   0x8000u // RAM to here wraps around; from here to UNMAPPED user space answers
#define UNMAPPED 0xc000u
#define PORTS    64u // bytes of port data: as many may be one access to memory (REP INS and OUTS)

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct machine {
    const uint8_t *input;
    size_t left;
    uint8_t ram[RAM];
    uint8_t vectors[16][32];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t next(struct machine *machine) {
    if (machine->left == 0)
        return 0;
    machine->left--;
    return *machine->input++;
}

static int translate(void *context, uint64_t linear, unsigned access, uint64_t *gpa,
                     struct guest_exception *exception) {
    (void)context;
    (void)access;
    *gpa = linear & 0xffff;
    if (*gpa < UNMAPPED)
        return 0;
    *exception = (struct guest_exception){.vector = GUEST_PF, .has_error_code = true};
    return -1;
}

static enum emulated_access read_gpa(void *context, uint64_t gpa, void *data, uint32_t len) {
    struct machine *machine = context;
    REQUIRE(len >= 1 && len <= PORTS && (gpa & 4095) + len <= 4096);
    if (gpa >= DEVICE)
        return ACCESS_MMIO;
    memcpy(data, machine->ram + gpa % RAM, len);
    return ACCESS_DONE;
}

static enum emulated_access write_gpa(void *context, uint64_t gpa, const void *data, uint32_t len) {
    struct machine *machine = context;
    REQUIRE(len >= 1 && len <= PORTS && (gpa & 4095) + len <= 4096);
    if (gpa >= DEVICE)
        return ACCESS_MMIO;
    memcpy(machine->ram + gpa % RAM, data, len);
    return ACCESS_DONE;
}

static enum emulated_access exchange(void *context, uint64_t gpa, uint64_t old_value,
                                     uint64_t new_value, uint32_t len, bool *exchanged) {
    (void)old_value;
    *exchanged = next(context) & 1;
    return *exchanged      ? write_gpa(context, gpa, &new_value, len)
           : gpa >= DEVICE ? ACCESS_MMIO
                           : ACCESS_DONE;
}

static void segment(void *context, enum segment_register which, struct kvm_segment *value) {
    REQUIRE(which <= SEG_GS);
    (void)context;
    *value = (struct kvm_segment){.limit = 0xfffff, .type = which == SEG_CS ? 11 : 3, .db = 1};
}

static void read_vector(void *context, unsigned which, void *data, uint32_t size) {
    struct machine *machine = context;
    REQUIRE(which < 16 && (size == 16 || size == 32));
    memcpy(data, machine->vectors[which], size);
}

static void write_vector(void *context, unsigned which, const void *data, uint32_t size,
                         bool clear_upper) {
    struct machine *machine = context;
    (void)clear_upper;
    REQUIRE(which < 16 && (size == 16 || size == 32));
    memcpy(machine->vectors[which], data, size);
}

static const struct emulation_ops ops = {.translate = translate,
                                         .read = read_gpa,
                                         .write = write_gpa,
                                         .exchange = exchange,
                                         .segment = segment,
                                         .read_vector = read_vector,
                                         .write_vector = write_vector};

static void check_decoding(const uint8_t *bytes, uint32_t length, enum code_mode mode,
                           const struct instruction *instruction) {
    struct instruction again;

    REQUIRE(instruction->length >= 1 && instruction->length <= length &&
            instruction->length <= INSTRUCTION_MAX);
    REQUIRE(instruction->operation > OP_NONE && instruction->operation < OP_COUNT);
    REQUIRE(instruction->base <= DECODED_BASE_RIP && instruction->index < 16);
    // The bytes of the instruction alone say the same; one fewer does not.
    REQUIRE(decode(bytes, instruction->length, mode, &again) == DECODED);
    REQUIRE(memcmp(&again, instruction, sizeof again) == 0);
    REQUIRE(decode(bytes, instruction->length - 1u, mode, &again) == DECODE_TRUNCATED);
}

static void run(struct emulation *emulation, struct machine *machine) {
    emulate_begin(emulation);
    for (unsigned steps = 0; steps < 64; steps++) {
        uint64_t gpr[16], rip = emulation->rip;
        memcpy(gpr, emulation->gpr, sizeof gpr);
        bool repeated = emulation->instruction.repeat != REPEAT_NONE;
        switch (emulate_step(emulation)) {
        case EMULATE_MMIO_READ:
            REQUIRE(emulation->mmio.len >= 1 && emulation->mmio.len <= 8);
            for (unsigned i = 0; i < emulation->mmio.len; i++)
                emulation->mmio.data[i] = next(machine);
            break;
        case EMULATE_MMIO_WRITE:
            REQUIRE(emulation->mmio.len >= 1 && emulation->mmio.len <= 8);
            break;
        case EMULATE_PORT_IN:
            REQUIRE(emulation->port.count * emulation->port.size <= emulation->port_data_size);
            emulation->port_data[0] = next(machine);
            break;
        case EMULATE_PORT_OUT:
            REQUIRE(emulation->port.count * emulation->port.size <= emulation->port_data_size);
            break;
        default:
            return;
        }
        // While it waits nothing has changed, but for whole iterations of a REP.
        if (!repeated && !emulation->complete)
            REQUIRE(memcmp(gpr, emulation->gpr, sizeof gpr) == 0 && rip == emulation->rip);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct machine machine;
    static struct emulation emulation;
    static uint8_t port_page[PORTS];
    static uint64_t gpr[16];

    if (size < 4)
        return 0;
    enum code_mode mode = data[0] % 3;
    uint8_t length = data[1] % 17;
    uint8_t registers = data[2];
    data += 3;
    size -= 3;
    if (length > size)
        length = (uint8_t)size;
    uint8_t *bytes = malloc(length ? length : 1); // its own block: reading past it is seen
    memcpy(bytes, data, length);
    memset(&emulation, 0, sizeof emulation);
    if (decode(bytes, length, mode, &emulation.instruction) == DECODED) {
        check_decoding(bytes, length, mode, &emulation.instruction);
        memset(&machine, registers, sizeof machine);
        machine.input = data + length;
        machine.left = size - length;
        emulation.ops = &ops;
        emulation.context = &machine;
        emulation.cr0 = 1;
        emulation.cr4 = 0x40200;
        emulation.gpr = gpr;
        emulation.port_data = port_page;
        emulation.port_data_size = sizeof port_page;
        emulation.rflags = registers & 1 ? 0x402 : 2;
        for (unsigned i = 0; i < 16; i++)
            emulation.gpr[i] = (uint64_t)next(&machine) << 8 | next(&machine);
        run(&emulation, &machine);
    }
    free(bytes);
    return 0;
}
