// SPDX-License-Identifier: BSD-2-Clause
// What KVM_SET_SREGS and MOV to a control register accept.
// Sources: arch/x86/guest/vcpu_control.c arch/x86/guest/vcpu_registers.c
#include "arch/x86/guest/vcpu_exit.h"
#include <asm/processor-flags.h>
#include <check.h>
#include <string.h>
#include "fake_backend.h"

#define PAGING (X86_CR0_PE | X86_CR0_PG)

static struct virt_vcpu vcpu;
static struct virt_exit left;
static uint64_t pdptes_in_memory[4];

static bool read_physical(struct virt_vcpu *self, uint64_t gpa, void *data, uint32_t size) {
    (void)self;
    memcpy(data, pdptes_in_memory, size);
    return gpa == 0x1000;
}

static void set_up(void) {
    memset(&vcpu, 0, sizeof(vcpu));
    fake_backend_reset();
    memset(pdptes_in_memory, 0, sizeof(pdptes_in_memory));
    vcpu.read_physical = read_physical;
    virt_supported_cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP;
}

static struct kvm_sregs long_mode(void) {
    struct kvm_sregs sregs = {.cr0 = PAGING, .cr4 = X86_CR4_PAE, .efer = EFER_LME | EFER_LMA};
    sregs.cs.l = 1;
    return sregs;
}

START_TEST(long_mode_needs_its_parts) {
    struct kvm_sregs sregs = long_mode();
    ck_assert(vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr4 = 0;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs = long_mode();
    sregs.efer = EFER_LME;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs = long_mode();
    sregs.cr3 = 1ull << 36; // no CPUID: 36 bits
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs = long_mode();
    sregs.cr0 = X86_CR0_PE; // LMA and CS.L without paging
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
}
END_TEST

START_TEST(cr4_is_bounded_by_cpuid) {
    struct kvm_sregs sregs = {.cr4 = X86_CR4_SMEP};
    ck_assert(vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr4 = X86_CR4_SMAP;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    vcpu.cpuid.count = 1;
    vcpu.cpuid.cr4_allowed = X86_CR4_PAE | X86_CR4_SMAP;
    ck_assert_uint_eq(vcpu_cr4_allowed(&vcpu), X86_CR4_PAE);
    sregs.cr4 = X86_CR4_SMEP;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
}
END_TEST

START_TEST(cr0_combinations) {
    struct kvm_sregs sregs = {.cr0 = X86_CR0_PG};
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr0 = X86_CR0_NW;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr0 = X86_CR0_NW | X86_CR0_CD;
    ck_assert(vcpu_sregs_valid(&vcpu, &sregs));
    sregs.cr0 = 1ull << 32;
    ck_assert(!vcpu_sregs_valid(&vcpu, &sregs));
}
END_TEST

static void state(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer, bool code_long) {
    fake_backend.registers[BACKEND_CR0] = cr0;
    fake_backend.registers[BACKEND_CR3] = cr3;
    fake_backend.registers[BACKEND_CR4] = cr4;
    fake_backend.registers[BACKEND_EFER] = efer;
    fake_backend.segments[SEG_CS].l = code_long;
    vcpu.events.exception_pending = false;
}

// MOV to that register: done, or #GP(0) and nothing changed.
static bool moves(unsigned number, uint64_t value) {
    enum backend_register which = number ? BACKEND_CR4 : BACKEND_CR0;
    uint64_t old = fake_backend.registers[which];
    bool done = vcpu_write_control(&vcpu, &left, number, value) == EXIT_SKIP;
    ck_assert_uint_eq(fake_backend.registers[which], done ? value : old);
    ck_assert(vcpu.events.exception_pending == !done);
    ck_assert(done || vcpu.events.exception_vector == GUEST_GP);
    return done;
}

START_TEST(moves_to_cr0) {
    static const struct {
        uint64_t old, value, cr4, efer;
        bool code_long, done;
    } rows[] = {
        {X86_CR0_PE, PAGING, X86_CR4_PAE, EFER_LME, false, true},
        {X86_CR0_PE, PAGING, 0, EFER_LME, false, false},
        {X86_CR0_PE, PAGING, X86_CR4_PAE, EFER_LME, true, false},
        {X86_CR0_PE, PAGING, 0, 0, false, true},
        {PAGING, X86_CR0_PE, X86_CR4_PCIDE, EFER_LME | EFER_LMA, false, false},
        {PAGING, X86_CR0_PE, X86_CR4_PAE, EFER_LME | EFER_LMA, false, true},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        state(rows[i].old, 0, rows[i].cr4, rows[i].efer, rows[i].code_long);
        ck_assert(moves(0, rows[i].value) == rows[i].done);
    }
    state(PAGING | X86_CR0_TS, 0, 0, 0, false);
    ck_assert_int_eq(vcpu_clear_task_switched(&vcpu, &left), EXIT_SKIP);
    ck_assert_uint_eq(fake_backend.registers[BACKEND_CR0], PAGING);
    ck_assert_int_eq(vcpu_load_status(&vcpu, &left, 0xfff4), EXIT_SKIP); // PE stays
    ck_assert_uint_eq(fake_backend.registers[BACKEND_CR0], PAGING | X86_CR0_EM);
}
END_TEST

START_TEST(moves_to_cr4) {
    const uint64_t pae = X86_CR4_PAE;
    static const struct {
        uint64_t value, cr3, efer;
        bool done;
    } rows[] = {
        {0, 0, EFER_LME | EFER_LMA, false},
        {0, 0, 0, true},
        {X86_CR4_PAE | X86_CR4_SMAP, 0, EFER_LME | EFER_LMA, false}, // not in CPUID
        {X86_CR4_PAE | X86_CR4_LA57, 0, EFER_LME | EFER_LMA, false},
        {X86_CR4_PAE | X86_CR4_PCIDE, 0x1000, EFER_LME | EFER_LMA, true},
        {X86_CR4_PAE | X86_CR4_PCIDE, 0x1001, EFER_LME | EFER_LMA, false},
        {X86_CR4_PAE | X86_CR4_PCIDE, 0x1000, 0, false},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        state(PAGING, rows[i].cr3, pae, rows[i].efer, false);
        ck_assert(moves(4, rows[i].value) == rows[i].done);
    }
}
END_TEST

START_TEST(moves_to_cr8) {
    vcpu.cr8 = 5;
    ck_assert_int_eq(vcpu_write_control(&vcpu, &left, 8, 7), EXIT_SKIP);
    ck_assert_int_eq(vcpu_write_control(&vcpu, &left, 8, 3), EXIT_SKIP_LEAVE);
    ck_assert_int_eq(left.kind, VIRT_EXIT_SET_TPR);
    ck_assert_uint_eq(vcpu.cr8, 3);
    ck_assert_int_eq(vcpu_write_control(&vcpu, &left, 8, 16), EXIT_RESUME);
    ck_assert(vcpu.events.exception_pending && vcpu.cr8 == 3);
}
END_TEST

// Loaded where PAE paging begins; present ones must have their reserved bits clear.
START_TEST(pdptes) {
    static const struct {
        uint64_t pdpte;
        bool done;
    } rows[] = {
        {0x1001, true},          {0xe19, true} /* PWT, PCD and the ignored bits */,
        {0x1003, false},         {0x1081, false},
        {1ull << 36 | 1, false}, {0x1002, true} /* not present */,
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        state(X86_CR0_PE, 0x1000, X86_CR4_PAE, 0, false);
        fake_backend.pdpte[2] = 0;
        pdptes_in_memory[2] = rows[i].pdpte;
        ck_assert(moves(0, PAGING) == rows[i].done);
        ck_assert_uint_eq(fake_backend.pdpte[2], rows[i].done ? rows[i].pdpte : 0);
    }
    state(X86_CR0_PE, 0x2000, X86_CR4_PAE, 0, false); // no memory there
    ck_assert(!moves(0, PAGING));
}
END_TEST

Suite *vcpu_control_suite(void) {
    Suite *suite = suite_create("vcpu_control");
    TCase *tests = tcase_create("vcpu_control");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, long_mode_needs_its_parts);
    tcase_add_test(tests, cr4_is_bounded_by_cpuid);
    tcase_add_test(tests, cr0_combinations);
    tcase_add_test(tests, moves_to_cr0);
    tcase_add_test(tests, moves_to_cr4);
    tcase_add_test(tests, moves_to_cr8);
    tcase_add_test(tests, pdptes);
    suite_add_tcase(suite, tests);
    return suite;
}
