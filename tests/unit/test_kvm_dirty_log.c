// SPDX-License-Identifier: BSD-2-Clause
// Dirty logs: what is reported clean is write-protected, and nothing else is.
// Sources: core/kvm/dirty_log.c arch/x86/mm/page_walker.c arch/x86/mm/page_format.c
// Sources: core/mm/page.c core/mm/heap.c tests/unit/fake_memory.c tests/unit/fake_process.c
#include <asm/errno.h>
#include <check.h>
#include <string.h>
#include "arch/x86/mm/page_walker.h"
#include "core/kvm/dirty_log.h"
#include "core/kvm/memslot.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

#define PAGES 70 // more than a word, not a multiple of one
#define GPA   0x40000000ull

static const struct virt_ops ops = {.stage2_format = &ept_format_1g};
static struct vm vm;
static struct vcpu vcpu = {.vm = &vm};
static struct memslot slot;
static unsigned flushes;

const struct virt_ops *virt = &ops;

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

static void map(uint64_t page) {
    ck_assert_int_eq(page_walker_map(&ept_format_1g, vm.virt.stage2_root[0], GPA + page * PAGE_SIZE,
                                     0x100000 + page * PAGE_SIZE, PAGE_SIZE,
                                     PAGING_WRITE | PAGING_EXECUTE | PAGING_USER),
                     0);
}

static bool writable(uint64_t page) {
    return page_walker_lookup(&ept_format_1g, vm.virt.stage2_root[0], GPA + page * PAGE_SIZE).flags &
           PAGING_WRITE;
}

static void start(uint64_t manual) {
    fake_memory_start();
    memset(&vm, 0, sizeof(vm));
    flushes = 0;
    vm.virt.stage2_root[0] = page_walker_create(&ept_format_1g);
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

START_TEST(initially_set) {
    uint64_t bits[2] = {0};
    start(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    fetch(bits);
    ck_assert_uint_eq(bits[0], ~0ull);
    ck_assert_uint_eq(bits[1], 0x3f);
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
    tcase_add_test(tcase, refusals);
    suite_add_tcase(suite, tcase);
    return suite;
}
