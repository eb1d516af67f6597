// SPDX-License-Identifier: BSD-2-Clause
// The page-table walker.
#include "arch/x86/mm/page_walker.h"
#include <asm/errno.h>
#include "core/mm/page.h"

enum { INDEX_BITS = 9, ENTRIES = 512, CACHE_LINE = 64 };

static unsigned level_shift(unsigned level) {
    return PAGE_SHIFT + (level - 1) * INDEX_BITS;
}

static uint64_t *entry_at(uint64_t table, unsigned level, uint64_t address) {
    uint64_t *entries = page_to_virtual(table & PAGE_ENTRY_ADDRESS);
    return &entries[address >> level_shift(level) & (ENTRIES - 1)];
}

static uint64_t entry_load(const uint64_t *entry) {
    return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

static bool is_leaf(const struct page_format *format, uint64_t entry, unsigned level) {
    return level == 1 || (entry & format->large) ||
           (format->next_level && !(entry & 7 * format->next_level));
}

static uint64_t table_bits(const struct page_format *format, unsigned level) {
    return format->table_bits | level * format->next_level;
}

// Brings what was written to entries to where the device that walks them reads.
static void publish(const struct page_format *format, const void *entries, size_t size) {
    for (size_t i = 0; format->flush && i < size; i += CACHE_LINE)
        __asm__ volatile("clflush %0" ::"m"(((const char *)entries)[i]) : "memory");
}

uint64_t page_walker_create(const struct page_format *format) {
    uint64_t table = page_alloc_zeroed(0);
    if (table != PHYSICAL_NONE)
        publish(format, page_to_virtual(table), PAGE_SIZE);
    return table;
}

static unsigned level_of_size(uint64_t size) {
    return size == 1ull << level_shift(3) ? 3 : size == 1ull << level_shift(2) ? 2 : 1;
}

static uint64_t type_mask(const struct page_format *format) {
    return format->uncached | format->write_combining | format->write_back;
}

static uint64_t rights_mask(const struct page_format *format) {
    return format->read | format->hidden | format->write | format->user | format->no_execute |
           format->execute | format->global | type_mask(format);
}

static uint64_t encode_rights(const struct page_format *format, unsigned flags) {
    if (flags & PAGING_NO_ACCESS)
        return format->hidden;
    uint64_t entry = format->read;
    entry |= flags & PAGING_WRITE ? format->write : 0;
    entry |= flags & PAGING_USER ? format->user : 0;
    entry |= flags & PAGING_EXECUTE ? format->execute : format->no_execute;
    entry |= flags & PAGING_GLOBAL ? format->global : 0;
    if (flags & PAGING_UNCACHED)
        entry |= format->uncached;
    else if (flags & PAGING_WRITE_COMBINING)
        entry |= format->write_combining;
    else
        entry |= format->write_back;
    return entry;
}

static unsigned decode_rights(const struct page_format *format, uint64_t entry) {
    if (entry & format->hidden)
        return PAGING_NO_ACCESS;
    unsigned flags = entry & format->write ? PAGING_WRITE : 0;
    flags |= entry & format->user ? PAGING_USER : 0;
    bool execute = format->execute ? entry & format->execute : !(entry & format->no_execute);
    flags |= execute ? PAGING_EXECUTE : 0;
    flags |= entry & format->global ? PAGING_GLOBAL : 0;
    uint64_t type = entry & type_mask(format);
    if (__builtin_expect(type != format->write_back, 0))
        flags |= type == format->uncached ? PAGING_UNCACHED : PAGING_WRITE_COMBINING;
    return flags;
}

static struct page_table_entry decode(const struct page_format *format, uint64_t entry,
                                      unsigned level) {
    uint64_t size = 1ull << level_shift(level);
    return (struct page_table_entry){
        .physical = entry & PAGE_ENTRY_ADDRESS & ~(size - 1),
        .size = size,
        .flags = decode_rights(format, entry),
        .accessed = entry & format->accessed,
        .dirty = entry & format->dirty,
    };
}

// The entry where the walk for address ends: a leaf, or not present. *level says where.
static uint64_t *walk(const struct page_format *format, uint64_t root, uint64_t address,
                      unsigned *level) {
    uint64_t table = root;
    for (*level = format->levels;; --*level) {
        uint64_t *entry = entry_at(table, *level, address);
        uint64_t value = entry_load(entry);
        if (!(value & format->present) || is_leaf(format, value, *level))
            return entry;
        table = value;
    }
}

int page_walker_map(const struct page_format *format, uint64_t root, uint64_t address,
                    uint64_t physical, uint64_t size, unsigned flags) {
    unsigned target = level_of_size(size);
    uint64_t table = root;
    for (unsigned level = format->levels;; level--) {
        uint64_t *entry = entry_at(table, level, address);
        uint64_t value = entry_load(entry);
        bool present = value & format->present;
        if (level == target) {
            if (present && !is_leaf(format, value, level))
                return -EEXIST;
            value = physical | encode_rights(format, flags) | (level > 1 ? format->large : 0);
            __atomic_store_n(entry, value, __ATOMIC_RELEASE);
            publish(format, entry, sizeof *entry);
            return 0;
        }
        if (!present) {
            uint64_t fresh = page_walker_create(format);
            if (fresh == PHYSICAL_NONE)
                return -ENOMEM;
            value = fresh | table_bits(format, level - 1);
            __atomic_store_n(entry, value, __ATOMIC_RELEASE);
            publish(format, entry, sizeof *entry);
        } else if (is_leaf(format, value, level)) {
            return -EEXIST;
        }
        table = value;
    }
}

// As far as one cache line shows it, so that who scans a table of few pages takes few steps.
static struct page_table_entry hole_at(const struct page_format *format, const uint64_t *entry,
                                       unsigned level, uint64_t address) {
    uint64_t span = 1ull << level_shift(level), size = span - (address & (span - 1));
    while ((uintptr_t)++entry % CACHE_LINE && !(entry_load(entry) & format->present))
        size += span;
    return (struct page_table_entry){.hole_size = size};
}

struct page_table_entry page_walker_lookup(const struct page_format *format, uint64_t root,
                                           uint64_t address) {
    unsigned level;
    const uint64_t *entry = walk(format, root, address, &level);
    uint64_t value = entry_load(entry);
    return value & format->present ? decode(format, value, level)
                                   : hole_at(format, entry, level, address);
}

struct page_table_entry page_walker_unmap(const struct page_format *format, uint64_t root,
                                          uint64_t address) {
    unsigned level;
    uint64_t *entry = walk(format, root, address, &level);
    uint64_t value = entry_load(entry);
    if (!(value & format->present))
        return hole_at(format, entry, level, address);
    value = __atomic_exchange_n(entry, 0, __ATOMIC_ACQ_REL);
    publish(format, entry, sizeof *entry);
    return decode(format, value, level);
}

// Replaces the bits of mask in the leaf at address. The entry before, 0: none there.
static uint64_t update_leaf(const struct page_format *format, uint64_t root, uint64_t address,
                            uint64_t mask, uint64_t bits, unsigned *level) {
    uint64_t *entry = walk(format, root, address, level);
    uint64_t value = entry_load(entry);
    do {
        if (!(value & format->present))
            return 0;
    } while (!__atomic_compare_exchange_n(entry, &value, (value & ~mask) | bits, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return value;
}

bool page_walker_protect(const struct page_format *format, uint64_t root, uint64_t address,
                         unsigned flags) {
    unsigned level;
    return update_leaf(format, root, address, rights_mask(format), encode_rights(format, flags),
                       &level) != 0;
}

struct page_table_entry page_walker_clear_marks(const struct page_format *format, uint64_t root,
                                                uint64_t address, bool accessed, bool dirty) {
    uint64_t mask = (accessed ? format->accessed : 0) | (dirty ? format->dirty : 0);
    unsigned level;
    uint64_t value = update_leaf(format, root, address, mask, 0, &level);
    return value ? decode(format, value, level) : (struct page_table_entry){0};
}

int page_walker_split(const struct page_format *format, uint64_t root, uint64_t address) {
    unsigned level;
    uint64_t *entry = walk(format, root, address, &level);
    uint64_t value = entry_load(entry);
    if (!(value & format->present) || level == 1)
        return 0;
    uint64_t table = page_alloc_zeroed(0);
    if (table == PHYSICAL_NONE)
        return -ENOMEM;
    uint64_t *leaves = page_to_virtual(table);
    for (;;) {
        uint64_t piece = level == 2 ? value & ~format->large : value;
        for (unsigned i = 0; i < ENTRIES; i++)
            leaves[i] = piece + ((uint64_t)i << level_shift(level - 1));
        // The CPU may mark the large leaf dirty until the moment it is replaced.
        if (__atomic_compare_exchange_n(entry, &value, table | table_bits(format, level - 1), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return 0;
    }
}

static bool is_empty(const struct page_format *format, uint64_t table) {
    const uint64_t *entries = page_to_virtual(table);
    for (unsigned i = 0; i < ENTRIES; i++)
        if (entry_load(&entries[i]) & format->present)
            return false;
    return true;
}

static unsigned index_at(uint64_t address, unsigned level) {
    return (unsigned)(address >> level_shift(level)) & (ENTRIES - 1);
}

// Unhooks the empty tables below `table` that touch [first, last]. A CPU may still walk what it has
// cached, so an unhooked table goes on looking empty: the link to the next one, an address, has no
// bit that makes an entry present. Depth is at most that of the tree.
static void prune_below(const struct page_format *format, uint64_t table, unsigned level,
                        uint64_t first, uint64_t last, uint64_t *unhooked) {
    uint64_t *entries = page_to_virtual(table);
    unsigned low = index_at(first, level), high = index_at(last, level);
    for (unsigned i = low; i <= high; i++) {
        uint64_t value = entry_load(&entries[i]), child = value & PAGE_ENTRY_ADDRESS;
        if (!(value & format->present) || is_leaf(format, value, level))
            continue;
        if (level > 2)
            prune_below(format, child, level - 1, i == low ? first : 0,
                        i == high ? last : UINT64_MAX, unhooked);
        if (!is_empty(format, child))
            continue;
        __atomic_store_n(&entries[i], 0, __ATOMIC_RELEASE);
        publish(format, &entries[i], sizeof *entries);
        *(uint64_t *)page_to_virtual(child) = *unhooked;
        *unhooked = child;
    }
}

void page_walker_prune(const struct page_format *format, uint64_t root, uint64_t address,
                       uint64_t size, uint64_t *unhooked) {
    if (size)
        prune_below(format, root, format->levels, address, address + size - 1, unhooked);
}

void page_walker_release(uint64_t unhooked) {
    while (unhooked) {
        uint64_t next = *(uint64_t *)page_to_virtual(unhooked);
        page_put(unhooked);
        unhooked = next;
    }
}

bool page_walker_zap(const struct page_format *format, uint64_t root, uint64_t address,
                     uint64_t size, uint64_t *unhooked) {
    uint64_t before = *unhooked, at = address, end = address + size;
    bool any = false;
    while (at < end) {
        struct page_table_entry was = page_walker_unmap(format, root, at);
        any |= was.size != 0;
        at = was.size ? (at & ~(was.size - 1)) + was.size : at + was.hole_size;
    }
    page_walker_prune(format, root, address, size, unhooked);
    return any || *unhooked != before;
}

bool page_walker_allows(const struct page_format *format, uint64_t size) {
    return size <= format->largest;
}

static void free_table(const struct page_format *format, uint64_t table, unsigned level) {
    uint64_t *entries = page_to_virtual(table);
    for (unsigned i = 0; level > 1 && i < ENTRIES; i++)
        if ((entries[i] & format->present) && !is_leaf(format, entries[i], level))
            free_table(format, entries[i] & PAGE_ENTRY_ADDRESS, level - 1);
    page_put(table);
}

void page_walker_free_tables(const struct page_format *format, uint64_t root, unsigned first,
                             unsigned last) {
    uint64_t *entries = page_to_virtual(root);
    for (unsigned i = first; i <= last; i++) {
        if (!(entries[i] & format->present))
            continue;
        free_table(format, entries[i] & PAGE_ENTRY_ADDRESS, format->levels - 1);
        entries[i] = 0;
    }
}

void page_walker_destroy(const struct page_format *format, uint64_t root) {
    free_table(format, root, format->levels);
}
