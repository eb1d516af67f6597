// SPDX-License-Identifier: BSD-2-Clause
// The walk of a guest's page tables: any tables, registers, address and access.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/guest/guest_walk.h"

#define MEMORY 0x4000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t memory[MEMORY];
static unsigned accesses; // a guest must not make the walk go on for ever

static bool read_memory(void *context, uint64_t gpa, void *data, uint32_t len) {
    (void)context;
    if ((len != 4 && len != 8) || gpa % len || ++accesses > 1000)
        abort();
    if (gpa > MEMORY - len)
        return false;
    memcpy(data, memory + gpa, len);
    return true;
}

static bool exchange(void *context, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                     uint32_t len) {
    uint64_t now = 0;
    if (gpa > MEMORY - len || !read_memory(context, gpa, &now, len))
        return false;
    // Only accessed and dirty bits are set.
    if ((old_value & ~new_value) || ((old_value ^ new_value) & ~0x60ull))
        abort();
    if (now != old_value || accesses % 5 == 0)
        return false;
    memcpy(memory + gpa, &new_value, len);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct guest_walk_ops ops = {read_memory, exchange};
    struct guest_paging paging;
    struct guest_translation translation;
    struct guest_exception exception;
    uint64_t linear;

    if (size < sizeof paging + 10)
        return 0;
    memcpy(&paging, data, offsetof(struct guest_paging, gbpages));
    paging.gbpages = data[sizeof paging] & 1;
    paging.physical_bits = 32 + paging.physical_bits % 21;
    paging.cpl &= 3;
    paging.cr3 &= 0x3fff | 1ull << 63;
    memcpy(&linear, data + sizeof paging + 2, 8);
    unsigned access = data[sizeof paging + 1] & 31;
    if (access & GUEST_FETCH)
        access &= ~(unsigned)GUEST_WRITE;
    paging.cr0 = (uint32_t)paging.cr0;
    data += sizeof paging + 10;
    size -= sizeof paging + 10;
    // Entries of the tables, spread over the memory so that they may name one another.
    memset(memory, 0, sizeof memory);
    for (size_t i = 0; i < MEMORY / 8 && size; i++)
        memcpy(memory + 8 * i, data + 8 * i % (size < 8 ? 1 : size - 7), size < 8 ? 1 : 8);
    accesses = 0;
    if (guest_walk(&paging, &ops, NULL, linear, access, &translation, &exception) == 0) {
        uint64_t page = translation.page_size;
        if (page != 4096 && page != 1 << 21 && page != 1 << 22 && page != 1 << 30 &&
            page != 1ull << 32)
            abort();
        if (paging.cr0 >> 31 && (linear ^ translation.gpa) & 0xfff)
            abort();
        if (!(access & GUEST_NO_CHECK) && paging.cr0 >> 31 && access & GUEST_WRITE &&
            !translation.writable && paging.cpl == 3 && !(access & GUEST_IMPLICIT))
            abort();
    } else if (exception.vector != GUEST_PF) {
        abort();
    }
    return 0;
}
