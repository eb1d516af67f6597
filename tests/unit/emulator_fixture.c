// SPDX-License-Identifier: BSD-2-Clause
// The machine of the emulator's tests.
#include "emulator_fixture.h"

#include <check.h>
#include <string.h>

uint8_t ram[DEVICE], vectors[16][32], port_page[4096];
int reads, writes, exchanges, fail_exchanges;
bool allowed;
struct kvm_segment segments[6];
struct emulation emulation;

static uint64_t gpr[16];

static int translate(void *context, uint64_t linear, unsigned access, uint64_t *gpa,
                     struct guest_exception *exception) {
    (void)context;
    if (linear >= UNMAPPED) {
        *exception = (struct guest_exception){.vector = GUEST_PF,
                                              .has_error_code = true,
                                              .error_code = access & GUEST_WRITE ? 2 : 0,
                                              .cr2 = linear};
        return -1;
    }
    *gpa = linear;
    return 0;
}

static enum emulated_access read_gpa(void *context, uint64_t gpa, void *data, uint32_t len) {
    (void)context;
    ck_assert_uint_le((gpa & 4095) + len, 4096);
    if (gpa >= DEVICE)
        return ACCESS_MMIO;
    reads++;
    memcpy(data, ram + gpa, len);
    return ACCESS_DONE;
}

static enum emulated_access write_gpa(void *context, uint64_t gpa, const void *data, uint32_t len) {
    (void)context;
    ck_assert_uint_le((gpa & 4095) + len, 4096);
    if (gpa >= DEVICE)
        return ACCESS_MMIO;
    writes++;
    memcpy(ram + gpa, data, len);
    return ACCESS_DONE;
}

static enum emulated_access exchange(void *context, uint64_t gpa, uint64_t old_value,
                                     uint64_t new_value, uint32_t len, bool *exchanged) {
    (void)context;
    if (gpa >= DEVICE)
        return ACCESS_MMIO;
    exchanges++;
    *exchanged = !fail_exchanges && memcmp(ram + gpa, &old_value, len) == 0;
    if (*exchanged)
        memcpy(ram + gpa, &new_value, len);
    else if (fail_exchanges)
        fail_exchanges--;
    return ACCESS_DONE;
}

static void segment(void *context, enum segment_register which, struct kvm_segment *value) {
    (void)context;
    *value = segments[which];
}

static void read_vector(void *context, unsigned which, void *data, uint32_t size) {
    (void)context;
    memcpy(data, vectors[which], size);
}

static void write_vector(void *context, unsigned which, const void *data, uint32_t size,
                         bool clear_upper) {
    (void)context;
    memcpy(vectors[which], data, size);
    if (clear_upper)
        memset(vectors[which] + size, 0, 32 - size);
}

static bool port_allowed(void *context, uint16_t port, uint32_t size) {
    (void)context;
    (void)port;
    (void)size;
    return allowed;
}

static const struct emulation_ops ops = {.translate = translate,
                                         .read = read_gpa,
                                         .write = write_gpa,
                                         .exchange = exchange,
                                         .segment = segment,
                                         .read_vector = read_vector,
                                         .write_vector = write_vector,
                                         .port_allowed = port_allowed};

void start_bytes(enum code_mode mode, const uint8_t *bytes, uint32_t length) {
    for (unsigned i = 0; i < 6; i++)
        segments[i] = (struct kvm_segment){.limit = 0xffffffff,
                                           .type = i == SEG_CS ? 11 : 3,
                                           .db = mode == CODE_32,
                                           .present = 1,
                                           .selector = (uint16_t)(8 * i)};
    memset(&emulation, 0, sizeof emulation);
    emulation.ops = &ops;
    emulation.rip = 0x1000;
    emulation.rflags = 2;
    emulation.cr0 = 0x80000001;
    emulation.cr4 = 0x40200;
    emulation.gpr = gpr;
    emulation.port_data = port_page;
    emulation.port_data_size = sizeof port_page;
    for (unsigned i = 0; i < 16; i++)
        emulation.gpr[i] = 0x1111111111111111ull * i;
    reads = writes = exchanges = fail_exchanges = 0;
    allowed = true;
    ck_assert_int_eq(decode(bytes, length, mode, &emulation.instruction), DECODED);
    emulate_begin(&emulation);
}
