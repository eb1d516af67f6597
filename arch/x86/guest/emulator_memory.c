// SPDX-License-Identifier: BSD-2-Clause
// The emulator's accesses: segmentation checks, pieces by page and by 8 bytes, and the log that
// makes an instruction that waits for user space start again without reading anything twice.
#include "emulator_internal.h"

#define PIECE 8u

int raise_exception(struct run *run, uint8_t vector, bool has_error_code) {
    run->emulation->exception =
        (struct guest_exception){.vector = vector, .has_error_code = has_error_code};
    return EMULATE_EXCEPTION;
}

struct kvm_segment segment_of(const struct run *run, enum segment_register which) {
    struct kvm_segment segment = {0};

    run->emulation->ops->segment(run->emulation->context, which, &segment);
    return segment;
}

static int segment_fault(struct run *run, enum segment_register segment) {
    return raise_exception(run, segment == SEG_SS ? GUEST_SS : GUEST_GP, true);
}

static bool canonical(const struct run *run, uint64_t first, uint64_t last) {
    unsigned shift = run->emulation->cr4 & CR4_LA57 ? 56 : 47;
    int64_t half = (int64_t)first >> shift;
    return (half == 0 || half == -1) && (int64_t)last >> shift == half;
}

static bool within_limit(const struct kvm_segment *segment, uint64_t offset, uint32_t size) {
    uint64_t last = offset + size - 1;
    bool expand_down = (segment->type & 0xc) == 4;

    if (!expand_down)
        return last <= segment->limit;
    return offset > segment->limit && last <= (segment->db ? 0xffffffffull : 0xffffull);
}

// Outside 64-bit code. Out of line, so that the way without is short.
static __attribute__((noinline)) int segmented_address(struct run *run, enum segment_register which,
                                                       uint64_t offset, uint32_t size, bool write,
                                                       uint64_t *linear) {
    const struct emulation *emulation = run->emulation;
    struct kvm_segment segment = segment_of(run, which);

    if ((emulation->cr0 & CR0_PE) && !(emulation->rflags & FLAG_VM)) {
        bool code = segment.type & 8, readable_or_writable = segment.type & 2;
        if (segment.unusable)
            return segment_fault(run, which);
        if (write ? code || !readable_or_writable : code && !readable_or_writable)
            return segment_fault(run, which);
    }
    if (!within_limit(&segment, offset, size))
        return segment_fault(run, which);
    *linear = (segment.base + offset) & 0xffffffff;
    return 0;
}

int linear_address(struct run *run, enum segment_register which, uint64_t offset, uint32_t size,
                   bool write, uint64_t *linear) {
    if (run->instruction->mode != CODE_64)
        return segmented_address(run, which, offset, size, write, linear);
    if (which == SEG_FS || which == SEG_GS)
        offset += segment_of(run, which).base;
    *linear = offset;
    return canonical(run, offset, offset + size - 1) ? 0 : segment_fault(run, which);
}

uint64_t effective_address(const struct run *run) {
    const struct instruction *instruction = run->instruction;
    uint64_t address = (uint64_t)instruction->displacement;

    if (instruction->base == DECODED_BASE_RIP)
        address += run->emulation->rip + instruction->length;
    else if (instruction->base >= 0)
        address += run->gpr[instruction->base];
    if (instruction->index >= 0)
        address += run->gpr[instruction->index] * instruction->scale;
    return address & size_mask(instruction->address_size);
}

static uint32_t piece_at(uint64_t linear, uint32_t size) {
    uint32_t to_page_end = 4096 - (uint32_t)(linear & 4095);
    uint32_t piece = size < PIECE ? size : PIECE;

    return piece < to_page_end ? piece : to_page_end;
}

static uint64_t wrap(const struct run *run, uint64_t linear) {
    return run->instruction->mode == CODE_64 ? linear : linear & 0xffffffff;
}

static int translate(struct run *run, uint64_t linear, unsigned access, uint64_t *gpa) {
    struct emulation *emulation = run->emulation;

    if (emulation->ops->translate(emulation->context, wrap(run, linear), access, gpa,
                                  &emulation->exception))
        return EMULATE_EXCEPTION;
    return 0;
}

// Both pages of an access before either is touched.
static int check_pages(struct run *run, uint64_t linear, uint32_t size, unsigned access) {
    uint64_t gpa;
    int result = translate(run, linear, access, &gpa);

    if (result == 0 && (linear & 4095) + size > 4096)
        result = translate(run, (linear | 4095) + 1, access, &gpa);
    return result;
}

int check_write(struct run *run, uint64_t linear, uint32_t size) {
    struct emulation *emulation = run->emulation;

    // On a later run the first has checked it.
    if (emulation->reads || emulation->writes_done)
        return 0;
    return check_pages(run, linear, size, GUEST_WRITE);
}

static int read_piece(struct run *run, uint64_t linear, uint8_t *data, uint32_t size) {
    struct emulation *emulation = run->emulation;
    struct emulated_read *entry;
    uint64_t gpa;
    int result;

    if (emulation->read_cursor < emulation->reads) {
        __builtin_memcpy(data, emulation->read_log[emulation->read_cursor++].data, size);
        return 0;
    }
    if (emulation->posted)
        return EMULATE_MMIO_WRITE;
    if (emulation->reads == EMULATION_READS)
        return EMULATE_FAILED;
    result = translate(run, linear, GUEST_READ, &gpa);
    if (result)
        return result;
    entry = &emulation->read_log[emulation->reads];
    *entry = (struct emulated_read){.gpa = gpa, .len = (uint8_t)size};
    switch (emulation->ops->read(emulation->context, gpa, entry->data, size)) {
    case ACCESS_DONE:
        emulation->reads++;
        emulation->read_cursor++;
        __builtin_memcpy(data, entry->data, size);
        return 0;
    case ACCESS_MMIO:
        emulation->mmio.gpa = gpa;
        emulation->mmio.len = size;
        return EMULATE_MMIO_READ;
    default:
        return EMULATE_FAILED;
    }
}

bool plain_access(struct run *run, uint64_t linear, void *data, uint32_t size, bool write) {
    const struct emulation_ops *ops = run->emulation->ops;
    void *context = run->emulation->context;
    uint64_t gpa;

    if ((linear & 4095) + size > 4096 ||
        translate(run, linear, write ? GUEST_WRITE : GUEST_READ, &gpa))
        return false;
    return (write ? ops->write(context, gpa, data, size) : ops->read(context, gpa, data, size)) ==
           ACCESS_DONE;
}

static int write_piece(struct run *run, uint64_t linear, const uint8_t *data, uint32_t size) {
    struct emulation *emulation = run->emulation;
    uint64_t gpa;
    int result;

    if (emulation->write_cursor < emulation->writes_done) {
        emulation->write_cursor++;
        return 0;
    }
    if (emulation->posted)
        return EMULATE_MMIO_WRITE;
    result = translate(run, linear, GUEST_WRITE, &gpa);
    if (result)
        return result;
    switch (emulation->ops->write(emulation->context, gpa, data, size)) {
    case ACCESS_DONE:
        emulation->writes_done++;
        emulation->write_cursor++;
        return 0;
    case ACCESS_MMIO:
        // Most often the last that the instruction does: it goes on as if this were done.
        emulation->posted = true;
        emulation->mmio.gpa = gpa;
        emulation->mmio.len = size;
        __builtin_memset(emulation->mmio.data, 0, sizeof emulation->mmio.data);
        __builtin_memcpy(emulation->mmio.data, data, size);
        return 0;
    default:
        return EMULATE_FAILED;
    }
}

// Both pages are looked at before the first piece is touched.
static int access_memory(struct run *run, uint64_t linear, uint8_t *bytes, uint32_t size,
                         bool write) {
    const struct emulation *emulation = run->emulation;
    bool first = write ? emulation->write_cursor == emulation->writes_done
                       : emulation->read_cursor == emulation->reads;
    int result = 0;

    if (first && (linear & 4095) + size > 4096)
        result = check_pages(run, linear, size, write ? GUEST_WRITE : GUEST_READ);
    while (size && !result) {
        uint32_t piece = piece_at(linear, size);
        result =
            write ? write_piece(run, linear, bytes, piece) : read_piece(run, linear, bytes, piece);
        linear += piece;
        bytes += piece;
        size -= piece;
    }
    return result;
}

int read_memory(struct run *run, uint64_t linear, void *data, uint32_t size) {
    return piece_at(linear, size) == size ? read_piece(run, linear, data, size)
                                          : access_memory(run, linear, data, size, false);
}

int write_memory(struct run *run, uint64_t linear, const void *data, uint32_t size) {
    return piece_at(linear, size) == size
               ? write_piece(run, linear, data, size)
               : access_memory(run, linear, (uint8_t *)(uintptr_t)data, size, true);
}

int exchange_memory(struct run *run, uint64_t linear, uint64_t old_value, uint64_t value,
                    uint32_t size) {
    struct emulation *emulation = run->emulation;
    bool exchanged = false;
    uint64_t gpa;
    int result;

    // An operand across 8 bytes (a split lock) loses its atomicity here, as it does in KVM.
    if (!emulation->ops->exchange || (linear & (size - 1)) || emulation->writes_done)
        return write_memory(run, linear, &value, size);
    result = translate(run, linear, GUEST_WRITE, &gpa);
    if (result)
        return result;
    switch (emulation->ops->exchange(emulation->context, gpa, old_value, value, size, &exchanged)) {
    case ACCESS_DONE:
        return exchanged ? 0 : EMULATE_AGAIN;
    case ACCESS_MMIO:
        return write_memory(run, linear, &value, size);
    default:
        return EMULATE_FAILED;
    }
}
