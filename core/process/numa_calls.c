// SPDX-License-Identifier: BSD-2-Clause
// NUMA policies: set_mempolicy, get_mempolicy, mbind, and where a thread's pages come from.
#include <asm/errno.h>
#include <linux/mempolicy.h>
#include "arch/x86/cpu.h"
#include "core/mm/address_space.h"
#include "core/mm/numa.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"

struct numa_place numa_place_of_caller(void) {
    const struct thread *thread = thread_current();
    struct numa_policy policy = {0};
    uint64_t index = 0;
    if (thread && thread->process) {
        bool mapping = thread->fault_policy.mode != MPOL_DEFAULT;
        policy = mapping ? thread->fault_policy : thread->memory_policy;
        index = thread->fault_index;
    }
    return numa_policy_place(policy, index, this_cpu()->node);
}

void numa_fault_begin(struct numa_policy policy, uint64_t index) {
    struct thread *thread = thread_current();
    thread->fault_policy = policy;
    thread->fault_index = index;
}

void numa_fault_end(void) {
    thread_current()->fault_policy.mode = MPOL_DEFAULT;
}

// A user's mask of `bits - 1` bits, as Linux counts them. 0, -EFAULT, or -EINVAL: a node that is
// not there.
static int load_nodes(uint64_t address, uint64_t bits, uint64_t *nodes) {
    *nodes = 0;
    bits = address && bits ? bits - 1 : 0;
    if (bits > PAGE_SIZE * 8)
        return -EINVAL;
    for (uint64_t at = 0; at < bits; at += 64) {
        uint64_t word;
        if (copy_from_user(&word, address + at / 8, sizeof word))
            return -EFAULT;
        if (bits - at < 64)
            word &= (1ull << (bits - at)) - 1;
        if (at ? word : word >> numa_nodes())
            return -EINVAL;
        *nodes |= word;
    }
    return 0;
}

// As set_mempolicy(2) and mbind(2) check what they are given.
static int load_policy(uint64_t mode, uint64_t address, uint64_t bits, struct numa_policy *policy) {
    uint64_t nodes, flags = mode & MPOL_MODE_FLAGS & ~(uint64_t)MPOL_F_NUMA_BALANCING;
    int error = load_nodes(address, bits, &nodes);
    mode &= ~flags;
    if (error)
        return error;
    if (mode >= MPOL_MAX || flags == (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES))
        return -EINVAL;
    bool empty = mode == MPOL_DEFAULT || mode == MPOL_LOCAL;
    if (nodes ? empty : !empty && mode != MPOL_PREFERRED)
        return -EINVAL;
    if (mode == MPOL_PREFERRED && !nodes)
        mode = MPOL_LOCAL;
    *policy = (struct numa_policy){(uint8_t)mode, (uint16_t)nodes};
    return 0;
}

int64_t sys_set_mempolicy(const uint64_t *a) {
    struct numa_policy policy;
    int error = load_policy((uint32_t)a[0], a[1], a[2], &policy);
    if (!error)
        thread_current()->memory_policy = policy;
    return error;
}

static int store_nodes(uint64_t address, uint64_t bits, uint64_t nodes) {
    if (!address)
        return 0;
    if (bits - 1 < numa_nodes())
        return -EINVAL;
    uint64_t bytes = (bits - 1 + 63) / 64 * 8;
    if (bytes > sizeof nodes && clear_user(address + sizeof nodes, bytes - sizeof nodes))
        return -EFAULT;
    return copy_to_user(address, &nodes, sizeof nodes);
}

// The node of the page at an address, made present if need be, or -errno.
static int node_at(uint64_t address) {
    struct user_page page;
    int error = address_space_page(process_current()->space, address, ACCESS_READ, &page);
    if (error)
        return -EFAULT;
    return (int)numa_node_of(page.physical + (address & (page.size - 1)), NULL);
}

int64_t sys_get_mempolicy(const uint64_t *a) {
    uint64_t flags = a[4];
    struct numa_policy policy = thread_current()->memory_policy;
    int32_t mode;
    if (flags & ~(uint64_t)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
        return -EINVAL;
    if (flags & MPOL_F_MEMS_ALLOWED)
        return flags != MPOL_F_MEMS_ALLOWED ? -EINVAL
                                            : store_nodes(a[1], a[2], (1ull << numa_nodes()) - 1);
    if (!(flags & MPOL_F_ADDR) && a[3])
        return -EINVAL;
    if (flags & MPOL_F_ADDR) {
        int error = address_space_policy(process_current()->space, a[3], &policy);
        if (error)
            return error;
    }
    mode = policy.mode;
    if (flags & MPOL_F_NODE) {
        if (flags & MPOL_F_ADDR)
            mode = node_at(a[3]);
        else if (policy.mode == MPOL_INTERLEAVE)
            mode = (int32_t)numa_policy_place(policy, 0, 0).first;
        else
            return -EINVAL;
        if (mode < 0)
            return mode;
    }
    if (a[0] && copy_to_user(a[0], &mode, sizeof mode))
        return -EFAULT;
    return store_nodes(a[1], a[2], policy.nodes);
}

// Pages of objects that others map too move with MPOL_MF_MOVE as with MPOL_MF_MOVE_ALL; private
// ones that a fork shares do with neither.
int64_t sys_mbind(const uint64_t *a) {
    const unsigned known = MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL;
    uint64_t flags = a[5], size = (a[1] + PAGE_SIZE - 1) & PAGE_MASK;
    struct numa_policy policy;
    if (flags & ~(uint64_t)known || a[0] & (PAGE_SIZE - 1) || a[0] > USER_END ||
        size > USER_END - a[0])
        return -EINVAL;
    int error = load_policy((uint32_t)a[2], a[3], a[4], &policy);
    if (error || !size)
        return error;
    return address_space_bind(process_current()->space, a[0], a[0] + size, policy, (unsigned)flags);
}
