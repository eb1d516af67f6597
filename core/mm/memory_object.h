// SPDX-License-Identifier: BSD-2-Clause
// What a shared or file mapping shows: pages by index, made on demand.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/mm/numa.h"
#include "core/sched/spinlock.h"

struct memory_object;

struct memory_object_ops {
    // Physical address of 4 KiB page `index`, with a reference for the caller; makes it if need be.
    // -ENOMEM, -EFAULT beyond the end (SIGBUS). No lock held by the caller but the address space's.
    // *order: the block that would be welcome, then the one around it that is contiguous and
    // naturally aligned (0, 9 or 18).
    int (*page)(struct memory_object *object, uint64_t index, uint64_t *physical, unsigned *order);
    // A hole of zeroes, bytes, in the object and wherever it is mapped; NULL: cannot. 0 or -errno.
    int (*punch)(struct memory_object *object, uint64_t offset, uint64_t size);
    // Pages outside the policy's nodes go there, wherever they are mapped; NULL: cannot. 0; -EIO:
    // some are pinned, or there is no room. No lock held.
    int (*move)(struct memory_object *object, uint64_t offset, uint64_t size,
                struct numa_policy policy);
    void (*destroy)(struct memory_object *object);
};

struct memory_object {
    const struct memory_object_ops *ops;
    atomic_uint references;
    struct spinlock lock;
    bool device; // registers, not RAM: mapped uncached and shared, and nobody's but programs'
};

static inline void memory_object_get(struct memory_object *object) {
    atomic_fetch_add(&object->references, 1);
}
void memory_object_put(struct memory_object *object);

// Anonymous pages in a radix tree (memfd, shared anonymous memory); huge: 2 MiB pages where
// aligned.
struct memory_object *shared_memory_create(bool huge);
// Reads/writes through the object, for read/write on a memfd; copies to/from kernel memory. Bytes
// done or -errno.
int64_t shared_memory_read(struct memory_object *object, uint64_t offset, void *to, size_t size);
int64_t shared_memory_write(struct memory_object *object, uint64_t offset, const void *from,
                            size_t size);
int shared_memory_resize(struct memory_object *object, uint64_t size); // no lock held
// Makes it at least this large; a lock may be held.
int shared_memory_extend(struct memory_object *object, uint64_t size);
int shared_memory_punch(struct memory_object *object, uint64_t offset, uint64_t size); // its .punch
// Read-only pages over memory that is always there (an initrd file in place; base page aligned or
// copied on fault).
struct memory_object *fixed_memory_create(const void *data, size_t size);
// Existing page-aligned kernel pages shown writable (the vCPU's kvm_run). The pages are page_get-ed
// for as long as it lives.
struct memory_object *kernel_pages_create(const uint64_t *physical, size_t pages);
