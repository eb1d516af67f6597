// SPDX-License-Identifier: BSD-2-Clause
// Memory object over data that is always there and never changes: a file of the initrd. Whole pages
// of page-aligned data are shown in place; any other page, and the last one (zero behind the end),
// is copied when first touched.
#include <asm/errno.h>
#include "core/list.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/mm/page_tree.h"
#include "core/string.h"

struct fixed_memory {
    struct memory_object object;
    const char *data;
    size_t size;
    struct page_tree copies;
};

static int copy_page(struct fixed_memory *memory, uint64_t index, uint64_t *physical) {
    uint64_t copy = page_alloc_for(0, PAGE_SHARED);
    if (copy == PHYSICAL_NONE)
        return -ENOMEM;
    size_t offset = index << PAGE_SHIFT;
    size_t size = memory->size - offset < PAGE_SIZE ? memory->size - offset : PAGE_SIZE;
    char *to = page_to_virtual(copy);
    memcpy(to, memory->data + offset, size);
    memset(to + size, 0, PAGE_SIZE - size);
    int error = page_tree_insert(&memory->copies, index, 0, copy);
    if (error) {
        page_put(copy);
        return error;
    }
    *physical = copy;
    return 0;
}

static int fixed_memory_page(struct memory_object *object, uint64_t index, uint64_t *physical,
                             unsigned *order) {
    struct fixed_memory *memory = container_of(object, struct fixed_memory, object);
    *order = 0;
    if (index >= (memory->size + PAGE_SIZE - 1) >> PAGE_SHIFT)
        return -EFAULT;
    const char *in_place = memory->data + (index << PAGE_SHIFT);
    bool whole = memory->size - (index << PAGE_SHIFT) >= PAGE_SIZE;
    if (whole && ((uintptr_t)in_place & (PAGE_SIZE - 1)) == 0) {
        *physical = virtual_to_page(in_place);
        page_get(*physical);
        return 0;
    }
    int error = 0;
    unsigned copy_order;
    spin_lock(&object->lock);
    *physical = page_tree_find(&memory->copies, index, &copy_order);
    if (*physical == PHYSICAL_NONE)
        error = copy_page(memory, index, physical);
    if (!error)
        page_get(*physical);
    spin_unlock(&object->lock);
    return error;
}

static void fixed_memory_destroy(struct memory_object *object) {
    struct fixed_memory *memory = container_of(object, struct fixed_memory, object);
    page_tree_remove(&memory->copies, 0, UINT64_MAX);
    heap_free(memory);
}

static const struct memory_object_ops fixed_memory_ops = {
    .page = fixed_memory_page,
    .destroy = fixed_memory_destroy,
};

struct memory_object *fixed_memory_create(const void *data, size_t size) {
    struct fixed_memory *memory = heap_new(struct fixed_memory);
    if (!memory)
        return NULL;
    memory->object.ops = &fixed_memory_ops;
    atomic_store(&memory->object.references, 1);
    memory->data = data;
    memory->size = size;
    return &memory->object;
}
