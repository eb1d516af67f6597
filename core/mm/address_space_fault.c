// SPDX-License-Identifier: BSD-2-Clause
// Page faults. Memory is allocated, zeroed and made by objects without the lock; under it
// everything is looked at afresh.
#include <asm/errno.h>
#include <linux/mman.h>
#include "arch/x86/paging.h"
#include "core/mm/address_space.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"

// What one look under the lock found missing; the next look finds it there, or that it is no longer
// needed.
enum need {
    NEED_NOTHING,
    NEED_PAGE,
    NEED_OBJECT_PAGE,
    NEED_DROP,
    NEED_CUT,
    NEED_COPY,
    NEED_CHANGE_END
};

struct fault {
    struct address_space *space;
    uint64_t address;
    enum access access;
    enum need need;
    uint64_t spare; // a page in hand; PHYSICAL_NONE: none
    unsigned spare_order;
    bool small_only;       // no 2 MiB page is to be had here
    unsigned wanted_order; // NEED_PAGE
    bool wanted_zeroed;
    struct memory_object *object; // NEED_OBJECT_PAGE, with a reference
    uint64_t object_index;
    unsigned object_order; // of the block that is welcome
    bool object_made;
    uint64_t drop_start, drop_end; // NEED_DROP
    struct numa_policy policy;     // of the mapping
};

static bool leaf_allows(unsigned flags, enum access access) {
    if (!(flags & PAGING_USER))
        return false;
    if ((access & ACCESS_WRITE) && !(flags & PAGING_WRITE))
        return false;
    return !(access & ACCESS_EXECUTE) || (flags & PAGING_EXECUTE);
}

static bool mapping_allows(const struct mapping *mapping, enum access access) {
    if ((access & ACCESS_WRITE) && !(mapping->prot & PROT_WRITE))
        return false;
    if ((access & ACCESS_EXECUTE) && !(mapping->prot & PROT_EXEC))
        return false;
    return mapping->prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void fill_page(struct user_page *page, const struct page_table_entry *entry) {
    page->physical = entry->physical;
    page->size = entry->size;
    page->writable = entry->flags & PAGING_WRITE;
    page->device = entry->flags & PAGING_UNCACHED;
}

static struct mapping *find_mapping(struct address_space *space, uint64_t address) {
    struct mapping *mapping = space->cached;
    if (mapping && address >= mapping->start && address < mapping->end)
        return mapping;
    mapping = mapping_tree_at_or_above(&space->mappings, address);
    if (!mapping || mapping->start > address)
        return NULL;
    return space->cached = mapping;
}

// Whether the 2 MiB around address lie inside the mapping and nothing of them is mapped yet.
static bool huge_fits(const struct fault *fault, const struct mapping *mapping) {
    uint64_t base = fault->address & ~(HUGE_SIZE - 1);
    if (fault->small_only || base < mapping->start || base + HUGE_SIZE > mapping->end)
        return false;
    struct page_table_entry entry = page_table_lookup(fault->space->page_table, base);
    return !entry.size && entry.hole_size >= HUGE_SIZE;
}

static bool wants_huge(const struct mapping *mapping) {
    if (mapping->flags & (MAPPING_STACK | MAPPING_NO_HUGE))
        return false;
    return (mapping->flags & MAPPING_HUGE) || mapping->end - mapping->start >= 2 * HUGE_SIZE;
}

// True: the spare is of the order wanted.
static bool have_page(struct fault *fault, unsigned order, bool zeroed) {
    if (fault->spare != PHYSICAL_NONE && fault->spare_order == order &&
        (fault->wanted_zeroed || !zeroed)) // as it was wanted then
        return true;
    fault->need = NEED_PAGE;
    fault->wanted_order = order;
    fault->wanted_zeroed = zeroed;
    return false;
}

static int map_leaf(struct fault *fault, const struct mapping *mapping, uint64_t physical,
                    uint64_t size) {
    return page_table_map(fault->space->page_table, fault->address & ~(size - 1), physical, size,
                          leaf_flags(mapping, physical));
}

static int map_spare(struct fault *fault, const struct mapping *mapping) {
    int error = map_leaf(fault, mapping, fault->spare, PAGE_SIZE << fault->spare_order);
    if (!error)
        fault->spare = PHYSICAL_NONE;
    return error;
}

static int fault_anonymous(struct fault *fault, const struct mapping *mapping) {
    bool huge = wants_huge(mapping) && huge_fits(fault, mapping);
    if (!have_page(fault, huge ? PAGE_ORDER_2M : 0, true))
        return 0;
    return map_spare(fault, mapping);
}

static int fault_object(struct fault *fault, const struct mapping *mapping) {
    struct memory_object *object = mapping->object;
    uint64_t index = (mapping->offset + (fault->address - mapping->start)) >> PAGE_SHIFT;
    if (!fault->object_made || fault->object != object || fault->object_index != index) {
        if (fault->object)
            return -EAGAIN; // remapped meanwhile: begin again
        memory_object_get(object);
        fault->object = object;
        fault->object_index = index;
        fault->object_order = mapping->flags & MAPPING_HUGE ? PAGE_ORDER_2M : 0;
        fault->need = NEED_OBJECT_PAGE;
        return 0;
    }
    uint64_t physical;
    unsigned order = fault->object_order;
    int error = object->ops->page(object, index, &physical, &order);
    if (error)
        return error == -EFAULT ? -ENXIO : error;
    if (!(mapping->flags & MAPPING_SHARED) && (fault->access & ACCESS_WRITE)) {
        bool have = have_page(fault, 0, false);
        if (have)
            page_copy(page_to_virtual(fault->spare), page_to_virtual(physical & PAGE_MASK),
                      PAGE_SIZE);
        page_put(physical);
        return have ? map_spare(fault, mapping) : 0;
    }
    error = -EEXIST;
    bool congruent = ((physical ^ fault->address) & (HUGE_SIZE - 1) & PAGE_MASK) == 0;
    if (order >= PAGE_ORDER_2M && congruent && huge_fits(fault, mapping))
        error = map_leaf(fault, mapping, physical & ~(HUGE_SIZE - 1), HUGE_SIZE);
    if (error)
        error = map_leaf(fault, mapping, physical, PAGE_SIZE);
    if (error)
        page_put(physical);
    return error;
}

// The leaf is there but does not allow the access, though the mapping does.
static int fault_present(struct fault *fault, const struct mapping *mapping,
                         const struct page_table_entry *entry) {
    unsigned flags = leaf_flags(mapping, entry->physical);
    if (leaf_allows(flags, fault->access)) {
        page_table_protect(fault->space->page_table, fault->address, flags);
        return 0;
    }
    if (page_use(entry->physical) == PAGE_ANONYMOUS) { // first write to it since a fork
        if (entry->size > PAGE_SIZE)
            fault->need = NEED_CUT;
        else if (have_page(fault, 0, false))
            fault->need = NEED_COPY;
        return 0;
    }
    // First write to a page of the object in a private mapping. Everyone must forget the old page
    // before the copy is written to, so the leaf goes first.
    fault->need = NEED_DROP;
    fault->drop_start = fault->address & ~(entry->size - 1);
    fault->drop_end = fault->drop_start + entry->size;
    return 0;
}

// Lock held. 0 with need NEED_NOTHING: the page is there and *page says which.
static int look(struct fault *fault, struct user_page *page) {
    struct address_space *space = fault->space;
    fault->need = NEED_NOTHING;
    const struct mapping *mapping = find_mapping(space, fault->address);
    if (!mapping && space->changing) {
        fault->need = NEED_CHANGE_END; // it may just be moved, or replaced by MAP_FIXED
        return 0;
    }
    if (!mapping || !mapping_allows(mapping, fault->access))
        return -EFAULT;
    fault->policy = mapping->policy;
    struct page_table_entry entry = page_table_lookup(space->page_table, fault->address);
    if (!entry.size || !leaf_allows(entry.flags, fault->access)) {
        int error;
        if (entry.size)
            error = fault_present(fault, mapping, &entry);
        else if (mapping->object)
            error = fault_object(fault, mapping);
        else
            error = fault_anonymous(fault, mapping);
        if (error || fault->need)
            return error;
        entry = page_table_lookup(space->page_table, fault->address);
    }
    fill_page(page, &entry);
    return 0;
}

static void release_spare(struct fault *fault) {
    if (fault->spare == PHYSICAL_NONE)
        return;
    page_put(fault->spare);
    fault->spare = PHYSICAL_NONE;
}

static int get_page(struct fault *fault) {
    uint64_t size = PAGE_SIZE << fault->wanted_order;
    release_spare(fault);
    numa_fault_begin(fault->policy, fault->address / size);
    fault->spare = page_alloc_for(fault->wanted_order, PAGE_ANONYMOUS);
    numa_fault_end();
    if (fault->spare == PHYSICAL_NONE)
        return -ENOMEM;
    fault->spare_order = fault->wanted_order;
    if (fault->wanted_zeroed)
        page_clear(page_to_virtual(fault->spare), size);
    return 0;
}

static void release_object(struct fault *fault) {
    if (fault->object)
        memory_object_put(fault->object);
    fault->object = NULL;
    fault->object_made = false;
}

static int make_object_page(struct fault *fault) {
    uint64_t physical;
    unsigned order = fault->object_order;
    numa_fault_begin(fault->policy, fault->object_index);
    int error = fault->object->ops->page(fault->object, fault->object_index, &physical, &order);
    numa_fault_end();
    if (!error)
        page_put(physical);
    fault->object_made = !error;
    return error == -EFAULT ? -ENXIO : error;
}

// Lock not held.
static int provide(struct fault *fault) {
    int error = 0;
    switch (fault->need) {
    case NEED_NOTHING:
        break;
    case NEED_PAGE:
        error = get_page(fault);
        if (error && fault->wanted_order) {
            fault->small_only = true;
            error = 0;
        }
        break;
    case NEED_OBJECT_PAGE:
        error = make_object_page(fault);
        break;
    case NEED_DROP:
        leaves_drop(fault->space, fault->drop_start, fault->drop_end, true);
        break;
    case NEED_CUT:
        error = leaves_cut(fault->space, (fault->address & ~(HUGE_SIZE - 1)) + PAGE_SIZE);
        break;
    case NEED_COPY:
        leaf_copy(fault->space, fault->address, fault->spare, PAGE_SIZE);
        release_spare(fault);
        break;
    case NEED_CHANGE_END:
        error = mapping_change_wait(fault->space) ? -EFAULT : 0;
        break;
    }
    return error;
}

static int resolve(struct address_space *space, uint64_t address, enum access access,
                   struct user_page *page) {
    struct fault fault = {
        .space = space,
        .address = address & PAGE_MASK,
        .access = access,
        .spare = PHYSICAL_NONE,
    };
    int error;
    do {
        spin_lock(&space->lock);
        error = look(&fault, page);
        spin_unlock(&space->lock);
        if (error == -EAGAIN) {
            release_object(&fault);
            error = 0;
            fault.need = NEED_OBJECT_PAGE;
            continue;
        }
        if (!error)
            error = provide(&fault);
    } while (!error && fault.need != NEED_NOTHING);
    release_spare(&fault);
    release_object(&fault);
    return error;
}

int address_space_page(struct address_space *space, uint64_t address, enum access access,
                       struct user_page *page) {
    if (address >= USER_END)
        return -EFAULT;
    spin_lock(&space->lock);
    struct page_table_entry entry = page_table_lookup(space->page_table, address);
    bool ready = entry.size && leaf_allows(entry.flags, access);
    spin_unlock(&space->lock);
    int error = 0;
    if (ready)
        fill_page(page, &entry);
    else
        error = resolve(space, address, access, page);
    return !error && page->device ? -EFAULT : error;
}

static uint64_t page_in(const struct page_table_entry *entry, uint64_t address) {
    return entry->size ? entry->physical + (address & (entry->size - 1) & PAGE_MASK)
                       : PHYSICAL_NONE;
}

int address_space_pin(struct address_space *space, uint64_t address, enum access access,
                      uint64_t *physical) {
    for (;;) {
        struct user_page page;
        int error = address_space_page(space, address, access, &page);
        if (error)
            return error;
        spin_lock(&space->lock);
        struct page_table_entry entry = page_table_lookup(space->page_table, address);
        *physical = page_in(&entry, address);
        bool ready = entry.size && leaf_allows(entry.flags, access);
        if (ready)
            page_get(*physical);
        spin_unlock(&space->lock);
        if (ready)
            return 0;
    }
}

uint64_t address_space_physical(struct address_space *space, uint64_t address) {
    spin_lock(&space->lock);
    struct page_table_entry entry = page_table_lookup(space->page_table, address);
    spin_unlock(&space->lock);
    return page_in(&entry, address);
}

int address_space_fault(struct address_space *space, uint64_t address, enum access access) {
    struct user_page page;
    return address < USER_END ? resolve(space, address, access, &page) : -EFAULT;
}

int address_space_content(struct address_space *space, uint64_t address, const void **owner,
                          uint64_t *offset) {
    spin_lock(&space->lock);
    const struct mapping *mapping = find_mapping(space, address);
    bool shared = mapping && (mapping->flags & MAPPING_SHARED);
    *owner = shared ? (const void *)mapping->object : space;
    *offset = shared ? mapping->offset + (address - mapping->start) : address;
    spin_unlock(&space->lock);
    return mapping ? 0 : -EFAULT;
}

bool address_space_is_mapped(struct address_space *space, uint64_t address) {
    spin_lock(&space->lock);
    bool mapped = find_mapping(space, address) != NULL;
    spin_unlock(&space->lock);
    return mapped;
}

int address_space_resident(struct address_space *space, uint64_t address, size_t count,
                           uint8_t *there) {
    int error = 0;
    spin_lock(&space->lock);
    for (size_t i = 0; i < count && !error; i++, address += PAGE_SIZE) {
        there[i] = page_table_lookup(space->page_table, address).size != 0;
        if (!there[i] && !find_mapping(space, address))
            error = -ENOMEM;
    }
    spin_unlock(&space->lock);
    return error;
}
