// SPDX-License-Identifier: BSD-2-Clause
// Dirty logs and rings: what is reported clean is watched, and nothing else is.
// Sources: core/kvm/dirty_log.c core/kvm/dirty_ring.c core/mm/memory_object.c
// arch/x86/mm/page_walker.c arch/x86/mm/page_format.c Sources: core/mm/page.c core/mm/heap.c
// tests/unit/fake_memory.c tests/unit/fake_process.c
#include <asm/errno.h>
#include <check.h>
#include <string.h>
#include "arch/x86/mm/page_walker.h"
#include "core/kvm/dirty_log.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/memslot.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

#define PAGES 70 // more than a word, not a multiple of one
#define GPA   0x40000000ull

static const struct virt_ops ops = {.stage2_format = &ept_format};
static struct vm vm;
static struct vcpu vcpu = {.vm = &vm};
static struct memslot slot;
static unsigned flushes;

bool memslot_by_id(struct vm *of, uint32_t id, struct memslot *found) {
    *found = slot;
    return of == &vm && id == slot.id;
}

void stage2_flush(struct vm *of) {
    flushes += of == &vm;
}

void vm_change_begin(struct vm *of) {
    ck_assert(!atomic_exchange(&of->changing, true));
}

void vm_change_end(struct vm *of) {
    ck_assert(atomic_exchange(&of->changing, false));
}

void cpu_synchronize(void) {
}

static void map(uint64_t page) {
    ck_assert_int_eq(page_walker_map(&ept_format, vm.virt.stage2_root[0], GPA + page * PAGE_SIZE,
                                     0x100000 + page * PAGE_SIZE, PAGE_SIZE,
                                     PAGING_WRITE | PAGING_EXECUTE | PAGING_USER),
                     0);
}

static bool writable(uint64_t page) {
    return page_walker_lookup(&ept_format, vm.virt.stage2_root[0], GPA + page * PAGE_SIZE).flags &
           PAGING_WRITE;
}

static void start(uint64_t manual) {
    fake_memory_start();
    memset(&vm, 0, sizeof(vm));
    flushes = 0;
    virt = &ops;
    vm.virt.stage2_root[0] = page_walker_create(&ept_format);
    ck_assert_int_eq(dirty_log_set_manual(&vm, manual), 0);
    slot = (struct memslot){.gpa = GPA, .size = PAGES * PAGE_SIZE, .id = 3};
    slot.dirty = dirty_log_create(&vm, PAGES);
    map(0);
    map(5);
    map(69);
}

static void fetch(uint64_t bits[2]) {
    const struct kvm_dirty_log request = {.slot = 3, .dirty_bitmap = bits};
    ck_assert_int_eq(dirty_log_get(&vm, &request), 0);
}

START_TEST(getting_clears_and_protects) {
    uint64_t bits[2] = {~0ull, ~0ull};
    start(0);
    dirty_log_mark(&vcpu, &slot, 5);
    dirty_log_mark(&vcpu, &slot, 69);
    fetch(bits);
    ck_assert_uint_eq(bits[0], 1ull << 5);
    ck_assert_uint_eq(bits[1], 1ull << 5);
    ck_assert(writable(0) && !writable(5) && !writable(69));
    ck_assert_uint_eq(flushes, 1);
    fetch(bits);
    ck_assert_uint_eq(bits[0] | bits[1], 0);
    ck_assert_uint_eq(flushes, 1);
}
END_TEST

START_TEST(manual_protection_clears_what_is_asked) {
    uint64_t bits[2] = {0}, asked = 1ull << 5;
    const struct kvm_clear_dirty_log first = {.slot = 3, .num_pages = 64, .dirty_bitmap = &asked};
    const struct kvm_clear_dirty_log rest = {
        .slot = 3, .first_page = 64, .num_pages = 6, .dirty_bitmap = &asked};
    start(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    dirty_log_mark(&vcpu, &slot, 0);
    dirty_log_mark(&vcpu, &slot, 5);
    dirty_log_mark(&vcpu, &slot, 69);
    fetch(bits);
    ck_assert(writable(5) && writable(69));
    ck_assert_int_eq(dirty_log_clear(&vm, &first), 0);
    ck_assert(writable(0) && !writable(5) && writable(69));
    ck_assert_int_eq(dirty_log_clear(&vm, &rest), 0);
    ck_assert(!writable(69));
    fetch(bits);
    ck_assert_uint_eq(bits[0], 1);
    ck_assert_uint_eq(bits[1], 0);
    ck_assert_uint_eq(flushes, 2);
}
END_TEST

// A large log is gone through in pieces, with interrupts between them.
START_TEST(large_logs_are_interruptible) {
    static uint64_t bits[1024];
    const uint64_t pages = 1024 * 64;
    const struct kvm_clear_dirty_log all = {
        .slot = 3, .num_pages = (uint32_t)pages, .dirty_bitmap = bits};
    start(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    slot.size = pages * PAGE_SIZE;
    slot.dirty = dirty_log_create(&vm, pages);
    fake_preemption_points = 0;
    fetch(bits);
    ck_assert_uint_ge(fake_preemption_points, 31);
    fake_preemption_points = 0;
    ck_assert_int_eq(dirty_log_clear(&vm, &all), 0);
    ck_assert_uint_ge(fake_preemption_points, 31);
}
END_TEST

START_TEST(initially_set) {
    uint64_t bits[2] = {0};
    start(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    fetch(bits);
    ck_assert_uint_eq(bits[0], ~0ull);
    ck_assert_uint_eq(bits[1], 0x3f);
}
END_TEST

// A processor that logs writes: pages stay writable and lose the dirty mark.
START_TEST(dirty_marks_go) {
    uint64_t bits[2] = {0};
    virt_logs_writes = true;
    start(0);
    uint64_t *entry = page_to_virtual(vm.virt.stage2_root[0]);
    for (unsigned level = 4; level > 1; level--)
        entry = page_to_virtual(entry[level == 3] & ~0xfffull);
    entry[0] |= ept_format.dirty;
    entry[5] |= ept_format.dirty;
    dirty_log_mark(&vcpu, &slot, 5);
    fetch(bits);
    ck_assert_uint_eq(bits[0], 1ull << 5);
    ck_assert(writable(5) && !(entry[5] & ept_format.dirty));
    ck_assert(entry[0] & ept_format.dirty);
}
END_TEST

static const uint32_t *ring_flags(struct memory_object *object, uint64_t index,
                                  struct kvm_dirty_gfn **entry) {
    uint64_t physical = 0;
    unsigned order = 0;
    ck_assert_int_eq(
        object->ops->page(object, index * sizeof(**entry) / PAGE_SIZE, &physical, &order), 0);
    page_put(physical);
    *entry =
        (struct kvm_dirty_gfn *)page_to_virtual(physical) + index % (PAGE_SIZE / sizeof(**entry));
    return &(*entry)->flags;
}

START_TEST(ring_takes_a_page_once_until_reset) {
    struct memory_object *object;
    struct kvm_dirty_gfn *entry;
    virt_logs_writes = false;
    start(0);
    ck_assert_int_eq(dirty_ring_reset(&vm, 0), -EINVAL);
    ck_assert_int_eq(dirty_ring_enable(&vm, 3 * PAGE_SIZE), -EINVAL);
    ck_assert_int_eq(dirty_ring_enable(&vm, PAGE_SIZE / 2), -EINVAL);
    ck_assert_int_eq(dirty_ring_enable(&vm, 2 * DIRTY_RING_BYTES_MAX), -E2BIG);
    ck_assert_int_eq(dirty_ring_enable(&vm, PAGE_SIZE), 0);
    ck_assert_int_eq(dirty_ring_enable(&vm, PAGE_SIZE), -EINVAL);
    ck_assert_int_eq(dirty_ring_create(&vcpu), 0);
    vm.vcpus[0] = &vcpu;
    vm.vcpu_limit = 1;
    ck_assert_int_eq(dirty_ring_map(&vcpu, 0, PAGE_SIZE, 4, 1, &object), -EINVAL); // PROT_EXEC
    ck_assert_int_eq(dirty_ring_map(&vcpu, 0, PAGE_SIZE, 3, 2, &object), -EINVAL); // MAP_PRIVATE
    ck_assert_int_eq(dirty_ring_map(&vcpu, 0, 2 * PAGE_SIZE, 3, 1, &object), -EINVAL);
    ck_assert_int_eq(dirty_ring_map(&vcpu, 0, PAGE_SIZE, 3, 1, &object), 0);
    dirty_log_mark(&vcpu, &slot, 5);
    dirty_log_mark(&vcpu, &slot, 5);
    ck_assert_uint_eq(*ring_flags(object, 0, &entry), KVM_DIRTY_GFN_F_DIRTY);
    ck_assert(entry->slot == 3 && entry->offset == 5);
    ck_assert_uint_eq(*ring_flags(object, 1, &entry), 0);
    ck_assert_int_eq(dirty_ring_reset(&vm, 0), 0); // not collected
    ck_assert(writable(5));
    ring_flags(object, 0, &entry);
    entry->flags = KVM_DIRTY_GFN_F_RESET;
    ck_assert_int_eq(dirty_ring_reset(&vm, 0), 1);
    ck_assert(!writable(5) && !entry->flags);
    ck_assert_uint_eq(flushes, 1);
    dirty_log_mark(&vcpu, &slot, 5);
    ck_assert_uint_eq(*ring_flags(object, 1, &entry), KVM_DIRTY_GFN_F_DIRTY);
    entry->slot = 7; // user space's nonsense is taken for nothing
    entry->offset = ~0ull;
    entry->flags = KVM_DIRTY_GFN_F_RESET;
    ck_assert_int_eq(dirty_ring_reset(&vm, 0), 1);
    for (unsigned i = 0; i < 256 - 64; i++) {
        ck_assert(!(vcpu.virt.attention & ATTENTION_DIRTY_RING));
        dirty_ring_push(&vcpu, 3, 0);
    }
    ck_assert(vcpu.virt.attention & ATTENTION_DIRTY_RING);
    dirty_ring_destroy(&vcpu);
    memory_object_put(object);
}
END_TEST

START_TEST(refusals) {
    uint64_t bits[2] = {0};
    struct kvm_dirty_log get = {.slot = 4, .dirty_bitmap = bits};
    struct kvm_clear_dirty_log clear = {.slot = 3, .num_pages = 70, .dirty_bitmap = bits};
    start(0);
    ck_assert_int_eq(dirty_log_get(&vm, &get), -ENOENT);
    get.slot = MEMSLOT_COUNT;
    ck_assert_int_eq(dirty_log_get(&vm, &get), -EINVAL);
    ck_assert_int_eq(dirty_log_clear(&vm, &clear), 0);
    clear.num_pages = 63;
    ck_assert_int_eq(dirty_log_clear(&vm, &clear), -EINVAL);
    clear.num_pages = 128;
    ck_assert_int_eq(dirty_log_clear(&vm, &clear), -EINVAL);
    clear.num_pages = 64;
    clear.first_page = 1;
    ck_assert_int_eq(dirty_log_clear(&vm, &clear), -EINVAL);
    clear.first_page = ~63ull;
    ck_assert_int_eq(dirty_log_clear(&vm, &clear), -EINVAL);
    slot.dirty = NULL;
    clear.first_page = 0;
    ck_assert_int_eq(dirty_log_clear(&vm, &clear), -ENOENT);
    ck_assert_int_eq(dirty_log_set_manual(&vm, KVM_DIRTY_LOG_INITIALLY_SET), -EINVAL);
}
END_TEST

Suite *kvm_dirty_log_suite(void) {
    Suite *suite = suite_create("kvm_dirty_log");
    TCase *tcase = tcase_create("dirty_log");
    tcase_add_test(tcase, getting_clears_and_protects);
    tcase_add_test(tcase, manual_protection_clears_what_is_asked);
    tcase_add_test(tcase, initially_set);
    tcase_add_test(tcase, large_logs_are_interruptible);
    tcase_add_test(tcase, dirty_marks_go);
    tcase_add_test(tcase, ring_takes_a_page_once_until_reset);
    tcase_add_test(tcase, refusals);
    suite_add_tcase(suite, tcase);
    return suite;
}
