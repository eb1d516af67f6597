// SPDX-License-Identifier: BSD-2-Clause
// The kernel heap: one page a slab, 64 bytes of header and objects of one size class behind it.
// Objects are therefore never page aligned, which is how heap_free tells them from whole pages.
#include "core/mm/heap.h"
#include <stdatomic.h>
#include <stdint.h>
#include "core/list.h"
#include "core/log.h"
#include "core/mm/page.h"
#include "core/sched/spinlock.h"

enum { CLASSES = 16, SLAB_HEADER = 64 };

// Chosen so that little of the 4032 bytes behind the header is left over; from 64 bytes on
// multiples of a cache line.
static const uint16_t class_size[CLASSES] = {16,  32,  48,  64,  128, 192, 256,  320,
                                             384, 448, 576, 640, 768, 960, 1344, 1984};
enum { LARGEST_CLASS = 1984 };

// Class of a size of more than 48 bytes, by cache lines.
static const uint8_t class_of_lines[LARGEST_CLASS / 64 + 1] = {
    0,  3,  4,  5,  6,  7,  8,  9,  10, 10, 11, 12, 12, 13, 13, 13,
    14, 14, 14, 14, 14, 14, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
};

struct slab {
    struct list node; // in its class's list while an object is free
    void *free;       // objects given back, linked through their first word
    uint16_t class;
    uint16_t used;  // objects out
    uint16_t fresh; // offset of the first object never given out yet
};
_Static_assert(sizeof(struct slab) <= SLAB_HEADER, "the header stands before the objects");

struct size_class {
    struct spinlock lock;
    struct list partial; // slabs with a free object; zero until first used
} __attribute__((aligned(64)));

static struct size_class classes[CLASSES];
static atomic_size_t fixed_bytes;

void kernel_memory_add(size_t bytes) {
    atomic_fetch_add(&fixed_bytes, bytes);
}

size_t kernel_memory_bytes(void) {
    return atomic_load(&fixed_bytes) + page_total() - page_free_bytes() - page_user_bytes();
}

static unsigned class_of(size_t size) {
    if (size <= 48)
        return size ? (unsigned)(size - 1) / 16 : 0;
    return class_of_lines[(size + 63) / 64];
}

static bool slab_full(const struct slab *slab) {
    return !slab->free && slab->fresh + class_size[slab->class] > PAGE_SIZE;
}

static struct slab *slab_create(unsigned class) {
    uint64_t physical = page_alloc(0);
    if (physical == PHYSICAL_NONE)
        return NULL;
    struct slab *slab = page_to_virtual(physical);
    *slab = (struct slab){.class = (uint16_t) class, .fresh = SLAB_HEADER};
    return slab;
}

static void *slab_take(struct slab *slab) {
    void *object = slab->free;
    if (object) {
        slab->free = *(void **)object;
    } else {
        object = (char *)slab + slab->fresh;
        slab->fresh = (uint16_t)(slab->fresh + class_size[slab->class]);
    }
    slab->used++;
    return object;
}

static void *small_alloc(unsigned index) {
    struct size_class *class = &classes[index];
    spin_lock(&class->lock);
    if (!class->partial.next)
        list_init(&class->partial);
    if (list_empty(&class->partial)) {
        struct slab *slab = slab_create(index);
        if (!slab) {
            spin_unlock(&class->lock);
            return NULL;
        }
        list_push_front(&class->partial, &slab->node);
    }
    struct slab *slab = container_of(class->partial.next, struct slab, node);
    void *object = slab_take(slab);
    if (slab_full(slab))
        list_remove(&slab->node);
    spin_unlock(&class->lock);
    page_clear(object, class_size[index]);
    return object;
}

static void small_free(void *object) {
    struct slab *slab = (struct slab *)((uintptr_t)object & PAGE_MASK);
    ASSERT(slab->class < CLASSES && slab->used > 0);
    struct size_class *class = &classes[slab->class];
    spin_lock(&class->lock);
    bool was_full = slab_full(slab);
    *(void **)object = slab->free;
    slab->free = object;
    slab->used--;
    if (was_full)
        list_push_front(&class->partial, &slab->node);
    // One empty slab may stay, so that a lone object that comes and goes does not make a page come
    // and go.
    bool surplus = slab->used == 0 && class->partial.next != class->partial.prev;
    if (surplus)
        list_remove(&slab->node);
    spin_unlock(&class->lock);
    if (surplus)
        page_put(virtual_to_page(slab));
}

void *heap_alloc(size_t size) {
    if (size <= LARGEST_CLASS)
        return small_alloc(class_of(size));
    if (size > PAGE_SIZE << PAGE_ORDER_2M)
        return NULL;
    unsigned order = 0;
    while (PAGE_SIZE << order < size)
        order++;
    uint64_t physical = page_alloc_zeroed(order);
    return physical == PHYSICAL_NONE ? NULL : page_to_virtual(physical);
}

void heap_free(void *memory) {
    if (!memory)
        return;
    if ((uintptr_t)memory & (PAGE_SIZE - 1))
        small_free(memory);
    else
        page_put(virtual_to_page(memory));
}
