// SPDX-License-Identifier: BSD-2-Clause
// Memory objects: reference counting, and the kind that shows pages which the kernel made for
// another purpose.
#include "core/mm/memory_object.h"
#include <asm/errno.h>
#include "core/list.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"

void memory_object_put(struct memory_object *object) {
    unsigned before = atomic_fetch_sub(&object->references, 1);
    ASSERT(before > 0);
    if (before == 1)
        object->ops->destroy(object);
}

struct kernel_pages {
    struct memory_object object;
    size_t count;
    uint64_t physical[];
};

static int kernel_pages_page(struct memory_object *object, uint64_t index, uint64_t *physical,
                             unsigned *order) {
    struct kernel_pages *pages = container_of(object, struct kernel_pages, object);
    if (index >= pages->count)
        return -EFAULT;
    *physical = pages->physical[index];
    page_get(*physical);
    *order = 0;
    return 0;
}

static void kernel_pages_destroy(struct memory_object *object) {
    struct kernel_pages *pages = container_of(object, struct kernel_pages, object);
    for (size_t i = 0; i < pages->count; i++)
        page_put(pages->physical[i]);
    heap_free(pages);
}

static const struct memory_object_ops kernel_pages_ops = {
    .page = kernel_pages_page,
    .destroy = kernel_pages_destroy,
};

struct memory_object *kernel_pages_create(const uint64_t *physical, size_t pages) {
    struct kernel_pages *created =
        heap_alloc(sizeof *created + pages * sizeof created->physical[0]);
    if (!created)
        return NULL;
    created->object.ops = &kernel_pages_ops;
    atomic_store(&created->object.references, 1);
    created->count = pages;
    for (size_t i = 0; i < pages; i++) {
        created->physical[i] = physical[i];
        page_get(physical[i]);
    }
    return &created->object;
}
