// SPDX-License-Identifier: BSD-2-Clause
// New mappings and their end: mmap, munmap, brk.
#include <asm/errno.h>
#include <linux/mman.h>
#include "core/mm/address_space.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"

static const uint64_t lowest_address =
    64 << 10; // as Linux's mmap_min_addr: null pointers with an offset fault
static const uint64_t end_of_32bit = 1ull << 31; // MAP_32BIT

static uint64_t page_up(uint64_t size) {
    return (size + PAGE_SIZE - 1) & PAGE_MASK;
}

static bool in_user_range(uint64_t address, uint64_t size) {
    return size <= USER_END && address <= USER_END - size;
}

static bool is_free(const struct address_space *space, uint64_t start, uint64_t end) {
    const struct mapping *next = mapping_tree_at_or_above(&space->mappings, start);
    return !next || next->start >= end;
}

// Where a mapping without MAP_FIXED goes; 0: no room. Large ones are aligned for huge pages if that
// is possible.
static uint64_t choose_address(const struct address_space *space, uint64_t hint, uint64_t size,
                               int flags) {
    hint &= PAGE_MASK;
    if (hint >= lowest_address && in_user_range(hint, size) && is_free(space, hint, hint + size))
        return hint;
    uint64_t high = flags & MAP_32BIT ? end_of_32bit : space->map_top, found = 0;
    if (size >= HUGE_SIZE && !(flags & MAP_STACK))
        found = mapping_tree_find_gap(&space->mappings, size, HUGE_SIZE, lowest_address, high);
    if (!found)
        found = mapping_tree_find_gap(&space->mappings, size, PAGE_SIZE, lowest_address, high);
    return found;
}

static int check_fixed(uint64_t address, uint64_t size) {
    if (address & (PAGE_SIZE - 1))
        return -EINVAL;
    if (!in_user_range(address, size))
        return -ENOMEM;
    return address < lowest_address ? -EPERM : 0;
}

// Owner of `changing`. Makes room at the wanted or a chosen address; address or -errno.
static int64_t make_room(struct mapping_change *change, uint64_t address, uint64_t size,
                         int flags) {
    struct address_space *space = change->space;
    if (flags & MAP_FIXED_NOREPLACE)
        return is_free(space, address, address + size) ? (int64_t)address : -EEXIST;
    if (flags & MAP_FIXED) {
        int error = mapping_change_unmap(change, address, address + size);
        return error ? error : (int64_t)address;
    }
    uint64_t chosen = choose_address(space, address, size, flags);
    return chosen ? (int64_t)chosen : -ENOMEM;
}

static int64_t insert_mapping(struct address_space *space, uint64_t address, uint64_t size,
                              int flags, const struct mapping *model) {
    struct mapping_change change;
    int error = mapping_change_begin(&change, space);
    if (error)
        return error;
    struct mapping *mapping = mapping_change_take(&change);
    int64_t start = mapping ? make_room(&change, address, size, flags) : -ENOMEM;
    if (start >= 0) {
        mapping->start = (uint64_t)start;
        mapping->end = mapping->start + size;
        mapping->object = model->object;
        mapping->offset = model->offset;
        mapping->prot = model->prot;
        mapping->flags = model->flags;
        if (mapping->object)
            memory_object_get(mapping->object);
        mapping_change_insert(&change, mapping);
    } else if (mapping) {
        mapping_free(mapping);
    }
    mapping_change_end(&change);
    return start;
}

static struct memory_object *shared_anonymous_create(uint64_t size) {
    struct memory_object *object = shared_memory_create(size >= HUGE_SIZE);
    if (object && shared_memory_resize(object, size)) {
        memory_object_put(object);
        return NULL;
    }
    return object;
}

static bool known_type(int flags) {
    int type = flags & MAP_TYPE;
    return type == MAP_PRIVATE || type == MAP_SHARED || type == MAP_SHARED_VALIDATE;
}

static uint8_t mapping_flags(int flags) {
    unsigned result = (flags & MAP_TYPE) != MAP_PRIVATE ? MAPPING_SHARED : 0;
    result |= flags & MAP_STACK ? MAPPING_STACK : 0;
    result |= flags & ADDRESS_SPACE_MAP_NO_WRITE ? MAPPING_NO_WRITE : 0;
    return (uint8_t)result;
}

int64_t address_space_map(struct address_space *space, uint64_t address, uint64_t size, int prot,
                          int flags, struct memory_object *object, uint64_t offset) {
    if (!size || !known_type(flags) || (offset & (PAGE_SIZE - 1)))
        return -EINVAL;
    if (size > USER_END || (flags & MAP_HUGETLB)) // there is no pool of reserved huge pages
        return -ENOMEM;
    size = page_up(size);
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        int error = check_fixed(address, size);
        if (error)
            return error;
    }
    bool shared = (flags & MAP_TYPE) != MAP_PRIVATE, own_object = shared && !object;
    if (own_object) {
        object = shared_anonymous_create(size);
        if (!object)
            return -ENOMEM;
        offset = 0;
    }
    struct mapping model = {
        .object = object,
        .offset = offset,
        .prot = (uint8_t)(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)),
        .flags = mapping_flags(flags),
    };
    int64_t result = insert_mapping(space, address, size, flags, &model);
    if (own_object)
        memory_object_put(object);
    return result;
}

int address_space_unmap(struct address_space *space, uint64_t address, uint64_t size) {
    if ((address & (PAGE_SIZE - 1)) || !size || !in_user_range(address, size))
        return -EINVAL;
    struct mapping_change change;
    int error = mapping_change_begin(&change, space);
    if (error)
        return error;
    error = mapping_change_unmap(&change, address, address + page_up(size));
    mapping_change_end(&change);
    return error;
}

uint64_t address_space_brk(struct address_space *space, uint64_t end) {
    if (end < space->brk_start || !in_user_range(end, 0))
        return space->brk_end;
    uint64_t old_top = page_up(space->brk_end), new_top = page_up(end);
    if (new_top > old_top) {
        struct mapping model = {.prot = PROT_READ | PROT_WRITE};
        if (!in_user_range(old_top, new_top - old_top) ||
            insert_mapping(space, old_top, new_top - old_top, MAP_FIXED_NOREPLACE, &model) < 0)
            return space->brk_end;
    } else if (new_top < old_top && address_space_unmap(space, new_top, old_top - new_top)) {
        return space->brk_end;
    }
    return space->brk_end = end;
}
