// SPDX-License-Identifier: BSD-2-Clause
// Software walk of a guest's page tables.
#include "guest_walk.h"

#define CR0_WP    (1ull << 16)
#define CR0_PG    (1ull << 31)
#define CR4_PSE   (1ull << 4)
#define CR4_PAE   (1ull << 5)
#define CR4_LA57  (1ull << 12)
#define CR4_SMEP  (1ull << 20)
#define CR4_SMAP  (1ull << 21)
#define CR4_PKE   (1ull << 22)
#define EFER_LMA  (1ull << 10)
#define EFER_NXE  (1ull << 11)
#define RFLAGS_AC (1ull << 18)

#define PTE_PRESENT  (1ull << 0)
#define PTE_WRITABLE (1ull << 1)
#define PTE_USER     (1ull << 2)
#define PTE_ACCESSED (1ull << 5)
#define PTE_DIRTY    (1ull << 6)
#define PTE_LARGE    (1ull << 7)
#define PTE_NX       (1ull << 63)

#define PF_PRESENT  (1u << 0)
#define PF_WRITE    (1u << 1)
#define PF_USER     (1u << 2)
#define PF_RESERVED (1u << 3)
#define PF_FETCH    (1u << 4)
#define PF_KEY      (1u << 5)

// An entry changed under the walk: look again, but not for ever.
#define MAX_RETRIES 8
#define RETRY       1

struct walk {
    const struct guest_paging *paging;
    const struct guest_walk_ops *ops;
    void *context;
    uint64_t linear;
    unsigned access;
    unsigned levels;       // 2..5
    unsigned entry_size;   // 4 or 8
    unsigned index_bits;   // 10 or 9
    uint64_t address_mask; // of a table's address in an entry
    uint64_t reserved;     // bits of every entry
    bool user;             // a user-mode access
    uint64_t all, any;     // bits that all entries have, and that any has: the rights
};

static bool long_mode(const struct guest_paging *paging) {
    return paging->efer & EFER_LMA;
}

bool guest_canonical(const struct guest_paging *paging, uint64_t linear) {
    unsigned unused = paging->cr4 & CR4_LA57 ? 7 : 16;

    if (!long_mode(paging))
        return true;
    return (uint64_t)((int64_t)(linear << unused) >> unused) == linear;
}

static int page_fault(const struct walk *walk, uint32_t code, struct guest_exception *exception) {
    bool reports_fetch = (walk->paging->cr4 & CR4_SMEP) ||
                         ((walk->paging->efer & EFER_NXE) && walk->entry_size == 8);

    if (walk->access & GUEST_WRITE)
        code |= PF_WRITE;
    if (walk->user)
        code |= PF_USER;
    if ((walk->access & GUEST_FETCH) && reports_fetch)
        code |= PF_FETCH;
    *exception = (struct guest_exception){
        .vector = GUEST_PF, .has_error_code = true, .error_code = code, .cr2 = walk->linear};
    return -1;
}

static void set_up(struct walk *walk) {
    const struct guest_paging *paging = walk->paging;
    uint64_t physical = (1ull << paging->physical_bits) - 1;

    walk->entry_size = 8;
    walk->index_bits = 9;
    walk->address_mask = physical & ~0xfffull;
    walk->reserved = ~physical & ~PTE_NX;
    if (!(paging->efer & EFER_NXE))
        walk->reserved |= PTE_NX;
    if (long_mode(paging)) {
        walk->levels = paging->cr4 & CR4_LA57 ? 5 : 4;
        walk->reserved &= PTE_NX | ((1ull << 52) - 1); // bits 62:52 are software's or ignored
    } else if (paging->cr4 & CR4_PAE) {
        walk->levels = 3;
    } else {
        walk->levels = 2;
        walk->entry_size = 4;
        walk->index_bits = 10;
        walk->address_mask = 0xfffff000;
        walk->reserved = 0;
    }
    walk->user = paging->cpl == 3 && !(walk->access & GUEST_IMPLICIT);
}

static unsigned level_shift(const struct walk *walk, unsigned level) {
    return 12 + walk->index_bits * (level - 1);
}

// Whether an entry above level 1 with PTE_LARGE maps a page.
static bool maps_large_page(const struct walk *walk, unsigned level) {
    if (level == 2)
        return walk->entry_size == 8 || (walk->paging->cr4 & CR4_PSE);
    return level == 3 && walk->levels > 3 && walk->paging->gbpages;
}

// PAE's top entries have no rights.
static bool is_pdpte(const struct walk *walk, unsigned level) {
    return walk->levels == 3 && level == 3;
}

// Further reserved bits of such an entry, or of a PDPTE (SDM vol. 3 tables 4-3 to 4-19).
static uint64_t reserved_bits(const struct walk *walk, unsigned level, bool leaf) {
    if (walk->entry_size == 4) {
        if (!leaf)
            return 0;
        // PSE-36: bits 20:13 are address bits 39:32 as far as the processor has them.
        unsigned extra = walk->paging->physical_bits > 40   ? 8
                         : walk->paging->physical_bits > 32 ? walk->paging->physical_bits - 32u
                                                            : 0;
        return (0x1ffull << 13) & ~(((1ull << extra) - 1) << 13);
    }
    // Reserved too is bit 5, but a processor that walks PDPTEs with the rest of the
    // tables, as nested paging does (APM vol. 2 15.25.10), may have set it for accessed: QEMU TCG
    // does.
    if (is_pdpte(walk, level))
        return PTE_NX | 0x1c6;
    return leaf ? ((1ull << level_shift(walk, level)) - 1) & ~0x1fffull : PTE_LARGE;
}

static uint64_t leaf_address(const struct walk *walk, unsigned level, uint64_t entry) {
    uint64_t offset_mask = (1ull << level_shift(walk, level)) - 1;
    uint64_t frame = entry & walk->address_mask & ~offset_mask;

    if (walk->entry_size == 4 && level == 2)
        frame |= ((entry >> 13) & 0xff) << 32;
    return frame | (walk->linear & offset_mask);
}

// Protection keys (SDM vol. 3 4.6.2): data accesses to user pages.
static bool key_denies(const struct walk *walk, uint64_t leaf) {
    uint32_t rights;

    if (!(walk->paging->cr4 & CR4_PKE) || walk->levels < 4)
        return false;
    rights = walk->paging->pkru >> (2 * ((leaf >> 59) & 15)) & 3;
    if (rights & 1)
        return true;
    return (rights & 2) && (walk->access & GUEST_WRITE) &&
           (walk->user || (walk->paging->cr0 & CR0_WP));
}

// Access rights (SDM vol. 3 4.6.1). Error-code bits if denied, 0 if allowed.
static uint32_t denied(const struct walk *walk, uint64_t leaf) {
    const struct guest_paging *paging = walk->paging;
    bool user_page = walk->all & PTE_USER;

    if (walk->access & GUEST_NO_CHECK)
        return 0;
    if (walk->user && !user_page)
        return PF_PRESENT;
    if (walk->access & GUEST_FETCH) {
        bool kept_out = !walk->user && user_page && (paging->cr4 & CR4_SMEP);
        return (walk->any & PTE_NX) || kept_out ? PF_PRESENT : 0;
    }
    if (!walk->user && user_page && (paging->cr4 & CR4_SMAP) &&
        ((walk->access & GUEST_IMPLICIT) || !(paging->rflags & RFLAGS_AC)))
        return PF_PRESENT;
    if ((walk->access & GUEST_WRITE) && !(walk->all & PTE_WRITABLE) &&
        (walk->user || (paging->cr0 & CR0_WP)))
        return PF_PRESENT;
    return user_page && key_denies(walk, leaf) ? PF_PRESENT | PF_KEY : 0;
}

// Accessed and dirty bits of a walk that ended at level. 0 or RETRY.
static int mark_used(struct walk *walk, unsigned level, const uint64_t gpas[],
                     const uint64_t entries[]) {
    bool write = walk->access & GUEST_WRITE;

    if ((walk->access & GUEST_NO_SET_AD) ||
        ((walk->all & PTE_ACCESSED) && (!write || (entries[level - 1] & PTE_DIRTY))))
        return 0;
    for (unsigned up = walk->levels; up >= level; up--) {
        uint64_t entry = entries[up - 1];
        uint64_t used = entry | PTE_ACCESSED | (write && up == level ? PTE_DIRTY : 0);
        if (!is_pdpte(walk, up) && used != entry &&
            !walk->ops->exchange(walk->context, gpas[up - 1], entry, used, walk->entry_size))
            return RETRY;
    }
    return 0;
}

// One pass. 0, RETRY, or -1 with the exception.
static int walk_once(struct walk *walk, struct guest_translation *translation,
                     struct guest_exception *exception) {
    const uint64_t index_mask = (1u << walk->index_bits) - 1, address_mask = walk->address_mask;
    const uint64_t linear = long_mode(walk->paging) ? walk->linear : (uint32_t)walk->linear;
    // PAE's CR3 points to 32 bytes.
    uint64_t table = walk->paging->cr3 & (walk->levels == 3 ? 0xffffffe0 : address_mask);
    uint64_t gpas[5], entries[5], all = ~0ull, any = 0;
    unsigned shift = level_shift(walk, walk->levels);

    for (unsigned level = walk->levels;; level--, shift -= walk->index_bits) {
        uint64_t gpa = table + (linear >> shift & index_mask) * walk->entry_size, entry = 0;

        if (!walk->ops->read(walk->context, gpa, &entry, walk->entry_size) ||
            !(entry & PTE_PRESENT))
            return page_fault(walk, 0, exception);
        gpas[level - 1] = gpa;
        entries[level - 1] = entry;
        bool leaf = level == 1, pdpte = is_pdpte(walk, level);
        uint64_t reserved = walk->reserved;
        if (pdpte || (!leaf && (entry & PTE_LARGE))) {
            leaf = maps_large_page(walk, level);
            reserved |= reserved_bits(walk, level, leaf);
        }
        if (entry & reserved)
            return page_fault(walk, PF_PRESENT | PF_RESERVED, exception);
        all &= pdpte ? ~0ull : entry;
        any |= entry;
        if (!leaf) {
            table = entry & address_mask;
            continue;
        }
        walk->all = all;
        walk->any = any;
        uint32_t code = denied(walk, entry);
        if (code)
            return page_fault(walk, code, exception);
        if (mark_used(walk, level, gpas, entries))
            return RETRY;
        *translation = (struct guest_translation){
            .gpa = leaf_address(walk, level, entry),
            .page_size = 1ull << level_shift(walk, level),
            .writable = walk->all & PTE_WRITABLE,
            .user = walk->all & PTE_USER,
        };
        return 0;
    }
}

int guest_walk(const struct guest_paging *paging, const struct guest_walk_ops *ops, void *context,
               uint64_t linear, unsigned access, struct guest_translation *translation,
               struct guest_exception *exception) {
    struct walk walk = {
        .paging = paging, .ops = ops, .context = context, .linear = linear, .access = access};

    if (!(paging->cr0 & CR0_PG)) {
        *translation = (struct guest_translation){
            .gpa = linear, .page_size = 4096, .writable = true, .user = true};
        return 0;
    }
    set_up(&walk);
    for (unsigned attempt = 0; attempt < MAX_RETRIES; attempt++) {
        int result = walk_once(&walk, translation, exception);
        if (result != RETRY)
            return result;
    }
    return page_fault(&walk, 0, exception);
}
