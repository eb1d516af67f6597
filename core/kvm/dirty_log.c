// SPDX-License-Identifier: BSD-2-Clause
// Dirty logs (api.rst 4.8, 4.117): a page reported clean is watched first, so its next write sets
// the bit again.
#include "core/kvm/dirty_log.h"
#include <asm/errno.h>
#include "arch/x86/mm/page_walker.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/sched/thread.h"

#define WORD_PAGES  64
#define CHUNK_WORDS 32           // words handled under one hold of the lock
#define LOG_LIMIT   (2ull << 20) // bytes, heap_alloc's

struct dirty_log {
    uint64_t pages;
    _Atomic uint64_t words[];
};

static uint64_t word_count(uint64_t pages) {
    return (pages + WORD_PAGES - 1) / WORD_PAGES;
}

// The bits of word `index` that stand for pages of the slot.
static uint64_t valid_bits(const struct dirty_log *log, uint64_t index) {
    uint64_t left = log->pages - index * WORD_PAGES;
    return left >= WORD_PAGES ? ~0ull : (1ull << left) - 1;
}

struct dirty_log *dirty_log_create(struct vm *vm, uint64_t pages) {
    uint64_t size = sizeof(struct dirty_log) + word_count(pages) * sizeof(uint64_t);
    struct dirty_log *log = size > LOG_LIMIT ? NULL : heap_alloc(size);
    if (!log)
        return NULL;
    log->pages = pages;
    if ((vm->dirty_log_manual & KVM_DIRTY_LOG_INITIALLY_SET) && !vm->dirty_ring_pages)
        for (uint64_t i = 0; i < word_count(pages); i++)
            atomic_store_explicit(&log->words[i], valid_bits(log, i), memory_order_relaxed);
    return log;
}

void dirty_log_destroy(struct dirty_log *log) {
    heap_free(log);
}

void dirty_log_mark(struct vcpu *vcpu, const struct memslot *slot, uint64_t page) {
    uint64_t bit = 1ull << (page % WORD_PAGES);
    uint64_t before = atomic_fetch_or(&slot->dirty->words[page / WORD_PAGES], bit);
    if (vcpu->dirty_ring && !(before & bit))
        dirty_ring_push(vcpu, slot->id, page);
}

bool dirty_log_test(const struct dirty_log *log, uint64_t page) {
    return atomic_load(&log->words[page / WORD_PAGES]) >> (page % WORD_PAGES) & 1;
}

// The next write to the page is noted: by a fault, or where the processor logs writes because the
// page loses its dirty mark.
static void watch(struct vm *vm, uint64_t gpa) {
    uint64_t root = stage2_root(vm, gpa);
    if (virt_logs_writes)
        page_walker_clear_marks(virt->stage2_format, root, gpa, false, true);
    else
        page_walker_protect(virt->stage2_format, root, gpa, PAGING_EXECUTE | PAGING_USER);
}

// Takes the bits of `wanted` out of a word and watches their pages. Returns those that were set.
static uint64_t take(struct vm *vm, const struct memslot *slot, uint64_t index, uint64_t wanted) {
    uint64_t taken = atomic_fetch_and(&slot->dirty->words[index], ~wanted) & wanted;
    for (uint64_t bits = taken; bits; bits &= bits - 1) {
        uint64_t page = index * WORD_PAGES + (unsigned)__builtin_ctzll(bits);
        watch(vm, slot->gpa + page * PAGE_SIZE);
    }
    return taken;
}

void dirty_log_reset(struct vm *vm, uint32_t id, uint64_t page) {
    struct memslot slot;
    if (!memslot_by_id(vm, id, &slot) || !slot.dirty || page >= slot.dirty->pages)
        return;
    spin_lock(&vm->mmu_lock);
    take(vm, &slot, page / WORD_PAGES, 1ull << (page % WORD_PAGES));
    spin_unlock(&vm->mmu_lock);
}

// What the processors have logged so far comes with their exits.
static int find_logged(struct vm *vm, uint32_t id, struct memslot *slot) {
    if (vm->dirty_ring_pages)
        return -ENXIO;
    if (virt_logs_writes)
        kvm_synchronize();
    if ((id & 0xffff) >= MEMSLOT_COUNT || id >> 16 >= MEMSLOT_SPACES)
        return -EINVAL;
    return memslot_by_id(vm, id, slot) && slot->dirty ? 0 : -ENOENT;
}

static int get(struct vm *vm, const struct memslot *slot, uint64_t user) {
    uint64_t words = word_count(slot->dirty->pages), any = 0, chunk[CHUNK_WORDS];
    bool clear = !(vm->dirty_log_manual & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    int error = 0;
    for (uint64_t first = 0; first < words && !error; first += CHUNK_WORDS) {
        uint64_t count = words - first < CHUNK_WORDS ? words - first : CHUNK_WORDS;
        spin_lock(&vm->mmu_lock);
        for (uint64_t i = 0; i < count; i++) {
            chunk[i] = clear ? take(vm, slot, first + i, ~0ull)
                             : atomic_load(&slot->dirty->words[first + i]);
            any |= chunk[i];
        }
        spin_unlock(&vm->mmu_lock);
        thread_preemption_point();
        error = copy_to_user(user + first * sizeof(uint64_t), chunk, count * sizeof(uint64_t));
    }
    if (clear && any)
        stage2_flush(vm);
    return error;
}

int dirty_log_get(struct vm *vm, const struct kvm_dirty_log *request) {
    struct memslot slot;
    vm_change_begin(vm);
    int error = find_logged(vm, request->slot, &slot);
    if (!error)
        error = get(vm, &slot, (uint64_t)request->dirty_bitmap);
    vm_change_end(vm);
    return error;
}

static int clear(struct vm *vm, const struct memslot *slot,
                 const struct kvm_clear_dirty_log *request) {
    uint64_t base = request->first_page / WORD_PAGES, words = word_count(request->num_pages);
    uint64_t any = 0, chunk[CHUNK_WORDS], user = (uint64_t)request->dirty_bitmap;
    int error = 0;
    for (uint64_t first = 0; first < words && !error; first += CHUNK_WORDS) {
        uint64_t count = words - first < CHUNK_WORDS ? words - first : CHUNK_WORDS;
        error = copy_from_user(chunk, user + first * sizeof(uint64_t), count * sizeof(uint64_t));
        spin_lock(&vm->mmu_lock);
        for (uint64_t i = 0; !error && i < count; i++)
            any |= take(vm, slot, base + first + i, chunk[i]);
        spin_unlock(&vm->mmu_lock);
        thread_preemption_point();
    }
    if (any)
        stage2_flush(vm);
    return error;
}

// first_page is a multiple of 64, and so is num_pages unless it reaches the slot's end.
static bool range_valid(const struct memslot *slot, const struct kvm_clear_dirty_log *request) {
    uint64_t pages = slot->dirty->pages, first = request->first_page, count = request->num_pages;
    if (first % WORD_PAGES || first > pages || count > pages - first)
        return false;
    return count % WORD_PAGES == 0 || count == pages - first;
}

int dirty_log_clear(struct vm *vm, const struct kvm_clear_dirty_log *request) {
    struct memslot slot;
    vm_change_begin(vm);
    int error = find_logged(vm, request->slot, &slot);
    if (!error && !range_valid(&slot, request))
        error = -EINVAL;
    if (!error)
        error = clear(vm, &slot, request);
    vm_change_end(vm);
    return error;
}

int dirty_log_set_manual(struct vm *vm, uint64_t flags) {
    const uint64_t initially = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
    if (flags && flags != KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE && flags != initially)
        return -EINVAL;
    vm->dirty_log_manual = flags;
    return 0;
}
