// SPDX-License-Identifier: BSD-2-Clause
// Checked access to user memory over the raw copies of arch/x86/mm.
#include "core/mm/user_copy.h"
#include <asm/errno.h>
#include <stdbool.h>
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/user_access.h"
#include "core/mm/address_space.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"
#include "core/string.h"

enum { CHUNK = 64 << 10 }; // bytes between two preemption points

static bool in_user_range(uint64_t address, size_t size) {
    return size <= USER_END && address <= USER_END - size;
}

static bool is_aligned(uint64_t address, unsigned size) {
    return (address & (size - 1)) == 0;
}

static void *user_pointer(uint64_t address) {
    return (void *)(uintptr_t)address;
}

static int copy_chunks(char *to, const char *from, size_t size) {
    while (size > CHUNK) {
        if (user_access_copy(to, from, CHUNK))
            return -EFAULT;
        to += CHUNK;
        from += CHUNK;
        size -= CHUNK;
        thread_preemption_point();
    }
    return user_access_copy(to, from, size) ? -EFAULT : 0;
}

int copy_from_user(void *to, uint64_t from, size_t size) {
    return in_user_range(from, size) ? copy_chunks(to, user_pointer(from), size) : -EFAULT;
}

int copy_to_user(uint64_t to, const void *from, size_t size) {
    return in_user_range(to, size) ? copy_chunks(user_pointer(to), from, size) : -EFAULT;
}

int clear_user(uint64_t to, size_t size) {
    if (!in_user_range(to, size))
        return -EFAULT;
    while (size > CHUNK) {
        if (user_access_clear(user_pointer(to), CHUNK))
            return -EFAULT;
        to += CHUNK;
        size -= CHUNK;
        thread_preemption_point();
    }
    return user_access_clear(user_pointer(to), size) ? -EFAULT : 0;
}

int copy_struct_from_user(void *to, size_t known, uint64_t from, uint64_t size) {
    if (size > PAGE_SIZE)
        return -E2BIG;
    for (uint64_t at = known; at < size; at++) {
        uint8_t byte;
        if (copy_from_user(&byte, from + at, 1))
            return -EFAULT;
        if (byte)
            return -E2BIG;
    }
    memset(to, 0, known);
    return copy_from_user(to, from, size < known ? size : known);
}

int64_t copy_string_from_user(char *to, uint64_t from, size_t size) {
    if (from >= USER_END)
        return -EFAULT;
    uint64_t room = USER_END - from;
    size_t most = size < room ? size : room;
    int64_t length = user_access_string(to, user_pointer(from), most);
    if (length < 0)
        return -EFAULT;
    if ((uint64_t)length < most)
        return length;
    return most == size ? -ENAMETOOLONG : -EFAULT;
}

int user_load_32(uint32_t *value, uint64_t from) {
    if (!in_user_range(from, sizeof *value) || !is_aligned(from, sizeof *value))
        return -EFAULT;
    return user_access_load_32(value, user_pointer(from)) ? -EFAULT : 0;
}

int user_store_32(uint64_t to, uint32_t value) {
    if (!in_user_range(to, sizeof value))
        return -EFAULT;
    return user_access_store_32(user_pointer(to), value) ? -EFAULT : 0;
}

int user_store_64(uint64_t to, uint64_t value) {
    if (!in_user_range(to, sizeof value))
        return -EFAULT;
    return user_access_store_64(user_pointer(to), value) ? -EFAULT : 0;
}

int user_compare_exchange_64(uint64_t address, uint64_t expected, uint64_t replacement,
                             uint64_t *old, unsigned size) {
    if (!in_user_range(address, size) || !is_aligned(address, size))
        return -EFAULT;
    *old = expected;
    return user_access_compare_exchange(user_pointer(address), old, replacement, size) ? -EFAULT
                                                                                       : 0;
}

// The page-fault handler resolves what belongs to the CPU's address space.
void user_faults_off(struct user_faults *saved) {
    struct cpu *cpu = this_cpu();
    saved->space = cpu->space;
    saved->cr2 = read_cr2(); // may be a guest's
    cpu->space = NULL;
}

void user_faults_on(const struct user_faults *saved) {
    this_cpu()->space = saved->space;
    if (read_cr2() != saved->cr2)
        write_cr2(saved->cr2);
}
